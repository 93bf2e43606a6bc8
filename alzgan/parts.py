"""The parts of a discriminator beside its first network: each judges its own view of an image.

A discriminator is one network, as in the papers, or several whose losses add up. This is their contract.

A network is `network(seen, labels) -> logits`. What it sees is the augmented image (N, C, H, W) in [-1, 1],
or, if it has a submodule or method `view`, the tensor (N, ...) that `view(images)` returns. A view learns
nothing, treats each image by itself, and is differentiable once with respect to the images: the generator
learns through it. It is computed once a turn, for both players.

Logits have one number an image, (N,), or several, (N, k): one for each patch or head. Higher is more real. A
loss (`alzgan.losses`) averages over all numbers, and compares a real and a fake number at the same place. So
D(x) of an image is the mean of its numbers.

A penalty on gradients (`alzgan.penalties`) differentiates D(x) with respect to what the network saw, and
never through a view: on frozen features it does not pass through the frozen network. The other penalties
average over all numbers, as a loss does.

In a step in which a part is due, the discriminator minimises, and the generator with its own loss,

    weight * interval * (loss + sum of penalty.weight * penalty.interval * penalty)

over the part's own logits. Penalties count their intervals in the part's turns. The first network always
plays, with weight 1.
"""

from typing import Any

from torch import Tensor, nn

from alzgan.device.precision import wide
from alzgan.errors import at_least, derives
from alzgan.penalties import Penalty, Seen
from alzgan.schedules import Schedule


class Part(nn.Module):
    """A further network of the discriminator, with its weight and its penalties.

    Args:
        network: judges images or its `view` of them, see above.
        weight: of its loss, at least 0, where the first network has 1; or a schedule of it.
        interval: steps between two turns of this part, for both players.
        penalties: on this network alone, by name.

    Raises:
        SettingError: a value is out of its range, or a penalty does not derive from `Penalty`.
    """

    def __init__(
        self,
        network: nn.Module,
        weight: float | Schedule,
        interval: int = 1,
        penalties: dict[str, Penalty] | None = None,
    ):
        super().__init__()
        at_least(1, interval=interval)
        at_least(0, weight=weight)
        derives(Penalty, **{f"penalties.{name}": each for name, each in (penalties or {}).items()})
        self.network = network
        self.weight = weight
        self.interval = interval
        self.penalties = nn.ModuleDict(penalties or {})

    def due(self, step: int) -> tuple[str, ...]:
        """The names of the penalties that are due at a step at which the part is."""
        return penalties_due(self.penalties, step // self.interval)


def penalties_due(penalties: Any, turn: int) -> tuple[str, ...]:
    """The names of the penalties, a mapping, that are due at a turn of their network."""
    return tuple(name for name, each in penalties.items() if turn % each.interval == 0)


def judge(network: nn.Module, seen: Tensor, labels: Tensor | None) -> Seen:
    """Let a network judge what it sees. The logits are float32 or more."""
    return Seen(seen, labels, wide(network(seen, labels)))
