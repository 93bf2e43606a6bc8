"""Residual networks without normalization, as in R3GAN.

Huang et al. 2024, "The GAN is dead; long live the GAN! A modern GAN baseline": the latents modulate a learned
4 x 4 map, which grows by interpolation and residual blocks. The discriminator mirrors the generator. Each
block begins as the identity: its last convolution is 0, the others are drawn from N(0, gain^2 / fan-in) with
gain = sqrt(2 / 1.04) L^(-1/(2m - 2)), L blocks of m convolutions (Zhang et al. 2019, "Fixup initialization").
"""

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alzgan.errors import SettingError, at_least, one_of
from alzgan.networks.conditioning import LabelledLatents, Projection
from alzgan.networks.layers import LEAKY_SLOPE, stage_widths, with_spectral_norm

WIDEST = 8  # channels of the widest stages, in widths


def stage_channels(image_size: int, width: int) -> list[int]:
    """Channels of the maps from 4 x 4 to the image's size: 64 -> [8w, 8w, 4w, 2w, w]."""
    widths = stage_widths(image_size, width)
    return [min(each, WIDEST * width) for each in (2 * widths[0], *widths)]


def convolution(inputs: int, outputs: int, size: int, gain: float = 1.0, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the map's size, with weights from N(0, gain^2 / fan-in)."""
    made = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
    nn.init.normal_(made.weight, 0.0, gain / math.sqrt(inputs // groups * size**2))
    return made


class BiasedActivation(nn.Module):
    """A bias for each channel, then a leaky ReLU."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same shape (N, channels, H, W)."""
        return F.leaky_relu(maps + self.bias[:, None, None], LEAKY_SLOPE)


class Block(nn.Module):
    """A residual block: the maps plus convolutions of them.

    Args:
        channels: of the maps.
        blocks: number of blocks in the whole network, L.
        group: 0: two dense 3 x 3 convolutions, which are fast on CPUs. Otherwise R3GAN's block for GPUs:
            1 x 1 to twice the channels, 3 x 3 in groups of this many channels, 1 x 1 back.
    """

    def __init__(self, channels: int, blocks: int, group: int = 0):
        super().__init__()
        convolutions = 3 if group else 2
        gain = math.sqrt(2 / (1 + LEAKY_SLOPE**2)) * blocks ** (-1 / (2 * convolutions - 2))
        if group:
            wide = 2 * channels
            layers = [
                convolution(channels, wide, 1, gain),
                BiasedActivation(wide),
                convolution(wide, wide, 3, gain, wide // group),
                BiasedActivation(wide),
                convolution(wide, channels, 1, 0.0),
            ]
        else:
            layers = [
                BiasedActivation(channels),
                convolution(channels, channels, 3, gain),
                BiasedActivation(channels),
                convolution(channels, channels, 3, 0.0),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same shape (N, channels, H, W)."""
        return maps + self.layers(maps)


def check_group(group: int, width: int) -> None:
    """Check that twice the channels of every stage can be divided into groups of `group` channels.

    Raises:
        SettingError: they do not.
    """
    at_least(0, group=group)
    if group and 2 * width % group:
        raise SettingError(f"group={group} must divide twice the width, {2 * width}")


class Generator(nn.Module):
    """Latents (N, latent_dim) to images (N, channels, image_size, image_size) in [-1, 1].

    Args:
        latent_dim: length of a latent vector.
        image_size: 32, 64, 128 or 256.
        channels: of the images.
        width: channels of the last stage; each stage before it has twice as many as the next, at most 8
            widths.
        group: see `Block`.
        blocks: number of blocks in each stage.
        **conditions: how labels enter, see `alzgan.networks.conditioning.Conditioned`.

    Raises:
        SettingError: a value is out of its range.
    """

    shared_out_to = (LabelledLatents,)

    def __init__(
        self,
        latent_dim: int = 100,
        image_size: int = 64,
        channels: int = 3,
        width: int = 16,
        group: int = 0,
        blocks: int = 1,
        **conditions: Any,
    ):
        super().__init__()
        at_least(1, latent_dim=latent_dim, channels=channels, blocks=blocks)
        check_group(group, width)
        widths = stage_channels(image_size, width)
        count = blocks * len(widths)
        self.labelled = LabelledLatents(latent_dim, **conditions)
        self.basis = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.modulation = nn.Linear(self.labelled.width, widths[0], bias=False)
        nn.init.normal_(self.modulation.weight, 0.0, 1 / math.sqrt(self.labelled.width))
        stages: list[list[nn.Module]] = [[Block(widths[0], count, group) for _ in range(blocks)]]
        for wide, narrow in pairwise(widths):
            # Convolution and interpolation commute; the convolution comes first, on a quarter of the pixels.
            grow = [convolution(wide, narrow, 1), nn.Upsample(scale_factor=2, mode="bilinear")]
            stages.append([*grow, *(Block(narrow, count, group) for _ in range(blocks))])
        self.stages = nn.Sequential(*(nn.Sequential(*stage) for stage in stages))
        image = convolution(widths[-1], channels, 3)
        self.image = nn.Sequential(BiasedActivation(widths[-1]), image, nn.Tanh())

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate images of labels, or of None if the network is unconditional."""
        modulation = self.modulation(self.labelled(latents, labels))
        return self.image(self.stages(self.basis * modulation[:, :, None, None]))


class Discriminator(nn.Module):
    """Images (N, channels, image_size, image_size) in [-1, 1] to logits (N,), higher for more real images.

    Args:
        image_size: 32, 64, 128 or 256.
        channels: of the images.
        width: channels of the first stage; each later stage has twice as many as the one before, at most 8
            widths.
        group: see `Block`.
        blocks: number of blocks in each stage.
        normalization: "none", or "spectral" (Miyato et al. 2018, "Spectral normalization for GANs").
        **conditions: how labels enter, see `alzgan.networks.conditioning.Projection`.

    Raises:
        SettingError: a value is out of its range.
    """

    shared_out_to = (Projection,)

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        width: int = 16,
        group: int = 0,
        blocks: int = 1,
        normalization: str = "none",
        **conditions: Any,
    ):
        super().__init__()
        at_least(1, channels=channels, blocks=blocks)
        one_of(("none", "spectral"), normalization=normalization)
        check_group(group, width)
        widths = stage_channels(image_size, width)[::-1]
        count = blocks * len(widths)
        self.image = convolution(channels, widths[0], 3)
        stages: list[list[nn.Module]] = [[Block(widths[0], count, group) for _ in range(blocks)]]
        for narrow, wide in pairwise(widths):
            shrink = [nn.AvgPool2d(2), convolution(narrow, wide, 1)]
            stages.append([*shrink, *(Block(wide, count, group) for _ in range(blocks))])
        self.stages = nn.Sequential(*(nn.Sequential(*stage) for stage in stages))
        self.basis = nn.Conv2d(widths[-1], widths[-1], 4, groups=widths[-1], bias=False)
        nn.init.normal_(self.basis.weight, 0.0, 1 / 4)
        self.score = nn.Linear(widths[-1], 1, bias=False)
        nn.init.normal_(self.score.weight, 0.0, 1 / math.sqrt(widths[-1]))
        self.projection = Projection(widths[-1], **conditions)
        if normalization == "spectral":
            with_spectral_norm(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Judge images with their labels, or None if the network is unconditional."""
        features = self.basis(self.stages(self.image(images)))
        return self.projection(self.score(features.flatten(1)), features, labels)
