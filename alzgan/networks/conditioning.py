"""How a class label enters a network; without classes, nothing does."""

import torch
from torch import Tensor, nn


class LabelledLatents(nn.Module):
    """Latents (N, latent_dim), joined with an embedding of the label, as a 1 x 1 map (N, width, 1, 1).

    Mirza & Osindero 2014, "Conditional generative adversarial nets".

    Args:
        latent_dim: length of a latent vector.
        classes: 0 for an unconditional network.
    """

    def __init__(self, latent_dim: int, classes: int = 0):
        super().__init__()
        self.embedding = nn.Embedding(classes, latent_dim) if classes else None
        self.width = latent_dim * (2 if classes else 1)

    def forward(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Join latents and labels (N,), class indices."""
        if self.embedding is not None:
            latents = torch.cat([latents, self.embedding(labels)], 1)
        return latents[:, :, None, None]


class Projection(nn.Module):
    """The logit of an image with its label: psi(h) + <embedding(y), sum of h over the map>.

    Miyato & Koyama 2018, "cGANs with projection discriminator", equation 3.

    Args:
        features: channels of the last map h.
        classes: 0 for an unconditional network, whose logit is psi(h) alone.
    """

    def __init__(self, features: int, classes: int = 0):
        super().__init__()
        self.embedding = nn.Embedding(classes, features) if classes else None
        if classes:
            nn.init.normal_(self.embedding.weight, 0.0, 0.02)  # a game that begins without its labels

    def forward(self, score: Tensor, maps: Tensor, labels: Tensor | None) -> Tensor:
        """Logits (N,) of scores psi (N, 1, 1, 1), last maps (N, features, H, W) and labels (N,)."""
        logits = score.flatten()
        if self.embedding is not None:
            logits = logits + (self.embedding(labels) * maps.sum((2, 3))).sum(1)
        return logits
