"""How labels enter a network: a class, numbers (the place of a slice, an age), or both; else nothing does.

Labels are class indices (N,), or a table (N, 1 + m): the class index, then m numbers in [-1, 1]. In a table
(N, 2 + m) the last column is 1 where the label is known. Where it is 0 the label stands in for an unknown
one: the generator takes it, and the discriminator judges the image without it.
"""

import math

import torch
from torch import Tensor, nn

from alzgan.errors import fraction
from alzgan.schedules import Schedule

FREQUENCIES = (0.5, 1.0, 2.0)  # half waves over a number's range, as many sines and cosines as numbers


class Conditioned(nn.Module):
    """What takes labels in: a vector for each class, and one that is linear in waves of each number.

    Args:
        features: length of the vector.
        classes: 0: there are none.
        numbers: m; 0: there are none.
        strength: how much of the vector is taken, from 0, the unconditional network, to 1. A schedule brings
            the labels in gradually: small data sets collapse onto a few images of each class where they come
            at once (Shahbazi et al. 2022, "Collapse by conditioning").

    Raises:
        SettingError: `strength` is no fraction.
    """

    kept_schedules = ("strength",)  # a generator that is loaded again makes the same images

    def __init__(self, features: int, classes: int = 0, numbers: int = 0, strength: float | Schedule = 1.0):
        super().__init__()
        if not isinstance(strength, Schedule):
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
        """The vectors (N, features) of labels."""
        table = labels if labels.dim() == 2 else labels[:, None]
        parts = []
        if self.embedding is not None:
            parts.append(self.embedding(table[:, 0].long()))
        if self.waves is not None:
            parts.append(self.waves(waves_of(table[:, 1 : self.columns].to(self.waves.bias.dtype))))
        return self.strength * sum(parts)


def waves_of(numbers: Tensor) -> Tensor:
    """Numbers (N, m) in [-1, 1] with sines and cosines of them (N, 7 m)."""
    phases = [math.pi * frequency * numbers for frequency in FREQUENCIES]
    return torch.cat([numbers, *(wave(phase) for phase in phases for wave in (torch.sin, torch.cos))], 1)


class LabelledLatents(Conditioned):
    """Latents (N, latent_dim), joined with the labels' vectors of the same length, as (N, width).

    Mirza & Osindero 2014, "Conditional generative adversarial nets".

    Args:
        latent_dim: length of a latent vector.
        **conditions: as of `Conditioned`.
    """

    def __init__(self, latent_dim: int, **conditions):
        super().__init__(latent_dim, **conditions)
        self.width = latent_dim * (2 if self.conditional else 1)

    def forward(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Join latents and labels."""
        return torch.cat([latents, self.condition(labels)], 1) if self.conditional else latents


class Projection(Conditioned):
    """The logit of an image with its label: psi(h) + <vector(y), sum of h over the map>.

    Miyato & Koyama 2018, "cGANs with projection discriminator", equation 3.

    Args:
        features: channels of the last map h.
        unlabelled: in training, the share of a batch's images that are judged by psi(h) alone. So the
            unconditional game goes on beside the conditional one, and sees where all samples of a label are
            one (Shahbazi et al. 2022 add both losses). They are spread evenly over the batch, whose order is
            random: real and fake pairs are judged alike.

        **conditions: as of `Conditioned`.

    Raises:
        SettingError: `unlabelled` is no fraction.
    """

    def __init__(self, features: int, unlabelled: float = 0.0, **conditions):
        super().__init__(features, **conditions)
        fraction(unlabelled=unlabelled)
        self.unlabelled = unlabelled
        for module in self.children():
            nn.init.normal_(module.weight, 0.0, 0.02)  # a game that begins without its labels

    def forward(self, score: Tensor, maps: Tensor, labels: Tensor | None) -> Tensor:
        """Logits (N,) of scores psi (N, ...), last maps (N, features, H, W) and labels."""
        logits = score.flatten()
        if self.conditional:
            with_label = (self.condition(labels) * maps.sum((2, 3))).sum(1)
            if labels.dim() == 2 and labels.shape[1] > self.columns:
                with_label = with_label * labels[:, -1].to(with_label.dtype)
            if self.training and self.unlabelled:
                numbers = torch.arange(len(logits) + 1, device=logits.device)
                steps = (numbers * (1 - self.unlabelled)).floor()
                with_label = with_label * (steps[1:] - steps[:-1])
            logits = logits + with_label
        return logits
