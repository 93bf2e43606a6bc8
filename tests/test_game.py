import copy

import pytest
import torch
from conftest import settings
from lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from alzgan.benchmarks.textbook import ADAM, TextbookGame
from alzgan.game import Game, Look, Turn, align_gradients
from alzgan.gan import GAN
from alzgan.losses import NonSaturatingLoss
from alzgan.runs.build import build_model
from alzgan.upstream.lightning import quiet

SMALL_MODEL = (
    "data.image_size=32",
    "data.channels=1",
    "model.generator.width=4",
    "model.discriminator.width=4",
)


def play(gan: GAN, batches: list[Tensor], labels: Tensor | None = None, **options) -> Trainer:
    """Train on the given batches, float images in [-1, 1], one step each."""
    trainer = Trainer(
        accelerator="cpu",
        max_steps=len(batches),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    pairs = [(images, torch.zeros(len(images)) if labels is None else labels) for images in batches]
    with quiet():
        trainer.fit(gan, DataLoader(pairs, batch_size=None))
    return trainer


def textbook_networks() -> tuple[nn.Module, nn.Module]:
    """The 64 x 64 x 3 networks as the DCGAN tutorials write them out, layer by layer."""
    generator = nn.Sequential(
        nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False),
        nn.BatchNorm2d(512),
        nn.ReLU(True),
        nn.ConvTranspose2d(512, 256, 4, 2, 1, bias=False),
        nn.BatchNorm2d(256),
        nn.ReLU(True),
        nn.ConvTranspose2d(256, 128, 4, 2, 1, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(True),
        nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(True),
        nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(3, 64, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(64, 128, 4, 2, 1, bias=False),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(128, 256, 4, 2, 1, bias=False),
        nn.BatchNorm2d(256),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(256, 512, 4, 2, 1, bias=False),
        nn.BatchNorm2d(512),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(512, 1, 4, 1, 0, bias=False),
        nn.Sigmoid(),
        nn.Flatten(0),
    )
    return generator.double(), discriminator.double()


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy parameters and statistics in order, whatever their names."""
    for value, copied in zip(source.state_dict().values(), target.state_dict().values(), strict=True):
        copied.copy_(value)


@pytest.mark.slow
def test_ten_steps_of_the_default_model_are_the_textbook_loops_ten_steps(recwarn):
    # In float64: Adam turns float32 rounding of a gradient near zero into a whole step of its own.
    gan = build_model(settings("model=dcgan")).double()
    start = copy.deepcopy(gan.state_dict())
    generator, discriminator = textbook_networks()
    copy_weights(gan.generator, generator)
    copy_weights(gan.discriminator, discriminator)
    noise = torch.Generator().manual_seed(0)
    batches = [torch.rand(4, 3, 64, 64, generator=noise, dtype=torch.double) * 2 - 1 for _ in range(10)]
    play(gan, batches, precision="64-true")
    game = TextbookGame(nn.Sequential(nn.Unflatten(1, (100, 1, 1)), generator), discriminator)
    for step, real in enumerate(batches):
        game.step(real, gan.latents(4, "train", step))
    expected = [*generator.state_dict().values(), *discriminator.state_dict().values()]
    for (name, value), target in zip(gan.state_dict().items(), expected, strict=True):
        torch.testing.assert_close(value, target, rtol=0, atol=1e-9, msg=name)
    # The comparison means something: ten steps have moved every weight by far more than its tolerance.
    for name, value in gan.named_parameters():
        assert (value - start[name]).abs().mean() > 1e-4, name


def test_the_game_alone_is_the_textbook_loop():
    # Also in float64, on smaller networks without Lightning.
    gan = build_model(settings(*SMALL_MODEL)).double()
    game = Game(gan.generator, gan.discriminator, NonSaturatingLoss())
    generator, discriminator = copy.deepcopy(gan.generator), copy.deepcopy(gan.discriminator)
    textbook = TextbookGame(generator, nn.Sequential(discriminator, nn.Sigmoid()))
    adam = [torch.optim.Adam(player.parameters(), **ADAM) for player in (game.discriminator, game.generator)]
    noise = torch.Generator().manual_seed(0)
    for _ in range(5):
        real = torch.rand(4, 1, 32, 32, generator=noise, dtype=torch.double) * 2 - 1
        latents = torch.randn(4, 100, generator=noise, dtype=torch.double)
        said = game.step([Turn(real, None, latents, None, None)], (), adam)
        found = textbook.step(real, latents)
        names = ("loss/discriminator", "loss/generator", "probability/D(x)")
        assert [said[name].item() for name in names] == pytest.approx(found[:3], rel=1e-9)
    assert game.images_a_step == 4
    for ours, theirs in ((game.generator, generator), (game.discriminator, discriminator)):
        for (name, value), target in zip(
            ours.state_dict().items(), theirs.state_dict().values(), strict=True
        ):
            torch.testing.assert_close(value, target, rtol=0, atol=1e-9, msg=name)
    before = build_model(settings(*SMALL_MODEL)).generator.double()
    assert (game.generator[1].weight - before[1].weight).abs().mean() > 1e-4


def test_one_step_of_the_trainer_is_one_step_of_both_players(recwarn):
    gan = build_model(settings(*SMALL_MODEL))
    trainer = play(gan, [torch.zeros(4, 1, 32, 32)] * 5)
    assert trainer.global_step == 5
    for optimizer in trainer.optimizers:
        assert {int(state["step"]) for state in optimizer.state.values()} == {5}


def test_the_generators_step_leaves_no_gradient_in_the_discriminator(recwarn):
    gan = build_model(settings(*SMALL_MODEL))
    seen = []

    def spy(*played):
        seen.append([p.grad.clone() for p in gan.discriminator.parameters()])
        return original(*played)

    original, gan.generator_loss = gan.generator_loss, spy
    play(gan, [torch.rand(4, 1, 32, 32)])
    after = [p.grad for p in gan.discriminator.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(seen[0], after, strict=True))
    assert all(p.requires_grad for p in gan.discriminator.parameters())


def test_frozen_parameters_stay_frozen_and_as_they_are(recwarn):
    gan = build_model(settings(*SMALL_MODEL))
    first = {"generator": gan.generator[1].weight, "discriminator": gan.discriminator[0].weight}
    before = {name: weight.requires_grad_(False).clone() for name, weight in first.items()}
    moved = gan.discriminator[2].weight.detach().clone()
    play(gan, [torch.rand(4, 1, 32, 32)] * 3)
    for name, weight in first.items():
        assert not weight.requires_grad
        assert torch.equal(weight, before[name]), name
    assert not torch.equal(gan.discriminator[2].weight, moved)


def test_several_turns_share_a_batch_out_and_the_generator_answers_the_last(recwarn):
    gan = build_model(settings(*SMALL_MODEL, "model.turns=3"))
    seen: list[Tensor] = []
    answered: list[Tensor] = []
    discriminator_loss, generator_loss = gan.discriminator_loss, gan.generator_loss
    gan.discriminator_loss = lambda turn, *played: (
        seen.append(turn.real),
        discriminator_loss(turn, *played),
    )[1]
    gan.generator_loss = lambda turn, *played: (
        answered.append(turn.real),
        generator_loss(turn, *played),
    )[1]
    batch = torch.rand(6, 1, 32, 32)
    trainer = play(gan, [batch])
    assert torch.equal(torch.cat(seen), batch)
    assert [len(part) for part in seen] == [2, 2, 2]
    assert torch.equal(answered[0], batch[4:])
    assert trainer.global_step == 1
    steps = [{int(state["step"]) for state in each.state.values()} for each in trainer.optimizers]
    assert steps == [{3}, {1}]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_clipped_gradient_is_no_longer_than_it_may_be(precision: str, recwarn):
    norms: list[float] = []
    for clip in ("null", "0.01"):
        gan = build_model(settings(*SMALL_MODEL, f"model.gradient_clip={clip}"))
        play(gan, [torch.rand(4, 1, 32, 32)], precision=precision)
        gradients = torch.cat([p.grad.flatten() for p in gan.discriminator.parameters()])
        norms.append(gradients.norm().item())
    assert norms[0] > 0.1
    assert norms[1] == pytest.approx(0.01, rel=1e-3)


def test_a_relativistic_generator_answers_the_discriminator_as_it_is_after_its_step(recwarn):
    gan = build_model(settings(*SMALL_MODEL, "loss=relativistic", "model.discriminator_optimizer.lr=0.05"))
    real = torch.rand(4, 1, 32, 32)
    found: list[Tensor] = []

    def spy(fake_logits: Tensor, real_logits) -> Tensor:
        fresh = copy.deepcopy(gan.discriminator)
        found.extend([real_logits(), fresh(real)])
        return original(fake_logits, lambda: found[0])

    original, gan.loss.generator = gan.loss.generator, spy
    before = copy.deepcopy(gan.discriminator)(real)
    play(gan, [real])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert (found[0] - before).abs().max() > 0.01


def test_logits_are_float32_where_the_networks_are_not(recwarn):
    gan = build_model(settings(*SMALL_MODEL))
    kinds: list[torch.dtype] = []

    def spy(real: Tensor, fake: Tensor) -> Tensor:
        kinds.extend([real.dtype, fake.dtype])
        return original(real, fake)

    original, gan.loss.discriminator = gan.loss.discriminator, spy
    play(gan, [torch.rand(4, 1, 32, 32)], precision="bf16-mixed")
    assert kinds == [torch.float32, torch.float32]


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_real_and_fake_are_augmented_and_penalized_in_one_precision(precision: str, recwarn):
    gan = build_model(settings(*SMALL_MODEL, "penalty=[r1,r2]", "augment=mri"))
    kinds: list[tuple[torch.dtype, torch.dtype]] = []

    def spy(images: Tensor, draws: Tensor) -> Tensor:
        kinds.append((images.dtype, original(images, draws).dtype))
        return original(images, draws)

    original = gan.augment.forward
    gan.augment.forward = spy
    play(gan, [torch.rand(4, 1, 32, 32)], precision=precision)
    kind = torch.float32 if precision == "bf16-mixed" else torch.bfloat16
    assert kinds == [(kind, kind)] * 3


def test_each_look_of_the_discriminator_has_draws_of_its_own(recwarn):
    gan = build_model(settings(*SMALL_MODEL, "loss=relativistic", "augment=mri", "penalty=gradient"))
    seen: list[Tensor] = []
    original = gan.augment.forward
    gan.augment.forward = lambda images, uniforms: (seen.append(uniforms), original(images, uniforms))[1]
    turns: list[Turn] = []
    gan.captured = lambda given, due: (turns.extend(given), gan.play(given, due))[1]
    play(gan, [torch.rand(4, 1, 32, 32)])
    # D at real and fake, G at fake, then at real for the loss; what the penalty mixes is augmented already.
    looks = [Look.REAL, Look.FAKE, Look.FAKE_AGAIN, Look.REAL_AGAIN]
    assert len(seen) == len(turns[0].draws) == len(looks)
    for uniforms, look in zip(seen, looks, strict=True):
        assert torch.equal(uniforms, turns[0].draws[look.value])
    assert len({each.sum().item() for each in seen}) == len(looks)


def test_a_gradient_of_other_strides_is_laid_out_as_its_parameter():
    weight = nn.Parameter(torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last))
    gradient = torch.rand(4, 3, 2, 2)
    weight.grad = gradient.clone()
    align_gradients(torch.optim.SGD([weight, nn.Parameter(torch.rand(1))], lr=0.1))
    assert weight.grad.stride() == weight.stride() != gradient.stride()
    assert torch.equal(weight.grad, gradient)


class Noisy(nn.Sequential):
    """A discriminator with dropout."""

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(images)


def test_dropout_draws_from_the_step_alone(recwarn):
    def train(first: int) -> Tensor:
        gan = build_model(settings(*SMALL_MODEL))
        torch.manual_seed(4)
        gan.discriminator = Noisy(nn.Flatten(), nn.Dropout(0.5), nn.Linear(1024, 1), nn.Flatten(0))
        torch.manual_seed(first)
        play(gan, [torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))] * 2)
        return gan.discriminator[2].weight.detach()

    assert torch.equal(train(1), train(2))


def test_latents_are_standard_normal_and_differ_by_purpose_step_and_rank():
    gan = build_model(settings(*SMALL_MODEL))
    draws = gan.latents(2000, "train")
    assert draws.shape == (2000, 100)
    assert abs(draws.mean().item()) < 0.01
    assert abs(draws.std().item() - 1) < 0.01
    assert torch.equal(draws, gan.latents(2000, "train"))
    for other in (gan.latents(2000, "x"), gan.latents(2000, "train", 1), gan.latents(2000, "train", 0, 1)):
        assert not torch.equal(draws, other)


def test_sampling_gives_uint8_images_and_disturbs_nothing():
    gan = build_model(settings(*SMALL_MODEL)).train()
    before = copy.deepcopy(gan.state_dict())
    random_state = torch.get_rng_state()
    images = gan.sample(gan.latents(3, "test"))
    assert images.shape == (3, 1, 32, 32)
    assert images.dtype == torch.uint8
    assert gan.generator.training
    assert torch.equal(random_state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in gan.state_dict().items())


def test_first_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    one = build_model(settings(*SMALL_MODEL)).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = build_model(settings(*SMALL_MODEL)).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    other = build_model(settings(*SMALL_MODEL, "seed=1")).state_dict()
    assert not torch.equal(one["generator.1.weight"], other["generator.1.weight"])


class Echo(nn.Module):
    """An image of the latent's first number, times a weight."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return (self.weight * latents[:, :1, None, None]).expand(-1, 1, 2, 2)


@pytest.mark.parametrize(
    ("weight", "expected"),
    # Real images of 0 and 2 are 2 apart, the floor is half of it; latents of 0 and 1 make fakes of 0 and w.
    [(0.0, 1.0), (0.25, 0.75), (1.0, 0.0), (5.0, 0.0)],
)
def test_samples_of_one_label_are_held_apart_by_a_share_of_what_real_images_are(
    weight: float, expected: float
):
    gan = build_model(settings(*SMALL_MODEL, "model.diversity=0.5"))
    gan.generator = Echo(weight)
    real = torch.tensor([0.0, 2.0])[:, None, None, None].expand(-1, 1, 2, 2)
    latents = torch.tensor([[0.0], [1.0]])
    turn = Turn(real, None, latents, None, None)
    sameness = gan.sameness(turn, gan.generator(latents))
    assert sameness.item() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(sameness, gan.generator.weight, allow_unused=True)
    assert gradient.item() == pytest.approx(-1.0 if 0 < weight < 1 else 0.0)


def test_the_floor_teaches_the_generator_alone():
    batches = [torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1]
    with_it, without = (build_model(settings(*SMALL_MODEL, f"model.diversity={share}")) for share in (1, 0))
    for gan in (with_it, without):
        play(gan, batches)
    one, two = with_it.state_dict(), without.state_dict()
    differ = {name.partition(".")[0] for name in one if not one[name].equal(two[name])}
    assert differ == {"generator"}
