"""Augmentations of what the discriminator sees, real and fake alike, so that little data lasts longer.

Contract: ``draw(stream, count)`` gives uniforms (count, k) in [0, 1), one row an image, and
``augmentation(images, uniforms)`` the augmented images, the same kind for real and fake; differentiable twice
with respect to the images, since penalties differentiate the gradient. Zhao et al. 2020, "Differentiable
augmentation for data-efficient GAN training".
"""

import numpy as np
import torch
from torch import Tensor, nn

from alzgan.errors import fraction

BLACK = -1.0  # what lies outside of an MRI slice


class Augmentation(nn.Module):
    """What augmentations have in common: so many uniforms an image."""

    uniforms: int

    def draw(self, stream: np.random.Generator, count: int) -> np.ndarray:
        """Uniforms (count, k) in [0, 1), float32."""
        return stream.random((count, self.uniforms), dtype=np.float32)


class TranslateFlip(Augmentation):
    """Shift by whole pixels in both directions, black coming in, and mirror every other image left to right.

    Slices that are registered to each other have one place and one side: there a shift or a mirror teaches
    the discriminator to forgive what no real image shows. They help where heads lie as they happened to.

    Args:
        shift: the largest shift, as a share of the side, in [0, 1].
        flip: the share of images that are mirrored, in [0, 1].

    Raises:
        SettingError: a value is out of its range.
    """

    uniforms = 3

    def __init__(self, shift: float = 0.125, flip: float = 0.5):
        super().__init__()
        fraction(shift=shift, flip=flip)
        self.shift = shift
        self.flip = flip

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Augment images (N, C, H, W) by uniforms (N, 3): of both shifts and of the mirror."""
        height, width = images.shape[2:]
        down, right, mirror = uniforms.unbind(1)
        rows, rows_inside = self.sources(down, height)
        columns, columns_inside = self.sources(right, width)
        columns = torch.where((mirror < self.flip)[:, None], width - 1 - columns, columns)
        source = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
        inside = rows_inside[:, None, :, None] & columns_inside[:, None, None, :]
        taken = images.flatten(2).gather(2, source[:, None].expand(-1, images.shape[1], -1))
        return torch.where(inside, taken.view_as(images), BLACK)

    def sources(self, uniforms: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Where each pixel (N, side) along one axis comes from, and whether that is inside of the image."""
        most = int(self.shift * side)
        shift = (uniforms * (2 * most + 1)).floor().long() - most
        source = torch.arange(side, device=uniforms.device) - shift[:, None]
        return source.clamp(0, side - 1), (source >= 0) & (source < side)
