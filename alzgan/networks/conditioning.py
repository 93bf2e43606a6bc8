"""How labels enter a network: a class, numbers (such as a slice's position or an age), or both.

Labels are class indices (N,), or a table (N, 1 + m): the class index, then m numbers in [-1, 1]. A table
(N, 2 + m) ends with a column that is 1 where the label is known. Where it is 0, the label is a guess: the
generator uses it, but the discriminator judges the image without it.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from alzgan.errors import at_least, fraction
from alzgan.schedules import Schedule

FREQUENCIES = (0.5, 1.0, 2.0)  # of the sines and cosines of a number, in periods over its range


class Conditioned(nn.Module):
    """Embeds labels as vectors: one vector for each class, plus a linear map of waves of the numbers.

    Args:
        features: length of the vectors.
        classes: number of classes; 0: labels have no class.
        numbers: count m of numbers in a label, besides its class.
        strength: factor of the vectors, from 0 (an unconditional network) to 1. A schedule introduces the
            labels gradually. With labels from the start, small data sets collapse onto a few images of each
            class (Shahbazi et al. 2022, "Collapse by conditioning").

    Raises:
        SettingError: a value is out of its range.
    """

    kept_schedules = ("strength",)  # in checkpoints, so that a loaded generator makes the same images

    def __init__(
        self, features: int, /, classes: int = 0, numbers: int = 0, strength: float | Schedule = 1.0
    ):
        super().__init__()
        at_least(0, classes=classes, numbers=numbers)
        fraction(strength=strength)
        self.embedding = nn.Embedding(classes, features) if classes else None
        self.waves = nn.Linear(numbers * (1 + 2 * len(FREQUENCIES)), features) if numbers else None
        self.strength = strength
        self.columns = 1 + numbers

    @property
    def conditional(self) -> bool:
        """Whether labels change anything."""
        return self.embedding is not None or self.waves is not None

    def condition(self, labels: Tensor) -> Tensor:
        """Embed labels as vectors (N, features)."""
        table = labels if labels.dim() == 2 else labels[:, None]
        parts = []
        if self.embedding is not None:
            parts.append(self.embedding(table[:, 0].long()))
        if self.waves is not None:
            parts.append(self.waves(waves_of(table[:, 1 : self.columns].to(self.waves.bias.dtype))))
        return self.strength * sum(parts)


def waves_of(numbers: Tensor) -> Tensor:
    """Append the sines and cosines of numbers (N, m) in [-1, 1]: (N, 7 m)."""
    phases = [math.pi * frequency * numbers for frequency in FREQUENCIES]
    return torch.cat([numbers, *(wave(phase) for phase in phases for wave in (torch.sin, torch.cos))], 1)


class LabelledLatents(Conditioned):
    """Appends the labels' vectors to the latents.

    Mirza & Osindero 2014, "Conditional generative adversarial nets".

    Args:
        latent_dim: length of a latent vector, and of a label's.
        **conditions: see `Conditioned`.
    """

    def __init__(self, latent_dim: int, /, **conditions: Any):
        super().__init__(latent_dim, **conditions)
        self.width = latent_dim * (2 if self.conditional else 1)

    def forward(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Latents (N, latent_dim) and labels to (N, width)."""
        if not self.conditional:
            return latents
        assert labels is not None, "a conditional network needs labels"
        return torch.cat([latents, self.condition(labels)], 1)


class Projection(Conditioned):
    """The logit of an image with its label: psi(h) + <vector(y), sum of h over the map>.

    Miyato & Koyama 2018, "cGANs with projection discriminator", equation 3.

    Args:
        features: channels of the last map h.
        unlabelled: in training, the share of a batch's images that are judged by psi(h) alone. This keeps an
            unconditional game beside the conditional one, which notices identical samples of a label
            (Shahbazi et al. 2022 add both losses). These images have the same places in every batch, and
            batches are in random order.
        **conditions: see `Conditioned`.

    Raises:
        SettingError: `unlabelled` is no fraction.
    """

    def __init__(self, features: int, /, unlabelled: float = 0.0, **conditions: Any):
        super().__init__(features, **conditions)
        fraction(unlabelled=unlabelled)
        self.unlabelled = unlabelled
        for module in (self.embedding, self.waves):
            if module is not None:
                nn.init.normal_(module.weight, 0.0, 0.02)  # labels have little effect at first

    def forward(self, score: Tensor, maps: Tensor, labels: Tensor | None) -> Tensor:
        """Logits (N,) of scores psi (N, ...), last maps (N, features, H, W) and labels."""
        logits = score.flatten()
        if self.conditional:
            assert labels is not None, "a conditional network needs labels"
            with_label = (self.condition(labels) * maps.sum((2, 3))).sum(1)
            if labels.dim() == 2 and labels.shape[1] > self.columns:
                with_label = with_label * labels[:, -1].to(with_label.dtype)
            if self.training and self.unlabelled:
                numbers = torch.arange(len(logits) + 1, device=logits.device)
                steps = (numbers * (1 - self.unlabelled)).floor()
                with_label = with_label * (steps[1:] - steps[:-1])
            logits = logits + with_label
        return logits
