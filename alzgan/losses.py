"""Adversarial losses: how the discriminator's logits become the two players' scalars."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


class AdversarialLoss(ABC):
    """Turns logits, (N,) or (N, k), into a scalar for each player.

    Attributes:
        reading: the meaning of D(x): a "probability" in [0, 1] or a "score" without a unit.
    """

    reading = "score"

    @abstractmethod
    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The scalar that the discriminator minimises."""

    @abstractmethod
    def generator(self, fake_logits: Tensor, real: Callable[[], Tensor]) -> Tensor:
        """The scalar that the generator minimises.

        Args:
            fake_logits: with the graph of the generator.
            real: computes the logits of the real images after the discriminator's step; only relativistic
                losses call it.
        """

    def read(self, logits: Tensor) -> Tensor:
        """The logits as the loss reads them, of the same shape."""
        return logits

    def signs(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """1 for each logit of a real image that says real, -1 for fake; of the same shape.

        Their mean is r_t of Karras et al. 2020, "Training generative adversarial networks with limited data":
        at 1 the discriminator has memorised its training images.
        """
        return real_logits.sign()


class NonSaturatingLoss(AdversarialLoss):
    """Binary cross-entropy on logits with the non-saturating generator loss.

    L_D = E[softplus(-D(x))] + E[softplus(D(G(z)))] and L_G = E[softplus(-D(G(z)))], the cross-entropies
    of Goodfellow et al. 2014, "Generative Adversarial Nets", section 3; both lie in [0, inf).
    """

    reading = "probability"

    def read(self, logits: Tensor) -> Tensor:
        """The discriminator's probability that an image is real."""
        return logits.sigmoid()

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The discriminator's loss, 2 log 2 if it cannot tell real from fake."""
        return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()

    def generator(self, fake_logits: Tensor, real: Callable[[], Tensor]) -> Tensor:
        """The generator's loss, log 2 if the discriminator cannot tell real from fake."""
        return F.softplus(-fake_logits).mean()


class HingeLoss(AdversarialLoss):
    """The hinge loss of Lim & Ye 2017, "Geometric GAN", as Miyato et al. 2018 use it with spectral norm.

    L_D = E[relu(1 - D(x))] + E[relu(1 + D(G(z)))] in [0, inf) and L_G = -E[D(G(z))].
    """

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The discriminator's loss: 2 if all logits are 0, 0 if all are beyond their margin."""
        return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()

    def generator(self, fake_logits: Tensor, real: Callable[[], Tensor]) -> Tensor:
        """The generator's loss, unbounded."""
        return -fake_logits.mean()


class LeastSquaresLoss(AdversarialLoss):
    """The least squares loss of Mao et al. 2017, "Least squares GANs", equation 9: targets 1 and 0.

    L_D = E[(D(x) - 1)^2] / 2 + E[D(G(z))^2] / 2 and L_G = E[(D(G(z)) - 1)^2] / 2, both in [0, inf).
    """

    def signs(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """1 for each real image whose logit is above 1/2, halfway between the targets; -1 below."""
        return (real_logits - 0.5).sign()

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The discriminator's loss, at least 1/4 if it cannot tell real from fake."""
        return ((real_logits - 1).square().mean() + fake_logits.square().mean()) / 2

    def generator(self, fake_logits: Tensor, real: Callable[[], Tensor]) -> Tensor:
        """The generator's loss, 0 if all fake logits are 1, the target of real ones."""
        return (fake_logits - 1).square().mean() / 2


class WassersteinLoss(AdversarialLoss):
    """The critic's difference of Arjovsky et al. 2017, "Wasserstein GAN": L_D = E[D(G(z))] - E[D(x)].

    L_G = -E[D(G(z))]. A gradient penalty must keep the critic smooth. The critic's negated loss then
    estimates a distance, which falls as the samples improve. Both losses are unbounded.
    """

    def signs(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """1 for each real image whose logit is above the mean fake logit; -1 below."""
        return (real_logits - fake_logits.mean()).sign()

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The critic's loss, 0 if it cannot tell real from fake."""
        return fake_logits.mean() - real_logits.mean()

    def generator(self, fake_logits: Tensor, real: Callable[[], Tensor]) -> Tensor:
        """The generator's loss."""
        return -fake_logits.mean()


class RelativisticLoss(AdversarialLoss):
    """The relativistic pairing loss: is this real image more real than that fake one?

    L_D = E[softplus(-(D(x) - D(G(z))))] and L_G = E[softplus(-(D(G(z)) - D(x)))] in [0, inf), where each real
    image of a batch is paired with a fake one. Only differences of logits have a meaning. Jolicoeur-Martineau
    2018, "The relativistic discriminator"; Huang et al. 2024, "The GAN is dead; long live the GAN! A modern
    GAN baseline", with R1 and R2.
    """

    def signs(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """1 for each real image whose logit is above that of its fake partner; -1 below."""
        return (real_logits - fake_logits).sign()

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The discriminator's loss, log 2 if it cannot tell real from fake."""
        return F.softplus(fake_logits - real_logits).mean()

    def generator(self, fake_logits: Tensor, real: Callable[[], Tensor]) -> Tensor:
        """The generator's loss, log 2 if the discriminator cannot tell real from fake."""
        return F.softplus(real() - fake_logits).mean()
