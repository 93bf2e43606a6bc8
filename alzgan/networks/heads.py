"""Small networks that judge frozen features: the trained half of a vision-aided discriminator."""

from typing import Any

import torch
from torch import Tensor, nn

from alzgan.errors import at_least
from alzgan.networks.conditioning import Projection
from alzgan.networks.frozen import FrozenFeatures
from alzgan.networks.layers import LEAKY_SLOPE


class Heads(nn.Module):
    """Features (N, F) of a frozen network to logits (N, k): one head for each of its k stages.

    Args:
        view: of the images; it defines the features and their stages.
        width: channels of each head.
        **conditions: how labels enter, see `alzgan.networks.conditioning.Projection`.

    Raises:
        SettingError: a value is out of its range.
    """

    shared_out_to = (Projection,)

    def __init__(self, view: FrozenFeatures, width: int = 32, **conditions: Any):
        super().__init__()
        at_least(1, width=width)
        self.view = view
        self.heads = nn.ModuleList()
        for channels, side, _ in view.shapes:
            self.heads.append(Head(channels, side, width, Projection(width, **conditions)))

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Judge features with their labels, or None if the network is unconditional."""
        pairs = zip(self.heads, self.view.split(features), strict=True)
        return torch.stack([head(maps, labels) for head, maps in pairs], 1)


class Head(nn.Module):
    """Maps (N, channels, side, side) to logits (N,): one or two strided convolutions and a linear layer."""

    def __init__(self, channels: int, side: int, width: int, labelled: Projection):
        super().__init__()
        layers = [nn.Conv2d(channels, width, 1), nn.LeakyReLU(LEAKY_SLOPE)]
        for _ in range(2 if side > 6 else 1):
            layers += [nn.Conv2d(width, width, 3, 2, 1), nn.LeakyReLU(LEAKY_SLOPE)]
            side = (side + 1) // 2
        self.layers = nn.Sequential(*layers)
        self.score = nn.Linear(width * side**2, 1)
        self.labelled = labelled

    def forward(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        """Judge maps with their labels, or None if the network is unconditional."""
        maps = self.layers(maps)
        return self.labelled(self.score(maps.flatten(1)), maps, labels)
