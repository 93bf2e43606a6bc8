"""Penalties on the discriminator, which the game adds to its loss.

Every ``interval`` steps, ``weight * interval`` times the penalty is added to the loss of that step. The lazy
regularisation of Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", appendix B,
takes a separate step instead, and adjusts Adam for it. Logits become float32 or more after the network, and
gradients before they are squared. Under autocast the convolutions and their derivatives are not.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from alzgan.device.precision import wide
from alzgan.device.ranks import mean_of_ranks
from alzgan.errors import at_least, fraction
from alzgan.schedules import Schedule


class Seen(NamedTuple):
    """What a network of the discriminator saw and answered, see `alzgan.parts`.

    Attributes:
        images: (N, C, H, W) in [-1, 1], or the network's view of them (N, ...).
        labels: of the images, see `alzgan.networks.conditioning`, or None.
        logits: (N,) or (N, k).
    """

    images: Tensor
    labels: Tensor | None
    logits: Tensor


Judge = Callable[[Tensor, Tensor | None], Seen]


class Penalty(nn.Module, ABC):
    """A penalty with its weight.

    Args:
        weight: of the penalty, at least 0; or a schedule of it.
        interval: steps between two penalties.

    Raises:
        SettingError: a value is out of its range.
    """

    differentiates = True  # whether it differentiates the given logits with respect to the images

    def __init__(self, weight: float | Schedule, interval: int = 1):
        super().__init__()
        at_least(1, interval=interval)
        at_least(0, weight=weight)
        self.weight = weight
        self.interval = interval

    @abstractmethod
    def forward(self, judge: Judge, real: Seen, fake: Seen) -> Tensor:
        """The penalty in [0, inf), unweighted.

        Args:
            judge: lets the same network judge other tensors of the shape of `real.images`, with labels.
            real: of the real images; `real.images` requires a gradient if the penalty `differentiates`.
            fake: of the fake images; likewise.
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
    """Half the squared gradient at fake images, E[|grad D(G(z))|^2] / 2; equation 10 of R1's paper."""

    def forward(self, judge: Judge, real: Seen, fake: Seen) -> Tensor:
        """The penalty in [0, inf)."""
        return squared_gradient(fake).mean() / 2


class GradientPenalty(Penalty):
    """The squared distance of the gradient's norm from 1 between real and fake, E[(|grad D(x)| - 1)^2].

    Gulrajani et al. 2017, "Improved training of Wasserstein GANs": weight 10 at every step, at images
    x = e real + (1 - e) fake. The paper draws e uniformly for each pair. Here the N pairs of a batch, which
    are in random order, have e = (1/2, 3/2, ..., N - 1/2) / N.
    """

    differentiates = False  # it differentiates the logits of mixed images

    def forward(self, judge: Judge, real: Seen, fake: Seen) -> Tensor:
        """The penalty in [0, inf)."""
        count = len(real.images)
        share = (torch.arange(count, device=real.images.device) + 0.5) / count
        share = share.view(-1, *[1] * (real.images.dim() - 1))
        mixed = fake.images + share * (real.images - fake.images)
        seen = judge(mixed.detach().requires_grad_(), real.labels)
        # The norm has no derivative where the gradient is 0.
        return (squared_gradient(seen).clamp(min=1e-12).sqrt() - 1).square().mean()


class LeCam(Penalty):
    """Limits how far real and fake logits move apart, against overfitting of small data.

    E[relu(D(x) - a_fake)^2] + E[relu(a_real - D(G(z)))^2], where the anchors a are moving averages of the
    mean logits of real and fake images. Tseng et al. 2021, "Regularizing generative adversarial networks
    under limited data", equations 3 and 5 as in their code, with weight 0.3 and momentum 0.99.

    Args:
        momentum: of the anchors, in [0, 1]. For the others see `Penalty`.
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
    """Squared norm (N,) of the gradient of D(x), each image's mean logit, with respect to what was seen."""
    share = len(seen.logits) / seen.logits.numel()
    (gradient,) = torch.autograd.grad(share * seen.logits.sum(), seen.images, create_graph=True)
    return wide(gradient).flatten(1).square().sum(1)
