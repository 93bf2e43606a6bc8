"""Discriminators of several parts: what they add up to, and heads on frozen features."""

import copy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from conftest import settings, small_settings
from recorder import patch_graphs
from test_game import SMALL_MODEL, Echo, play
from test_seams import UNWATCHED, captured, check_resumed, played, train
from torch import Tensor, nn
from torchvision.models import get_model

from alzgan.device.graphs import WARM_UP_STEPS
from alzgan.errors import SettingError, UserError
from alzgan.evaluation.candidates import Candidate
from alzgan.evaluation.stages import on_trained
from alzgan.game import Game, Turn
from alzgan.losses import (
    AdversarialLoss,
    HingeLoss,
    LeastSquaresLoss,
    NonSaturatingLoss,
    RelativisticLoss,
    WassersteinLoss,
)
from alzgan.metrics.lite import LiteFeatures
from alzgan.metrics.trained import is_trained
from alzgan.networks.frozen import Depthwise, FrozenFeatures
from alzgan.networks.heads import Heads
from alzgan.networks.patches import Discriminator as Patches
from alzgan.parts import Part, judge
from alzgan.penalties import R1, R2, GradientPenalty, LeCam, Penalty, squared_gradient
from alzgan.runs.build import build_model
from alzgan.runs.load import load
from alzgan.runs.resume import Previous
from alzgan.runs.start import origin

PENALTIES = (R1(1.0), R2(1.0), GradientPenalty(1.0), LeCam(1.0))
LOSSES = (HingeLoss(), LeastSquaresLoss(), NonSaturatingLoss(), RelativisticLoss(), WassersteinLoss())
HEADS = "model.parts.heads"
SHORT = (f"{HEADS}.network.view.stages=[blocks.0,blocks.2]", f"{HEADS}.network.view.side=32")
SMALL_HEADS = (*SHORT, f"{HEADS}.network.width=4")
AIDED = ("model=aided", *SMALL_HEADS)


class Means(nn.Module):
    """Three logits of a view (N, 2): the means of an image's left and right halves."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]], dtype=torch.double))

    def view(self, images: Tensor) -> Tensor:
        return torch.stack([half.mean((1, 2, 3)) for half in images.chunk(2, 3)], 1)

    def forward(self, seen: Tensor, labels: Tensor | None) -> Tensor:
        return torch.tanh(seen @ self.weight)


class Whole(nn.Module):
    """One logit: the tanh of a weight times the sum of an image."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.3, dtype=torch.double))

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return torch.tanh(self.weight * images.sum((1, 2, 3)))


def random_turn(count: int = 4, side: int = 2) -> Turn:
    noise = torch.Generator().manual_seed(0)
    real, latents = (
        torch.rand(shape, generator=noise, dtype=torch.double) * 2 - 1
        for shape in ((count, 1, side, side), (count, 1))
    )
    return Turn(real, None, latents, None, None)


