"""Adversarial losses: how the discriminator's logits become the two players' scalars.

Contract: ``discriminator(real_logits, fake_logits)`` and ``generator(fake_logits, real_logits)``, logits of
shape (N,), each returns a scalar to be minimised. The generator's loss receives the real logits too, so
that relativistic losses are no special case.
"""

import torch.nn.functional as F
from torch import Tensor


class NonSaturatingLoss:
    """Binary cross-entropy on logits with the non-saturating generator loss.

    L_D = E[softplus(-D(x))] + E[softplus(D(G(z)))] and L_G = E[softplus(-D(G(z)))], the cross-entropies
    of Goodfellow et al. 2014, "Generative Adversarial Nets", section 3; both lie in [0, inf).
    """

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The discriminator's loss, 2 log 2 where it cannot tell real from fake."""
        return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor) -> Tensor:
        """The generator's loss, log 2 where the discriminator cannot tell real from fake."""
        return F.softplus(-fake_logits).mean()
