"""The two-player game: the discriminator's turns, then the generator's, over and over.

Devices, files, pictures, metrics and the source of randomness live elsewhere.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from alzgan.augment import Augmentation
from alzgan.device.generators import torch_stream
from alzgan.device.pixels import to_uint8
from alzgan.device.precision import to_device
from alzgan.device.streams import stream
from alzgan.errors import SettingError, at_least, fraction, seed_of_streams
from alzgan.losses import AdversarialLoss
from alzgan.penalties import Penalty, Seen
from alzgan.schedules import OptimizerFactory, Schedules, make_optimizer
from alzgan.upstream.lightning import count_step

# By setting: the class that a piece of your own derives from, and what the game takes from it.
PIECES = {
    "loss": ("alzgan.losses.AdversarialLoss", ("discriminator", "generator", "read", "reading", "signs")),
    "penalties": ("alzgan.penalties.Penalty", ("forward", "weight", "interval")),
    "augment": ("alzgan.augment.Augmentation", ("forward", "draw")),
    "average": ("alzgan.average.ExponentialMovingAverage", ("follow",)),
}

# At augmented images in an alternation: D at real and fake, G at fake, and at real where the loss asks.
LOOKS = 4


class Turn(NamedTuple):
    """All that changes from turn to turn, as tensors, so that a step can be captured as a CUDA graph.

    Attributes:
        real: images (N, C, H, W) in [-1, 1].
        labels: theirs, see `alzgan.networks.conditioning`; None for an unconditional model.
        latents: (N, latent_dim).
        fake_labels: those of what is generated; None for an unconditional model.
        draws: uniforms (`LOOKS`, N, k) of the augmentation; None without one.
    """

    real: Tensor
    labels: Tensor | None
    latents: Tensor
    fake_labels: Tensor | None
    draws: Tensor | None


class GAN(LightningModule):
    """A generator and a discriminator that train against each other (Goodfellow et al. 2014).

    Args:
        generator: latents (N, latent_dim) and labels, or None, to images (N, C, H, W) in [-1, 1].
        discriminator: images (N, C, H, W) in [-1, 1] and labels, or None, to logits (N,).
        loss: turns logits into each player's scalar, see `alzgan.losses`.
        generator_optimizer: makes an optimizer of the generator's parameters; its options may be schedules.
        discriminator_optimizer: the same for the discriminator's.
        latent_dim: length of a latent vector, drawn from N(0, I).
        classes: of the labels; 0: the class is no condition.
        numbers: of each label, besides its class; 0: there are no other conditions.
        penalties: on the discriminator, by name, see `alzgan.penalties`.
        augment: what the discriminator sees is augmented by, see `alzgan.augment`.
        average: makes `generator_average` follow the generator, see `alzgan.average`; samples are then its.
        turns: of the discriminator for one of the generator; a batch is shared out among them.
        freeze: so many of the discriminator's first convolutions stay as they are: for a model that starts
            from another run (Mo et al. 2020, "Freeze the discriminator").
        diversity: the least mean absolute difference of two samples of one label, over that of two real
            images of the batch; below it the generator's loss grows, by 1 at most. 0: there is no floor.
            Without one, conditional models of small data make one image for each label, whatever the latent.
            Mao et al. 2019, "Mode seeking generative adversarial networks", reward differences without end.
        gradient_clip: largest norm of a player's gradient; None: no limit.
        seed: of every latent and every other number drawn.

    Raises:
        SettingError: a value is out of its range, or a piece lacks what the game takes from it.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: AdversarialLoss,
        generator_optimizer: OptimizerFactory,
        discriminator_optimizer: OptimizerFactory,
        latent_dim: int = 100,
        classes: int = 0,
        numbers: int = 0,
        penalties: Mapping[str, Penalty] | None = None,
        augment: nn.Module | None = None,
        average: nn.Module | None = None,
        turns: int = 1,
        freeze: int = 0,
        diversity: float = 0.0,
        gradient_clip: float | None = None,
        seed: int = 0,
    ):
        super().__init__()
        at_least(1, latent_dim=latent_dim, turns=turns)
        at_least(0, classes=classes, numbers=numbers, freeze=freeze)
        if gradient_clip is not None and not 0 < gradient_clip < float("inf"):
            raise SettingError(f"gradient_clip={gradient_clip} must be above 0; null is no limit")
        fraction(diversity=diversity)
        seed_of_streams(seed=seed)
        check_pieces(loss=loss, augment=augment, average=average)
        for name, penalty in (penalties or {}).items():
            check_pieces(**{f"penalties.{name}": penalty})
        self.automatic_optimization = False
        self.generator = generator
        self.discriminator = discriminator
        freeze_first_convolutions(discriminator, freeze)
        self.loss = loss
        self.optimizer_factories = (discriminator_optimizer, generator_optimizer)
        self.latent_dim = latent_dim
        self.classes = classes
        self.numbers = numbers
        self.penalties = nn.ModuleDict(penalties or {})
        self.augment = augment
        self.average = average
        self.generator_average = copy.deepcopy(generator).requires_grad_(False) if average else None
        self.critic_turns = turns
        self.diversity = diversity
        self.gradient_clip = gradient_clip
        self.seed = seed
        self.schedules = Schedules(self, self.optimizer_factories)
        self.followers = [module for module in self.modules() if hasattr(module, "follow")]
        self.images_a_step = 0  # of all processes together; known when training starts

    def configure_optimizers(self) -> tuple[Optimizer, Optimizer]:
        """The discriminator's optimizer, then the generator's: the order in which they play."""
        players = self.discriminator, self.generator
        return tuple(
            make_optimizer(factory, player.parameters())
            for factory, player in zip(self.optimizer_factories, players, strict=True)
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """One alternation on real images (N, C, H, W) in [-1, 1] with labels, see `Turn`.

        Returns named scalars, to be read only when something is logged: reading them waits for the device.
        """
        if self.schedules:
            done = self.global_step / self.trainer.estimated_stepping_batches
            self.schedules.follow(done, self.trainer.optimizers)
        due = tuple(name for name, each in self.penalties.items() if self.global_step % each.interval == 0)
        turns = self.turns(*batch)
        with torch_stream(self.device, self.seed, "networks", self.global_step, self.global_rank):
            said = self.alternation(turns, due)
        count_step(self.optimizers()[1])
        return said

    def turns(self, real: Tensor, labels: Tensor) -> list[Turn]:
        """The batch shared out among the discriminator's turns, with all that is drawn for them.

        Fakes take the labels of the reals: so they have the distribution that is sampled, and pairs of a
        relativistic loss have one class.
        """
        self.images_a_step = len(real) * self.trainer.world_size
        moment = self.global_step, self.global_rank
        latents = self.latents(len(real), "train", *moment)
        count = self.critic_turns
        given: Sequence[Tensor | None] = labels.chunk(count) if self.conditional else [None] * count
        draws: Sequence[Tensor | None] = [None] * count
        if self.augment is not None:
            uniforms = self.augment.draw(stream(self.seed, "augment", *moment), LOOKS * len(real))
            uniforms = to_device(uniforms.reshape(LOOKS, len(real), -1), self.device)
            # bfloat16 would not tell the pixels of a row apart.
            draws = uniforms.to(torch.promote_types(self.dtype, torch.float32)).chunk(count, dim=1)
        return [
            Turn(real, labels, latents, labels, uniforms)
            for real, labels, latents, uniforms in zip(
                real.chunk(count), given, latents.chunk(count), draws, strict=True
            )
        ]

    def alternation(self, turns: Sequence[Turn], due: Sequence[str]) -> dict[str, Tensor]:
        """The discriminator's turns, then the generator's step on the fakes of the last one.

        Args:
            turns: what is new in each.
            due: names of the penalties of this step.
        """
        for turn in turns:
            with torch.set_grad_enabled(turn is turns[-1]):  # by its fakes the generator is taught
                fake = self.generator(turn.latents, turn.fake_labels)
            said = self.discriminator_step(turn, fake.detach(), due)
        said |= self.generator_step(turn, fake)
        for follower in self.followers:
            follower.follow(self, said)
        return said

    def discriminator_step(self, turn: Turn, fake: Tensor, due: Sequence[str]) -> dict[str, Tensor]:
        """Teach the discriminator to tell real from fake, under the penalties that are due."""
        # Two passes, so that batch norm sees each kind of image by itself.
        penalized = any(getattr(self.penalties[name], "differentiates", True) for name in due)
        on_real = self.judge(turn.real, turn.labels, turn.draws, 0, penalized)
        on_fake = self.judge(fake, turn.fake_labels, turn.draws, 1, penalized)
        loss = total = self.loss.discriminator(on_real.logits, on_fake.logits)
        said = {
            "loss/discriminator": loss.detach(),
            "logits/real": on_real.logits.detach().mean(),
            "logits/fake": on_fake.logits.detach().mean(),
            "overfitting/r_t": self.loss.signs(on_real.logits, on_fake.logits).detach().mean(),
            f"{self.loss.reading}/D(x)": self.reading(on_real),
            f"{self.loss.reading}/D(G(z))_before_D_step": self.reading(on_fake),
        }
        for name in due:
            penalty = self.penalties[name]
            value = penalty(self.judge, on_real, on_fake)
            total = total + penalty.weight * penalty.interval * value
            said[f"penalty/{name}"] = value.detach()
        self.descend(total, self.optimizers()[0])
        return said

    def generator_step(self, turn: Turn, fake: Tensor) -> dict[str, Tensor]:
        """Teach the generator by its fakes (with graph), which the discriminator judges as it is now."""
        with frozen(self.discriminator):
            on_fake = self.judge(fake, turn.fake_labels, turn.draws, 2)
            loss = total = self.loss.generator(
                on_fake.logits, lambda: self.judge(turn.real, turn.labels, turn.draws, 3).logits
            )
            said = {
                "loss/generator": loss.detach(),
                f"{self.loss.reading}/D(G(z))_after_D_step": self.reading(on_fake),
            }
            if self.diversity:
                sameness = self.sameness(turn, fake)
                total = total + sameness
                said["penalty/sameness"] = sameness.detach()
            self.descend(total, self.optimizers()[1])
        return said

    def sameness(self, turn: Turn, fake: Tensor) -> Tensor:
        """How far samples of one label are below the least `diversity`: 0 not at all, 1 if they are one."""
        other = self.generator(turn.latents.roll(1, 0), turn.fake_labels)
        apart, real_apart = (
            (one - two).to(torch.promote_types(one.dtype, torch.float32)).abs().mean()
            for one, two in ((fake, other), (turn.real, turn.real.roll(1, 0)))
        )
        return (1 - apart / (self.diversity * real_apart).clamp(min=1e-6)).relu()

    def judge(
        self,
        images: Tensor,
        labels: Tensor | None,
        draws: Tensor | None = None,
        look: int = 0,
        penalized: bool = False,
    ) -> Seen:
        """Let the discriminator look at images, augmented if draws are given; logits are float32 or more.

        Args:
            images: (N, C, H, W) in [-1, 1].
            labels: as of a turn.
            draws: of a turn.
            look: which of its looks this is.
            penalized: a penalty will differentiate the logits with respect to the images.
        """
        # In mixed precision fakes come in half of it: reals would be augmented, and penalized, more finely.
        images = images.to(torch.promote_types(images.dtype, self.dtype))
        if draws is not None:
            images = self.augment(images, draws[look])
        if penalized:
            images = images.detach().requires_grad_()
        logits = self.discriminator(images, labels)
        return Seen(images, labels, logits.to(torch.promote_types(logits.dtype, torch.float32)))

    def reading(self, seen: Seen) -> Tensor:
        """The mean of D(x), as the loss reads it."""
        return self.loss.read(seen.logits.detach()).mean()

    def descend(self, loss: Tensor, optimizer: LightningOptimizer) -> None:
        """One step of a player's optimizer down its loss."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        for parameter in parameters:
            if parameter.grad is not None and parameter.grad.stride() != parameter.stride():
                # Of a second derivative, in the channels-last layout; a fused Adam takes no other strides.
                parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)
        if self.gradient_clip is not None:
            # Not Lightning's `clip_gradients`, which refuses fused optimizers in any mixed precision.
            nn.utils.clip_grad_norm_(parameters, self.gradient_clip)
        # Past LightningOptimizer.step, which would count each player's: one alternation is one step.
        self.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None)

    def latents(self, count: int, purpose: str, step: int = 0, rank: int = 0) -> Tensor:
        """Latents (count, latent_dim) from N(0, I), the same ones for the same arguments and seed."""
        draws = stream(self.seed, f"latents/{purpose}", step, rank).standard_normal(
            (count, self.latent_dim), dtype="float32"
        )
        return to_device(draws, self.device).to(self.dtype)

    @property
    def conditional(self) -> bool:
        """Whether the networks are given labels."""
        return self.classes + self.numbers > 0

    @property
    def sampler(self) -> nn.Module:
        """What makes samples: the generator's average, where there is one."""
        return self.generator if self.generator_average is None else self.generator_average

    @torch.no_grad()
    def sample(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (N, C, H, W), uint8, for latents (N, latent_dim) and labels, in evaluation mode.

        Labels are for conditional models, which need them. Training is not disturbed: no batch-norm statistic
        moves and nothing is drawn.
        """
        network = self.sampler
        training = network.training
        network.eval()
        images = to_uint8(network(latents, labels if self.conditional else None))
        network.train(training)
        return images


def check_pieces(**pieces: object) -> None:
    """Check that each piece has what the game takes from it.

    Args:
        pieces: by the place of their settings; None is no piece.

    Raises:
        SettingError: a piece lacks something.
    """
    for place, piece in pieces.items():
        if piece is None:
            continue
        kind, name = place.partition(".")[0], type(piece).__name__
        base, needed = PIECES[kind]
        if kind != "loss" and not isinstance(piece, nn.Module):
            raise SettingError(f"{place}: {name} is no torch.nn.Module: derive it from {base}")
        if getattr(type(piece), "draw", None) is Augmentation.draw:
            needed += ("uniforms",)
        for each in needed:
            if not hasattr(piece, each) or getattr(type(piece), each, None) is nn.Module.forward:
                raise SettingError(f"{place}: {name} has no {each}, see {base}")


def freeze_first_convolutions(discriminator: nn.Module, count: int) -> None:
    """Let nothing of the discriminator learn that comes before its convolution number `count + 1`.

    Raises:
        SettingError: it has no more than `count`.
    """
    convolutions = [module for module in discriminator.modules() if isinstance(module, nn.Conv2d)]
    if count and count >= len(convolutions):
        raise SettingError(
            f"freeze={count} must be less than the discriminator's {len(convolutions)} convolutions"
        )
    learning = next(convolutions[count].parameters()) if count else None
    for parameter in discriminator.parameters() if count else ():
        if parameter is learning:
            break
        parameter.requires_grad_(False)


@contextlib.contextmanager
def frozen(player: nn.Module) -> Iterator[None]:
    """Let gradients flow through the player, not into it: a quarter of its backward pass is saved."""
    learning = [parameter for parameter in player.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:  # those alone: what the user froze stays frozen
            parameter.requires_grad_(True)