def test_a_discriminator_of_two_parts_is_the_weighted_sum_by_hand():
    first, second = Whole(), Means()
    parts = {"means": Part(second, weight=0.25, interval=2, penalties={"r2": R2(3.0, 1)})}
    game = Game(Echo(0.7).double(), first, NonSaturatingLoss(), {"r1": R1(2.0, 4)}, parts=parts)
    turn = random_turn()
    fake = game.generator(turn.latents)
    due = game.due(0)
    assert due == ("r1", "parts.means", "parts.means.r2")
    both = game.seen(turn, fake, due)
    loss, said = game.discriminator_loss(turn, due, both)

    def slope(network: nn.Module, seen: Tensor) -> Tensor:
        """Half the mean squared gradient of each image's mean logit, by the derivative of tanh."""
        slopes = 1 - network(seen, None).square()
        if network is first:
            return ((first.weight * slopes).square() * seen[0].numel()).mean() / 2
        return ((slopes @ second.weight.T) / 3).square().sum(1).mean() / 2

    def cross_entropy(network: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-network(real, None)).mean() + F.softplus(network(fake, None)).mean()

    seen, seen_fake = second.view(turn.real), second.view(fake)
    plain = cross_entropy(first, turn.real, fake) + 2.0 * 4 * slope(first, turn.real)
    aid = cross_entropy(second, seen, seen_fake) + 3.0 * slope(second, seen_fake)
    assert loss.item() == pytest.approx((plain + 0.25 * 2 * aid).item(), rel=1e-12)
    assert said["penalty/r2/means"].item() == pytest.approx(slope(second, seen_fake).item(), rel=1e-12)
    answer, _ = game.generator_loss(turn, fake, due, both)
    expected = [
        F.softplus(-network(seen, None)).mean() for network, seen in ((first, fake), (second, seen_fake))
    ]
    assert answer.item() == pytest.approx((expected[0] + 0.25 * 2 * expected[1]).item(), rel=1e-12)
    ours, theirs = (
        torch.autograd.grad(each, game.generator.weight, retain_graph=True)[0].item()
        for each in (answer, expected[0] + 0.5 * expected[1])
    )
    assert ours == pytest.approx(theirs, rel=1e-12)
    # A part that is not due costs nothing, and says nothing.
    alone, said = game.discriminator_loss(turn, game.due(1), game.seen(turn, fake, game.due(1)))
    assert alone.item() == pytest.approx(cross_entropy(first, turn.real, fake).item(), rel=1e-12)
    assert not [name for name in said if name.endswith("/means")]


def test_penalties_of_a_part_count_its_own_turns():
    part = Part(Means(), 1.0, interval=3, penalties={"r1": R1(1.0, 2)})
    game = Game(Echo(1.0), Whole(), NonSaturatingLoss(), {"r1": R1(1.0, 4)}, parts={"means": part})
    found = [game.due(step) for step in range(7)]
    own, theirs, turn = "parts.means.r1", "r1", "parts.means"
    assert found == [(theirs, turn, own), (), (), (turn,), (theirs,), (), (turn, own)]


