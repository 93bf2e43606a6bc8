"""Penalties on the discriminator: what its loss has besides the game.

Contract: ``penalty(judge, real, fake)`` returns a scalar from 0 on, unweighted. ``real`` and ``fake`` are
what the discriminator has just `Seen`, with images that require a gradient; ``judge(images, labels)`` lets it
look again. The game adds ``weight * interval`` times the value at every ``interval``-th step, lazily (Karras
et al. 2020, "Analyzing and improving the image quality of StyleGAN", appendix B).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from alzgan.errors import at_least
from alzgan.schedules import Schedule


class Seen(NamedTuple):
    """Images (N, C, H, W) as the discriminator saw them, their labels (N,) or None, its logits (N,)."""

    images: Tensor
    labels: Tensor | None
    logits: Tensor


Judge = Callable[[Tensor, Tensor | None], Seen]


class Penalty(nn.Module):
    """A penalty with its weight.

    Args:
        weight: of the penalty, from 0 on; a schedule lets it change over the run.
        interval: steps from one time that it is due to the next.

    Raises:
        SettingError: a value is out of its range.
    """

    def __init__(self, weight: float | Schedule, interval: int = 1):
        super().__init__()
        at_least(1, interval=interval)
        if not isinstance(weight, Schedule):
            at_least(0, weight=weight)
        self.weight = weight
        self.interval = interval


class R1(Penalty):
    """Half the squared gradient at real images, E[|grad D(x)|^2] / 2; the weight is the papers' gamma.

    Mescheder et al. 2018, "Which training methods for GANs do actually converge?", equation 9.
    """

    def forward(self, judge: Judge, real: Seen, fake: Seen) -> Tensor:
        """The penalty in [0, inf)."""
        return squared_gradient(real).mean() / 2


class R2(Penalty):
    """The same at fake images, E[|grad D(G(z))|^2] / 2; equation 10 of the same paper."""

    def forward(self, judge: Judge, real: Seen, fake: Seen) -> Tensor:
        """The penalty in [0, inf)."""
        return squared_gradient(fake).mean() / 2


def squared_gradient(seen: Seen) -> Tensor:
    """Squared norm (N,) of the gradient of each image's logit with respect to the image."""
    (gradient,) = torch.autograd.grad(seen.logits.sum(), seen.images, create_graph=True)
    return gradient.square().sum((1, 2, 3))
