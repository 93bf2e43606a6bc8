"""Penalties on the discriminator, which the game adds to its loss.

At every ``interval``-th step ``weight * interval`` times the value joins the loss of that step. The lazy
regularisation of Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", appendix B,
takes a step of its own instead, and slows Adam down for it. Logits, squares and sums are float32 or more in
every precision; under autocast the convolutions and their derivatives are not.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from alzgan.device.ranks import mean_of_ranks
from alzgan.errors import at_least, fraction
from alzgan.schedules import Schedule


class Seen(NamedTuple):
    """Images (N, C, H, W) as the discriminator saw them, their labels (N,) or None, its logits (N,)."""

    images: Tensor
    labels: Tensor | None
    logits: Tensor


Judge = Callable[[Tensor, Tensor | None], Seen]


class Penalty(nn.Module, ABC):
    """A penalty with its weight.

    Args:
        weight: of the penalty, from 0 on; a schedule lets it change over the run.
        interval: steps from one time that it is due to the next.

    Raises:
        SettingError: a value is out of its range.
    """

    differentiates = True  # the logits that it is given, with respect to the images

    def __init__(self, weight: float | Schedule, interval: int = 1):
        super().__init__()
        at_least(1, interval=interval)
        if not isinstance(weight, Schedule):
            at_least(0, weight=weight)
        self.weight = weight
        self.interval = interval

    @abstractmethod
    def forward(self, judge: Judge, real: Seen, fake: Seen) -> Tensor:
        """The penalty in [0, inf), unweighted.

        Args:
            judge: lets the discriminator look at images (N, C, H, W) and labels again.
            real: what it has just seen; the images require a gradient if the penalty `differentiates`.
            fake: likewise.
        """


class R1(Penalty):
    """Half the squared gradient at real images, E[|grad D(x)|^2] / 2; the weight is the papers' gamma.

    Mescheder et al. 2018, "Which training methods for GANs do actually converge?", equation 9.
    """

    def __init__(self, weight: float | Schedule, interval: int = 4):
        super().__init__(weight, interval)

    def forward(self, judge: Judge, real: Seen, fake: Seen) -> Tensor:
        """The penalty in [0, inf)."""
        return squared_gradient(real).mean() / 2


class R2(R1):
    """The same at fake images, E[|grad D(G(z))|^2] / 2; equation 10 of the same paper."""

    def forward(self, judge: Judge, real: Seen, fake: Seen) -> Tensor:
        """The penalty in [0, inf)."""
        return squared_gradient(fake).mean() / 2


class GradientPenalty(Penalty):
    """How far the gradient's norm is from 1 between real and fake, E[(|grad D(x)| - 1)^2].

    Gulrajani et al. 2017, "Improved training of Wasserstein GANs": weight 10 at every step, between pairs of
    images x = e real + (1 - e) fake. The paper draws e uniformly for each pair; here a batch of N has
    e = (1/2, 3/2, ..., N - 1/2) / N: its images come in random order, so nothing more need be drawn.
    """

    differentiates = False  # it looks anew

    def forward(self, judge: Judge, real: Seen, fake: Seen) -> Tensor:
        """The penalty in [0, inf)."""
        count = len(real.images)
        share = (torch.arange(count, device=real.images.device)[:, None, None, None] + 0.5) / count
        mixed = fake.images + share * (real.images - fake.images)
        seen = judge(mixed.detach().requires_grad_(), real.labels)
        # Where the gradient is 0, that of its norm is not defined.
        return (squared_gradient(seen).clamp(min=1e-12).sqrt() - 1).square().mean()


class LeCam(Penalty):
    """Logits held at the running means of the other kind's, so that little data is not learned by heart.

    E[relu(D(x) - a_fake)^2] + E[relu(a_real - D(G(z)))^2], the anchors a being moving averages of both kinds'
    mean logits. Tseng et al. 2021, "Regularizing generative adversarial networks under limited data",
    equations 3 and 5, as their code has it: weight 0.3, momentum 0.99.

    Args:
        weight: of the penalty.
        interval: steps from one time that it is due to the next.
        momentum: of the anchors, in [0, 1].
    """

    differentiates = False
    anchors: Tensor

    def __init__(self, weight: float | Schedule, interval: int = 1, momentum: float = 0.99):
        super().__init__(weight, interval)
        fraction(momentum=momentum)
        self.momentum = momentum
        self.register_buffer("anchors", torch.zeros(2))  # of real and fake

    def forward(self, judge: Judge, real: Seen, fake: Seen) -> Tensor:
        """The penalty in [0, inf)."""
        on_real, on_fake = self.anchors
        return (real.logits - on_fake).relu().square().mean() + (on_real - fake.logits).relu().square().mean()

    @torch.no_grad()
    def follow(self, game: nn.Module, said: dict[str, Tensor]) -> None:
        """Move the anchors towards this step's mean logits, of all processes."""
        means = mean_of_ranks(torch.stack([said["logits/real"], said["logits/fake"]]))
        self.anchors.lerp_(means.to(self.anchors.dtype), 1 - self.momentum)


def squared_gradient(seen: Seen) -> Tensor:
    """Squared norm (N,) of the gradient of each image's logit with respect to the image."""
    (gradient,) = torch.autograd.grad(seen.logits.sum(), seen.images, create_graph=True)
    return gradient.square().sum((1, 2, 3))