class Same(nn.Module):
    """Equal logits of a view (N, 2): (N,), or as many as the shape says for each image."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, -2.0], dtype=torch.double))
        self.shape = shape

    def forward(self, seen: Tensor, labels: Tensor | None) -> Tensor:
        logits = torch.tanh(seen @ self.weight + 0.1 * labels)
        return logits.view(-1, *[1] * len(self.shape)).expand(-1, *self.shape)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda penalty: type(penalty).__name__)
def test_every_loss_and_penalty_combines_with_the_contract(loss: AdversarialLoss, penalty: Penalty):
    """An image with several equal logits is as one with a single logit, to both players."""
    turn = random_turn(4, 1)
    found = []
    for shape in ((), (1,), (3,)):
        network = Same(shape)
        real, fake = (
            torch.cat([seen, seen**2], 1).requires_grad_() for seen in (turn.real.flatten(1), turn.latents)
        )
        on_real, on_fake = (judge(network, seen, torch.arange(4)) for seen in (real, fake))
        assert on_real.logits.shape == (4, *shape)
        value = loss.discriminator(on_real.logits, on_fake.logits)
        value = value + penalty(partial(judge, network), on_real, on_fake)
        (gradient,) = torch.autograd.grad(value, network.weight, retain_graph=True)
        answer = loss.generator(on_fake.logits, lambda on_real=on_real: on_real.logits)
        (to_generator,) = torch.autograd.grad(answer, fake)
        signs = loss.signs(on_real.logits, on_fake.logits).mean()
        read = loss.read(on_real.logits).mean()
        scalars = [each.item() for each in (value, answer, signs, read)]
        found.append([*scalars, *gradient.tolist(), *to_generator.flatten().tolist()])
    assert found[1] == pytest.approx(found[0], rel=1e-12)
    assert found[2] == pytest.approx(found[0], rel=1e-12)
    assert max(map(abs, found[0][4:6])) > 1e-3


def test_heads_penalties_are_the_finite_differences_of_their_logits():
    torch.manual_seed(0)
    view = FrozenFeatures(stages=["blocks.0", "blocks.2"], side=32)
    heads = Heads(view, width=3).double()
    seen = torch.randn(2, sum(c * h * w for c, h, w in view.shapes), dtype=torch.double).requires_grad_()
    found = squared_gradient(judge(heads, seen, None))
    step = 1e-6
    expected = []
    with torch.no_grad():
        for row in seen:
            moved = row[None] + step * torch.eye(len(row), dtype=torch.double)
            back = row[None] - step * torch.eye(len(row), dtype=torch.double)
            pairs = zip(moved.split(1024), back.split(1024), strict=True)
            slopes = [(heads(one).mean(1) - heads(two).mean(1)) / (2 * step) for one, two in pairs]
            expected.append(torch.cat(slopes).square().sum().item())
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert min(expected) > 1e-6


def test_the_split_maps_are_the_standardised_maps():
    view = FrozenFeatures(stages=["blocks.0", "blocks.2"], side=32)
    images = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    view.standardise(images)
    for maps, plain, shape in zip(view.split(view(images)), view.maps(images), view.shapes, strict=True):
        assert maps.shape == plain.shape == (6, *shape)
        means, deviations = plain.mean((0, 2, 3), keepdim=True), plain.std((0, 2, 3), keepdim=True)
        torch.testing.assert_close(maps, (plain - means) / deviations.clamp(min=1e-3), rtol=1e-4, atol=1e-4)
    before = view.mean.clone()
    view.standardise(-images)  # heads have been trained on the first ones
    assert torch.equal(view.mean, before)


def test_images_are_reduced_without_aliases():
    view = FrozenFeatures(stages=["blocks.0"], side=32)
    stripes = torch.ones(48).index_fill(0, torch.arange(0, 48, 2), -1.0).expand(1, 1, 48, 48)
    inner = view.inputs(stripes)[..., 2:-2]
    assert (inner - inner.mean()).abs().max() < 0.2  # 0.5 with aliases
    assert view.inputs(torch.full((1, 1, 48, 48), 0.5)).unique().tolist() == pytest.approx([64.25 / 128])


def test_the_features_are_those_of_the_network_that_judges():
    view = FrozenFeatures(stages=["blocks.2", "blocks.15"], side=64)
    images = torch.randint(256, (2, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    network = LiteFeatures("imagenet-lite0").network
    grey = ((images.float() - 127) / 128).expand(-1, 3, -1, -1)
    early, late = view.maps(images / 127.5 - 1)
    expected = network.blocks[:3](network.stem(grey))
    torch.testing.assert_close(early, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(late, network.blocks[3:](expected), rtol=1e-4, atol=1e-4)


def test_a_depthwise_convolution_with_a_fast_gradient_is_the_same_convolution():
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 4, 5, 2, 2, groups=4).double().requires_grad_(False)
    maps = torch.randn(2, 4, 9, 12, dtype=torch.double).requires_grad_()
    ours, theirs = Depthwise(plain)(maps), plain(maps)
    torch.testing.assert_close(ours, theirs)
    assert torch.equal(Depthwise(plain)(maps.detach()), theirs)
    weights = torch.randn_like(theirs)
    gradients = [torch.autograd.grad((each * weights).sum(), maps)[0] for each in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_patches_are_judged_by_themselves():
    network = Patches(channels=1, width=4, stages=2)
    images = torch.zeros(1, 1, 32, 32)
    before = network(images, None)
    assert before.shape == (1, 64)
    images[:, :, :3, :3] = 1
    changed = (network(images, None) != before).view(8, 8)
    assert changed.nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]  # 10 pixels wide, 4 apart


def test_frozen_weights_do_not_move_and_are_in_no_state(recwarn):
    gan = build_model(settings(*SMALL_MODEL, *AIDED, "model.augment.shift=0"))
    view = gan.parts.heads.network.view
    before = copy.deepcopy(view.load().state_dict())
    count = sum(value.numel() for value in before.values())
    play(gan, [torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(i)) for i in range(2)])
    assert all(torch.equal(value, before[name]) for name, value in view.load().state_dict().items())
    heads = {name: value for name, value in gan.state_dict().items() if name.startswith("parts.")}
    assert {name.split(".")[3] for name in heads} == {"view", "heads"}
    assert sum(value.numel() for value in heads.values()) < count / 2
    assert {name for name in heads if ".view." in name} == {
        f"parts.heads.network.view.{name}" for name in ("mean", "deviation")
    }


def test_a_heads_step_moves_every_weight_of_the_heads_and_the_generator_follows_them(recwarn):
    def trained(weight: float):
        gan = build_model(settings(*SMALL_MODEL, *AIDED, f"{HEADS}.weight={weight}"))
        start = copy.deepcopy(gan.state_dict())
        play(gan, [torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))])
        return start, gan

    start, gan = trained(0.12)
    for name, value in gan.parts.named_parameters():
        if not name.endswith("score.bias"):  # a relativistic loss is of differences
            assert not torch.equal(value, start[f"parts.{name}"]), name
    _, without = trained(0.0)
    ours, theirs = gan.state_dict(), without.state_dict()
    assert not torch.equal(ours["generator.1.weight"], theirs["generator.1.weight"])
    assert torch.equal(ours["discriminator.0.weight"], theirs["discriminator.0.weight"])


def test_stacks_with_heads_resume_to_the_bit_under_bfloat16(slices: Path, tmp_path: Path):
    options = (*UNWATCHED, "model=aided_stacks", *SMALL_HEADS, "trainer.precision=bf16-mixed")
    composed = small_settings(slices, tmp_path, *options, "data.channels=3")
    check_resumed(composed, tmp_path)


@pytest.mark.slow
def test_heads_and_patches_are_recorded_and_replayed_with_the_same_weights(monkeypatch: pytest.MonkeyPatch):
    patch_graphs(monkeypatch)
    overrides = (*AIDED, "part=[heads,patches]", f"{HEADS}.interval=2", "trainer.precision=bf16-mixed")
    steps = 8 * (WARM_UP_STEPS + 1) + 1
    plain, said = played(overrides, steps, lambda game: game.play)
    replayed, said_again = played(overrides, steps, captured)
    assert said == said_again
    for (name, ours), theirs in zip(plain.state_dict().items(), replayed.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_run_records_the_features_it_was_trained_on_and_refuses_others(
    slices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    judged = ("callbacks.quality.extractor=imagenet-lite0", "callbacks.quality.n_samples=4")
    unwatched = [text for text in UNWATCHED if "quality" not in text]
    composed = small_settings(slices, tmp_path, *unwatched, *AIDED, *judged)
    checkpoint = train(composed, tmp_path / "run", 1)
    record = checkpoint["alzgan"]["provenance"]
    assert "quality/frechet_imagenet_lite0 flatters: the discriminator is trained on" in caplog.text
    sha = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    assert record["trained_features"] == {"imagenet-lite0": sha}
    # Sampling needs no frozen network.
    assert load(tmp_path / "run").sample(2).shape == (2, 1, 32, 32)
    path = tmp_path / "run/checkpoints/last.ckpt"
    record["trained_features"] = {"imagenet-lite0": "0" * 64}
    with pytest.raises(
        UserError, match=r"on features of imagenet-lite0, whose file has the SHA-256 0{64}: give"
    ):
        train(composed, tmp_path / "run", 2, Previous(path, checkpoint))


@pytest.mark.parametrize(
    ("space", "features", "expected"),
    [
        ("imagenet-lite0", {"imagenet-lite0"}, True),
        ("imagenet-lite2", {"imagenet-lite0"}, False),
        ("imagenet-lite0", set(), False),
        ("random-conv", {"imagenet-lite0"}, False),
        ("resnet50-aaaaaaaa", {"resnet50-aaaaaaaa"}, True),
        ("resnet50-bbbbbbbb", {"imagenet-lite0", "resnet50-aaaaaaaa"}, True),  # perhaps fine-tuned
        ("resnet18-aaaaaaaa", {"resnet50-aaaaaaaa"}, False),
        ("wide_resnet50-aaaaaaaa", {"resnet50-aaaaaaaa"}, False),
    ],
)
def test_a_space_is_trained_if_its_network_is_with_any_weights(space: str, features: set, expected: bool):
    assert is_trained(space, features) == expected


def test_what_a_discriminator_was_trained_on_is_known_of_checkpoints_alone():
    for info, expected in (
        ({"trained_by": {"trained_features": {"imagenet-lite0": "5793"}}}, {"imagenet-lite0"}),
        ({"trained_by": {"trained_features": None}}, set()),  # of an older one
        ({}, set()),
    ):
        assert Candidate("run", "checkpoint", None, info, None).trained_features == expected


def test_features_that_an_earlier_run_trained_on_stay_known_through_all_that_start_from_it():
    first = {"trained_features": {"imagenet-lite0": "5793"}}
    second = {"trained_features": {}, "started_from": origin(Path("a"), {"alzgan": {"provenance": first}})}
    third = {"trained_features": {"resnet50-aaaaaaaa": "aaaa"}}
    third["started_from"] = origin(Path("b"), {"alzgan": {"provenance": second}})
    for made, expected in (
        (second, {"imagenet-lite0"}),
        (third, {"imagenet-lite0", "resnet50-aaaaaaaa"}),
        ({"started_from": {"path": "old"}}, set()),
    ):
        assert Candidate("run", "checkpoint", None, {"trained_by": made}, None).trained_features == expected


def test_the_note_says_which_network_to_add_if_the_discriminator_saw_all():
    def note(trained: set[str], *chosen: str) -> str:
        spaces = [SimpleNamespace(name=name) for name in ("random-conv", "pixels", *chosen)]
        return on_trained(trained, spaces, trained)

    one = note({"imagenet-lite0"}, "imagenet-lite0")
    assert one.startswith("numbers in imagenet-lite0 decide nothing: ")
    assert one.endswith("add a network that it has not seen: features=[...,imagenet-lite2]")
    assert note({"imagenet-lite2"}, "imagenet-lite2").endswith("features=[...,imagenet-lite0]")
    both = "imagenet-lite0", "imagenet-lite2"
    assert note(set(both), *both).endswith("features=[...,NETWORK:FILE]")
    assert "imagenet-lite0 and imagenet-lite2 decide nothing" in note(set(both), *both)
    assert "features=" not in note({"imagenet-lite0"}, "imagenet-lite0", "inception")


def test_any_network_of_torchvision_with_its_weights_will_do(tmp_path: Path, recwarn):
    file = tmp_path / "weights.pth"
    torch.save(get_model("mobilenet_v2", weights=None).state_dict(), file)
    view = FrozenFeatures(f"mobilenet_v2:{file}", ["features.1", "features.3"], 32)
    assert view.shapes == [(16, 16, 16), (24, 8, 8)]
    assert view.space == f"mobilenet_v2-{view.sha256[:8]}"
    images = torch.rand(2, 5, 32, 32).requires_grad_()
    (gradient,) = torch.autograd.grad(view(images).square().sum(), images)
    moved = gradient.abs().sum((0, 2, 3)) > 0
    assert moved.tolist() == [True, False, True, False, True]  # of five neighbouring slices it sees three


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"features": "pixels"},
            "features=pixels must be one of imagenet-lite0, imagenet-lite2, or",
        ),
        (
            {"features": "nothing:here"},
            "features=nothing:here must be one of imagenet-lite0, imagenet-lite2, or",
        ),
        ({"stages": ["blocks.99"]}, "stages=.'blocks.99'. must be names of modules of imagenet-lite0"),
        ({"stages": []}, "must be names of modules of imagenet-lite0, at least one"),
        ({"side": 8}, "side=8 must be at least 32"),
    ],
)
def test_a_view_that_is_none_is_refused(options: dict, told: str):
    with pytest.raises(SettingError, match=told):
        FrozenFeatures(**options)


def test_weights_that_are_not_there_are_told_before_training(slices: Path, tmp_path: Path, error_line):
    line = error_line(
        "data=mri",
        f"data.root={slices}",
        "model=small",
        "part=heads",
        f"{HEADS}.network.view.features=resnet18:{tmp_path}/absent.pth",
        f"{HEADS}.network.view.stages=[layer1]",
        f"run_dir={tmp_path}/run",
    )
    assert "cannot read the weights" in line


def test_a_part_of_ones_own_derives_from_part():
    with pytest.raises(UserError, match=r"model.parts.mine: Heads must derive from alzgan.parts.Part"):
        build_model(
            settings(
                *SMALL_MODEL,
                "+model.parts={mine:{_target_:alzgan.networks.heads.Heads,"
                "view:{_target_:alzgan.networks.frozen.FrozenFeatures}}}",
            )
        )
    with pytest.raises(SettingError, match="weight=-1 must be at least 0"):
        Part(Whole(), -1)


def test_lecam_in_a_part_follows_the_parts_own_logits():
    parts = {"means": Part(Means(), 0.5, penalties={"lecam": LeCam(0.3, momentum=0.0)})}
    game = Game(Echo(0.7).double(), Whole(), NonSaturatingLoss(), parts=parts)
    adam = [torch.optim.SGD(game.player(name).parameters(), 0.1) for name in ("discriminator", "generator")]
    said = game.step([random_turn()], game.due(0), adam)
    own = [said["logits/real/means"].item(), said["logits/fake/means"].item()]
    assert game.parts["means"].penalties["lecam"].anchors.tolist() == pytest.approx(own, rel=1e-6)
    assert own != pytest.approx([said["logits/real"].item(), said["logits/fake"].item()], rel=1e-3)


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 1.0), (0.25, 0.5), (0.5, 0.0), (5.0, 0.0)])
def test_samples_of_a_batch_are_held_apart_without_a_second_pass(weight: float, expected: float):
    # Latents 0, 1, 1 make fakes 0, w, w, whose neighbours differ by w, w and 0; real images are 0, 1, 1.
    gan = build_model(settings(*SMALL_MODEL, "model.diversity=0.5"))
    gan.generator = Echo(weight)
    latents = torch.tensor([[0.0], [1.0], [1.0]])
    turn = Turn(latents[:, :, None, None].expand(-1, 1, 2, 2), None, latents, None, None)
    fake = gan.generator(latents)
    gan.generator.forward = None  # it is not asked again
    assert gan.sameness(turn, fake).item() == pytest.approx(expected)


def test_a_floor_may_be_a_schedule(recwarn):
    floor = "model.diversity={_target_: alzgan.schedules.Linear, start: 0, end: 1}"
    gan = build_model(settings(*SMALL_MODEL, floor))
    said = []
    original, gan.step = gan.step, lambda *turn: said.append(original(*turn)) or said[-1]
    play(gan, [torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))] * 2)
    assert said[0]["penalty/sameness"] == 0
    assert gan.diversity == 0.5
    assert said[1]["penalty/sameness"] > 0


def test_the_settings_of_absent_parts_are_told(slices: Path, error_line):
    line = error_line("data=mri", f"data.root={slices}", "model=small", f"+{HEADS}.weight=1")
    assert f"{HEADS}.weight=1: the run has no {HEADS}; choose one with part=, or leave it out" in line


def test_the_command_line_may_add_a_penalty_whole(slices: Path, error_line):
    penalty = "+model.penalties.mine={_target_:alzgan.penalties.R1,weight:-1}"
    line = error_line("data=mri", f"data.root={slices}", "model=small", penalty)
    assert "model.penalties.mine.weight=-1 must be at least 0" in line
