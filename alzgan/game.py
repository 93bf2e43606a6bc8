"""The two-player game: the discriminator's steps, then the generator's, as a function of their turns.

The turns bring all random draws. Devices, files, pictures, metrics and Lightning live elsewhere.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from alzgan.augment import Augmentation
from alzgan.average import Average
from alzgan.device.ranks import count_of_ranks
from alzgan.errors import derives, fraction
from alzgan.losses import AdversarialLoss
from alzgan.penalties import Penalty, Seen

AVERAGE = "generator_average"  # the average's network, in checkpoints

Descend = Callable[[Tensor, Optimizer], None]


class Look(IntEnum):
    """Where the discriminator looks at augmented images in a turn. Each look has its own draws."""

    REAL = 0
    FAKE = 1
    FAKE_AGAIN = 2  # in the generator's step
    REAL_AGAIN = 3  # in the generator's step, for relativistic losses only


class Turn(NamedTuple):
    """All that changes from turn to turn, as tensors, so that a step can be captured as a CUDA graph.

    Attributes:
        real: images (N, C, H, W) in [-1, 1].
        labels: of the real images, see `alzgan.networks.conditioning`; None for an unconditional model.
        latents: (N, latent_dim).
        fake_labels: of the images to be generated; None for an unconditional model.
        draws: the augmentation's uniforms (`len(Look)`, N, k) in [0, 1); None without augmentation.
    """

    real: Tensor
    labels: Tensor | None
    latents: Tensor
    fake_labels: Tensor | None
    draws: Tensor | None

    def uniforms(self, look: Look) -> Tensor | None:
        """The draws (N, k) of one look."""
        return None if self.draws is None else self.draws[look]


def plain_descent(loss: Tensor, optimizer: Optimizer) -> None:
    """Take one step of an optimizer down a loss."""
    optimizer.zero_grad()
    loss.backward()
    align_gradients(optimizer)
    optimizer.step()


class Game(nn.Module):
    """A generator and a discriminator that train against each other (Goodfellow et al. 2014).

    Args:
        generator: latents (N, latent_dim) and labels, or None, to images (N, C, H, W) in [-1, 1].
        discriminator: images (N, C, H, W) in [-1, 1] and labels, or None, to logits (N,).
        loss: turns logits into a scalar for each player, see `alzgan.losses`.
        penalties: on the discriminator, by name, see `alzgan.penalties`.
        augment: augments all that the discriminator sees, see `alzgan.augment`.
        average: a second generator that follows the first, see `alzgan.average`.
        diversity: the smallest mean absolute difference between two samples of one label that adds nothing to
            the generator's loss, as a share of that between two real images of the batch. Smaller differences
            add up to 1. Without such a floor (0), conditional models of small data make one image for each
            label, whatever the latent. Mao et al. 2019, "Mode seeking generative adversarial networks",
            reward differences without a limit.

    Raises:
        SettingError: a value is out of its range, or a piece does not derive from the class of its contract.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: AdversarialLoss,
        penalties: Mapping[str, Penalty] | None = None,
        augment: Augmentation | None = None,
        average: Average | None = None,
        diversity: float = 0.0,
    ):
        super().__init__()
        fraction(diversity=diversity)
        derives(AdversarialLoss, loss=loss)
        derives(Penalty, **{f"penalties.{name}": each for name, each in (penalties or {}).items()})
        derives(Augmentation, augment=augment)
        derives(Average, average=average)
        self.generator = generator
        self.discriminator = discriminator
        self.loss = loss
        self.penalties: Any = nn.ModuleDict(penalties or {})  # a mapping of names to `Penalty`
        self.augment = augment
        self.average = average
        self.diversity = diversity
        if average is not None:
            average.start(generator)
            self.register_state_dict_post_hook(partial(rename, "average.network", AVERAGE))
            self.register_load_state_dict_pre_hook(partial(rename, AVERAGE, "average.network"))
        self.followers: list[Any] = [module for module in self.modules() if hasattr(module, "follow")]
        self.images_a_step = 0  # of all processes together; known from the first step on

    def due(self, step: int) -> tuple[str, ...]:
        """The names of the penalties that are due at a step."""
        return tuple(name for name, each in self.penalties.items() if step % each.interval == 0)

    def step(
        self,
        turns: Sequence[Turn],
        due: Sequence[str],
        optimizers: Sequence[Optimizer],
        descend: Descend = plain_descent,
    ) -> dict[str, Tensor]:
        """The discriminator's turns, then the generator's step on the fakes of the last turn.

        Args:
            turns: the discriminator's.
            due: names of the penalties of this step.
            optimizers: the discriminator's, then the generator's.
            descend: takes one step of an optimizer down a loss.

        Returns:
            Named scalars. Reading one waits for the device.
        """
        self.images_a_step = sum(len(turn.real) for turn in turns) * count_of_ranks()
        for turn in turns:
            with torch.set_grad_enabled(turn is turns[-1]):  # the generator learns from these fakes
                fake = self.generator(turn.latents, turn.fake_labels)
            loss, said = self.discriminator_loss(turn, fake.detach(), due)
            descend(loss, optimizers[0])
        with frozen(self.discriminator):
            loss, more = self.generator_loss(turn, fake)
            descend(loss, optimizers[1])
        said |= more
        for follower in self.followers:
            follower.follow(self, said)
        return said

    def discriminator_loss(
        self, turn: Turn, fake: Tensor, due: Sequence[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The discriminator's loss with the penalties that are due, and named scalars."""
        # Two passes, so that batch norm sees each kind of image by itself.
        penalized = any(self.penalties[name].differentiates for name in due)
        on_real = self.judge(turn.real, turn.labels, turn.uniforms(Look.REAL), penalized)
        on_fake = self.judge(fake, turn.fake_labels, turn.uniforms(Look.FAKE), penalized)
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
        return total, said

    def generator_loss(self, turn: Turn, fake: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The generator's loss on the fakes (with graph) by the current discriminator, and named scalars."""
        on_fake = self.judge(fake, turn.fake_labels, turn.uniforms(Look.FAKE_AGAIN))
        loss = total = self.loss.generator(
            on_fake.logits,
            lambda: self.judge(turn.real, turn.labels, turn.uniforms(Look.REAL_AGAIN)).logits,
        )
        said = {
            "loss/generator": loss.detach(),
            f"{self.loss.reading}/D(G(z))_after_D_step": self.reading(on_fake),
        }
        if self.diversity:
            sameness = self.sameness(turn, fake)
            total = total + sameness
            said["penalty/sameness"] = sameness.detach()
        return total, said

    def sameness(self, turn: Turn, fake: Tensor) -> Tensor:
        """How far the samples of one label fall below `diversity`: 0 not at all, 1 if they are identical."""
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
        uniforms: Tensor | None = None,
        penalized: bool = False,
    ) -> Seen:
        """Let the discriminator look at images, augmented if uniforms are given.

        Args:
            images: (N, C, H, W) in [-1, 1].
            labels: of the images, as in `Turn`.
            uniforms: (N, k) of the augmentation.
            penalized: whether a penalty will differentiate the logits with respect to the images.

        Returns:
            The images that it saw and its logits, float32 or more.
        """
        # Autocast makes half-precision fakes: reals would be augmented and penalized at higher precision.
        weights = next(self.discriminator.parameters())
        images = images.to(torch.promote_types(images.dtype, weights.dtype))
        if self.augment is not None and uniforms is not None:
            images = self.augment(images, uniforms)
        if penalized:
            images = images.detach().requires_grad_()
        logits = self.discriminator(images, labels)
        return Seen(images, labels, logits.to(torch.promote_types(logits.dtype, torch.float32)))

    def reading(self, seen: Seen) -> Tensor:
        """The mean of D(x), as the loss reads it."""
        return self.loss.read(seen.logits.detach()).mean()


def align_gradients(optimizer: Optimizer) -> None:
    """Give each gradient its parameter's strides, which fused Adam requires.

    In the channels-last layout, second derivatives have other strides.
    """
    for parameter in parameters_of(optimizer):
        if parameter.grad is not None and parameter.grad.stride() != parameter.stride():
            parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)


def parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    """The parameters that an optimizer updates."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


@contextlib.contextmanager
def frozen(player: nn.Module) -> Iterator[None]:
    """Let gradients flow through the player but not into it: this saves a quarter of its backward pass."""
    learning = [parameter for parameter in player.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:  # only these: the user may have frozen others
            parameter.requires_grad_(True)


def rename(old: str, new: str, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Rename a submodule's tensors in a state_dict: a hook of `Game`."""
    for name in [name for name in state if name.startswith(f"{prefix}{old}.")]:
        state[name.replace(old, new, 1)] = state.pop(name)
