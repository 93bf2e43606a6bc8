"""A step of the two-player game, as a function of its turns: the discriminator's steps, then the generator's.

The turns contain all random draws. Devices, files, pictures, metrics and Lightning live elsewhere.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from alzgan.augment import Augmentation
from alzgan.average import Average
from alzgan.device.precision import wide
from alzgan.device.ranks import count_of_ranks
from alzgan.errors import derives, fraction
from alzgan.losses import AdversarialLoss
from alzgan.parts import Part, judge, penalties_due
from alzgan.penalties import Penalty, Seen
from alzgan.schedules import Schedule

AVERAGE = "generator_average"  # the average's network, in checkpoints

Descend = Callable[[Tensor, Optimizer], None]
Seeing = Mapping[str, tuple[Tensor, Tensor]]  # real and fake, by the `Playing.suffix` of each network


class Look(IntEnum):
    """When the discriminator looks at augmented images in a turn. Each look has its own draws."""

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


class Playing(NamedTuple):
    """A network of the discriminator in a step in which it plays.

    Attributes:
        suffix: of the names of its scalars: "" for the first network, "/heads" for the part of that name.
        network: see `alzgan.parts`.
        weight: of its loss.
        penalties: by name, those that are due.
    """

    suffix: str
    network: nn.Module
    weight: float | Tensor
    penalties: dict[str, Any]  # of `Penalty`; a `nn.ModuleDict` tells no types

    @property
    def view(self) -> Callable[[Tensor], Tensor] | None:
        """The network's view of images, see `alzgan.parts`; None if it sees the images themselves."""
        return getattr(self.network, "view", None)


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
        discriminator: images (N, C, H, W) in [-1, 1] and labels, or None, to logits (N,) or (N, k).
        loss: turns logits into a scalar for each player, see `alzgan.losses`.
        penalties: on `discriminator`, by name, see `alzgan.penalties`.
        parts: further networks of the discriminator, by name, see `alzgan.parts`.
        augment: augments all that the discriminator sees, see `alzgan.augment`.
        average: a second generator that follows the first, see `alzgan.average`.
        diversity: the floor of the mean absolute difference between two samples, as a share of that between
            two real images of the batch; or a schedule of it. Samples that differ less cost the generator up
            to 1. In a conditional game the two samples have one label and different latents: without a floor
            (0), conditional models of small data make one image for each label. Otherwise they are
            neighbours in the batch. Mao et al. 2019, "Mode seeking generative adversarial networks", reward
            differences without a limit.

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
        diversity: float | Schedule = 0.0,
        parts: Mapping[str, Part] | None = None,
    ):
        super().__init__()
        fraction(diversity=diversity)
        derives(AdversarialLoss, loss=loss)
        derives(Penalty, **{f"penalties.{name}": each for name, each in (penalties or {}).items()})
        derives(Part, **{f"parts.{name}": each for name, each in (parts or {}).items()})
        derives(Augmentation, augment=augment)
        derives(Average, average=average)
        self.generator = generator
        self.discriminator = discriminator
        self.loss = loss
        self.parts: Any = nn.ModuleDict(parts or {})  # a mapping of names to `Part`
        self.penalties: Any = nn.ModuleDict(penalties or {})  # a mapping of names to `Penalty`
        self.augment = augment
        self.average = average
        self.diversity: Any = diversity  # a number, or a tensor that follows a schedule
        self.has_floor = isinstance(diversity, Schedule) or diversity > 0
        if average is not None:
            average.start(generator)
            self.register_state_dict_post_hook(partial(rename, "average.network", AVERAGE))
            self.register_load_state_dict_pre_hook(partial(rename, AVERAGE, "average.network"))
        self.followers: list[tuple[str, Any]] = [
            (suffix_of(name), module) for name, module in self.named_modules() if hasattr(module, "follow")
        ]
        self.images_a_step = 0  # of all processes together; known from the first step on

    def player(self, name: str) -> nn.Module:
        """The "generator", or the "discriminator" with all its parts."""
        return self.generator if name == "generator" else nn.ModuleList([self.discriminator, self.parts])

    def due(self, step: int) -> tuple[str, ...]:
        """What is due at a step: penalties by name, `parts.NAME`, and `parts.NAME.PENALTY`."""
        names = list(penalties_due(self.penalties, step))
        for name, part in self.parts.items():
            if step % part.interval == 0:
                names += [f"parts.{name}", *(f"parts.{name}.{penalty}" for penalty in part.due(step))]
        return tuple(names)

    def playing(self, due: Sequence[str]) -> Iterator[Playing]:
        """The discriminator's networks that play in a step, the first one first."""
        penalties = {name: each for name, each in self.penalties.items() if name in due}
        yield Playing("", self.discriminator, 1.0, penalties)
        for name, part in self.parts.items():
            if f"parts.{name}" in due:
                penalties = {
                    penalty: each
                    for penalty, each in part.penalties.items()
                    if f"parts.{name}.{penalty}" in due
                }
                yield Playing(f"/{name}", part.network, part.weight * part.interval, penalties)

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
            due: what is due at this step, see `due`.
            optimizers: the discriminator's, then the generator's.
            descend: takes one step of an optimizer down a loss.

        Returns:
            Named scalars. Reading one waits for the device.
        """
        self.images_a_step = sum(len(turn.real) for turn in turns) * count_of_ranks()
        for turn in turns:
            with torch.set_grad_enabled(turn is turns[-1]):  # the generator learns from these fakes
                fake = self.generator(turn.latents, turn.fake_labels)
                seen = self.seen(turn, fake, due)
            loss, said = self.discriminator_loss(turn, due, seen)
            descend(loss, optimizers[0])
        with frozen(self.player("discriminator")):
            loss, more = self.generator_loss(turn, fake, due, seen)
            descend(loss, optimizers[1])
        said |= more
        for suffix, follower in self.followers:
            if heard := said_of(suffix, said):
                follower.follow(self, heard)
        return said

    def seen(self, turn: Turn, fake: Tensor, due: Sequence[str]) -> Seeing:
        """What each network that plays sees of a turn's images: the augmented images, or its view of them.

        A view of the fakes has a graph and serves both players, because a frozen network costs more than the
        rest of its part.
        """
        playing = list(self.playing(due))
        has_views = any(each.view for each in playing)
        real = self.shown(turn.real, turn.uniforms(Look.REAL))
        fake = self.shown(fake if has_views else fake.detach(), turn.uniforms(Look.FAKE))
        return {
            each.suffix: (each.view(real), each.view(fake)) if each.view else (real, fake) for each in playing
        }

    def discriminator_loss(
        self, turn: Turn, due: Sequence[str], seen: Seeing
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses of all networks that play, with the penalties that are due, and named scalars."""
        losses, said = list[Tensor](), dict[str, Tensor]()
        for playing in self.playing(due):
            real, fake = seen[playing.suffix]
            loss, heard = self.loss_of_network(playing, real.detach(), fake.detach(), turn)
            losses.append(playing.weight * loss)
            said |= {name + playing.suffix: value for name, value in heard.items()}
        return total(losses), said

    def loss_of_network(
        self, playing: Playing, real: Tensor, fake: Tensor, turn: Turn
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one network of the discriminator with its penalties, and named scalars."""
        # Two passes, so that batch norm sees each kind of image by itself.
        penalized = any(penalty.differentiates for penalty in playing.penalties.values())
        on_real = judge(playing.network, real.requires_grad_(penalized), turn.labels)
        on_fake = judge(playing.network, fake.requires_grad_(penalized), turn.fake_labels)
        loss = penalized_loss = self.loss.discriminator(on_real.logits, on_fake.logits)
        said = {
            "loss/discriminator": loss.detach(),
            "logits/real": on_real.logits.detach().mean(),
            "logits/fake": on_fake.logits.detach().mean(),
            "overfitting/r_t": self.loss.signs(on_real.logits, on_fake.logits).detach().mean(),
            f"{self.loss.reading}/D(x)": self.reading(on_real),
            f"{self.loss.reading}/D(G(z))_before_D_step": self.reading(on_fake),
        }
        for name, penalty in playing.penalties.items():
            value = penalty(partial(judge, playing.network), on_real, on_fake)
            penalized_loss = penalized_loss + penalty.weight * penalty.interval * value
            said[f"penalty/{name}"] = value.detach()
        return penalized_loss, said

    def generator_loss(
        self, turn: Turn, fake: Tensor, due: Sequence[str], seen: Seeing
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The generator's loss on the fakes (with graph) by the current discriminator, and named scalars."""
        shown = self.shown(fake, turn.uniforms(Look.FAKE_AGAIN))
        shown_real = cache(lambda: self.shown(turn.real, turn.uniforms(Look.REAL_AGAIN)))
        losses, said = list[Tensor](), dict[str, Tensor]()
        for playing in self.playing(due):
            suffix, network = playing.suffix, playing.network
            real, view = seen[suffix] if playing.view else (None, shown)
            on_fake = judge(network, view, turn.fake_labels)
            loss = self.loss.generator(
                on_fake.logits, partial(logits_of, network, real, shown_real, turn.labels)
            )
            losses.append(playing.weight * loss)
            said[f"loss/generator{suffix}"] = loss.detach()
            said[f"{self.loss.reading}/D(G(z))_after_D_step{suffix}"] = self.reading(on_fake)
        if self.has_floor:
            sameness = self.sameness(turn, fake)
            losses.append(sameness)
            said["penalty/sameness"] = sameness.detach()
        return total(losses), said

    def sameness(self, turn: Turn, fake: Tensor) -> Tensor:
        """How far the samples' differences fall below `diversity`: 0 not at all, 1 if they are identical."""
        if turn.fake_labels is None:
            other = fake.roll(1, 0)
        else:
            other = self.generator(turn.latents.roll(1, 0), turn.fake_labels)
        apart, real_apart = (
            wide(one - two).abs().mean() for one, two in ((fake, other), (turn.real, turn.real.roll(1, 0)))
        )
        return (1 - apart / (self.diversity * real_apart).clamp(min=1e-6)).relu()

    def shown(self, images: Tensor, uniforms: Tensor | None) -> Tensor:
        """Images (N, C, H, W) as the discriminator is shown them: augmented if uniforms (N, k) are given."""
        # Autocast makes half-precision fakes: reals would be augmented and penalized at higher precision.
        weights = next(self.discriminator.parameters())
        images = images.to(torch.promote_types(images.dtype, weights.dtype))
        return images if self.augment is None or uniforms is None else self.augment(images, uniforms)

    def reading(self, seen: Seen) -> Tensor:
        """The mean of D(x), as the loss reads it."""
        return self.loss.read(seen.logits.detach()).mean()


def logits_of(
    network: nn.Module, view: Tensor | None, images: Callable[[], Tensor], labels: Tensor | None
) -> Tensor:
    """The logits of a network for its view of images, or for the augmented images, which are made here."""
    return judge(network, images() if view is None else view, labels).logits


def total(losses: Sequence[Tensor]) -> Tensor:
    """The sum of at least one scalar."""
    return sum(losses[1:], losses[0])


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


def suffix_of(name: str) -> str:
    """The `Playing.suffix` of the network that a submodule of a game belongs to, by the submodule's name."""
    first, _, rest = name.partition(".")
    return f"/{rest.partition('.')[0]}" if first == "parts" else ""


def said_of(suffix: str, said: dict[str, Tensor]) -> dict[str, Tensor]:
    """The scalars of a part by their names without its suffix, none if it has not played; "": all scalars."""
    if not suffix:
        return said
    return {name.removesuffix(suffix): value for name, value in said.items() if name.endswith(suffix)}


def rename(old: str, new: str, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Rename a submodule's tensors in a state_dict: a hook of `Game`."""
    for name in [name for name in state if name.startswith(f"{prefix}{old}.")]:
        state[name.replace(old, new, 1)] = state.pop(name)
