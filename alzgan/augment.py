"""Augmentations of all images that the discriminator sees, real and fake, for training on little data.

Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training". Penalties differentiate with
respect to the augmented images. A paper that penalises gradients at the original images needs another gamma.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from alzgan.device.ranks import mean_of_ranks
from alzgan.errors import SettingError, at_least, fraction
from alzgan.schedules import Played, Schedule

BLACK = -1.0  # the background of an MRI slice


class Augmentation(nn.Module, ABC):
    """Augments images by uniforms, a row of them for each image."""

    @property
    @abstractmethod
    def uniforms(self) -> int:
        """The number of uniforms for one image."""

    @abstractmethod
    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Augment images (N, C, H, W) by uniforms (N, k), the same way for real and fake.

        The result is differentiable twice with respect to the images.
        """

    def draw(self, stream: np.random.Generator, count: int) -> np.ndarray:
        """Uniforms (count, k) in [0, 1), float32."""
        return stream.random((count, self.uniforms), dtype=np.float32)


class TranslateFlip(Augmentation):
    """Shift every image by whole pixels, filling with black, and mirror a share of them left to right.

    Use it where heads lie in varying places. With registered slices it teaches the discriminator to accept
    shifts and mirrors that no real image shows. It leaks: samples are shifted and mirrored as often as the
    images that the discriminator sees.

    Args:
        shift: largest shift as a share of the side, in [0, 1], rounded down to whole pixels: 0.03 is 1 pixel
            of 64, and 0 of 32.
        flip: share of the images that are mirrored, in [0, 1].

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
        """Augment images (N, C, H, W) by uniforms (N, 3): for shifts down and right, and the mirror."""
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
        """The source (N, side) of each pixel along one axis, and whether it is inside the image."""
        most = int(self.shift * side)
        shift = (uniforms * (2 * most + 1)).floor().long() - most
        source = torch.arange(side, device=uniforms.device) - shift[:, None]
        return source.clamp(0, side - 1), (source >= 0) & (source < side)


class MRIAugmentation(Augmentation):
    """Changes of a head as in a scanner, each applied to its own random share of the images.

    The operations are a left-right mirror; shift, rotation and scale, in one bilinear look-up with black
    outside; contrast; brightness; and cutout, which is off by default because it has leaked into samples.
    Each is drawn independently, as in Karras et al. 2020, "Training generative adversarial networks with
    limited data" (ADA), appendix B. Their rotations by 90 degrees and inversions are left out, since no scan
    looks like that.

    An operation on only some of the images does not leak into samples: augmented samples match augmented data
    only if the samples match the data. At `probability` 1 it can: where every other image is mirrored, a
    generator of mirrored heads matches too.

    Args:
        probability: share of the images that each operation changes, in [0, 1], or a schedule.
        flip: share of those images that are mirrored, in [0, 1].
        shift: largest shift as a share of the side, in [0, 1].
        rotation: largest angle in degrees, at least 0.
        scale: largest change of size, as a share, in [0, 1].
        brightness: largest change of the distance from black, as a share, in [0, 1].
        contrast: largest c of the curve u + c u (1 - u) of greys u in [0, 1]; in [0, 1].
        cutout: side of the black square as a share of the image's, in [0, 1]; 0: off.

    Raises:
        SettingError: a value is out of its range.
    """

    uniforms = 16

    def __init__(
        self,
        probability: float | Schedule = 0.3,
        flip: float = 0.5,
        shift: float = 0.06,
        rotation: float = 8.0,
        scale: float = 0.08,
        brightness: float = 0.1,
        contrast: float = 0.2,
        cutout: float = 0.0,
    ):
        super().__init__()
        fraction(probability=probability, flip=flip, shift=shift, scale=scale)
        fraction(brightness=brightness, contrast=contrast, cutout=cutout)
        at_least(0, rotation=rotation)
        self.probability: Any = probability  # a number, or a tensor that follows a schedule
        self.flip = flip
        self.shift = shift
        self.rotation = rotation
        self.scale = scale
        self.brightness = brightness
        self.contrast = contrast
        self.cutout = cutout

    def follow(self, game: Played, said: dict[str, Tensor]) -> None:
        """Log the probability of an operation."""
        said["augment/probability"] = torch.ones_like(said["overfitting/r_t"]) * self.probability

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Augment images (N, C, H, W) by uniforms (N, 16): which operations happen, and how strongly."""
        happens = (uniforms[:, :7] < self.probability).to(uniforms.dtype)
        mirror, down, right, turn, grow, bright, sharp, top, left = (2 * uniforms[:, 7:] - 1).unbind(1)
        flipped = happens[:, 0] * (mirror < 2 * self.flip - 1)
        shifts = 2 * self.shift * happens[:, 1, None] * torch.stack([right, down], 1)
        angle = math.radians(self.rotation) * happens[:, 2] * turn
        size = (1 + self.scale) ** (happens[:, 3] * grow)
        images = look_up(images, (1 - 2 * flipped) / size, 1 / size, angle, shifts)
        bend = self.contrast * happens[:, 4] * sharp
        gain = (1 + self.brightness) ** (happens[:, 5] * bright)
        # Black stays black, since the background emits no signal.
        light = (images - BLACK) / 2
        bend, gain = (each[:, None, None, None].to(images.dtype) for each in (bend, gain))
        light = (light + bend * light * (1 - light)) * gain
        images = 2 * light + BLACK
        return self.cut(images, happens[:, 6], top, left) if self.cutout else images

    def cut(self, images: Tensor, happens: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """Make a square black, with its centre anywhere in the image."""
        inside = [
            (torch.arange(1 - side, side, 2, device=images.device) / side - centre[:, None]).abs()
            < self.cutout
            for centre, side in ((top, images.shape[2]), (left, images.shape[3]))
        ]
        square = inside[0][:, :, None] & inside[1][:, None, :] & (happens > 0)[:, None, None]
        return images.masked_fill(square[:, None], BLACK)


def look_up(images: Tensor, across: Tensor, along: Tensor, angle: Tensor, shifts: Tensor) -> Tensor:
    """Transform images (N, C, H, W) by affine maps with bilinear interpolation; outside them all is black.

    This uses `gather` because torch's grid_sample has no second derivative, and no deterministic first one on
    CUDA; `gather` has both, the latter under `trainer.deterministic`.

    Args:
        images: in [-1, 1].
        across: (N,) horizontal step in the source for one pixel of the result; negative values mirror.
        along: (N,) the vertical step.
        angle: (N,) rotation about the centre in radians.
        shifts: (N, 2) of the result to the right and down, in half sides.
    """
    height, width = images.shape[2:]
    # Twice the distance from the centre in pixels: whole numbers, so that the identity is exact.
    y = (
        torch.arange(1 - height, height, 2, device=images.device)[None, :, None]
        - shifts[:, 1, None, None] * height
    )
    x = (
        torch.arange(1 - width, width, 2, device=images.device)[None, None, :]
        - shifts[:, 0, None, None] * width
    )
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    columns = (across[:, None, None] * (cos * x + sin * y) + width - 1) / 2
    rows = (along[:, None, None] * (cos * y - sin * x) + height - 1) / 2
    left, top = columns.floor(), rows.floor()
    seen = torch.zeros_like(images)
    for row, rows_share in ((top, top + 1 - rows), (top + 1, rows - top)):
        for column, columns_share in ((left, left + 1 - columns), (left + 1, columns - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            source = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            source = source.long().flatten(1)[:, None].expand(-1, images.shape[1], -1)
            taken = images.flatten(2).gather(2, source).view_as(images)
            share = rows_share * columns_share * inside
            seen = seen + (taken - BLACK) * share[:, None].to(images.dtype)
    return seen + BLACK


class AdaptiveAugmentation(MRIAugmentation):
    """MRI augmentation with a probability that adapts to how far the discriminator overfits (ADA).

    Overfitting is measured by r_t, the mean sign of D(x) on training images. Every `interval` steps the
    probability rises if r_t is above its target, and falls if it is below. Karras et al. 2020, section 3.1.

    Args:
        target: of r_t, in [0, 1].
        interval: steps over which r_t is averaged.
        length: number of images in which the probability could rise from 0 to 1.
        limit: largest probability; at 1 augmentations leak.
        probability: the first one.
        **operations: see `MRIAugmentation`.

    Raises:
        SettingError: a value is out of its range.
    """

    steps: Tensor
    signs: Tensor

    def __init__(
        self,
        target: float = 0.6,
        interval: int = 4,
        length: int = 500_000,
        limit: float = 0.8,
        probability: float | Schedule = 0.0,  # a schedule is refused below
        **operations: Any,
    ):
        if isinstance(probability, Schedule):
            raise SettingError("probability is adapted by ADA: give its first value, a number")
        fraction(target=target, limit=limit, probability=probability)
        at_least(1, interval=interval, length=length)
        super().__init__(probability, **operations)
        del self.probability
        # Buffers, so that CUDA graphs update them in place and checkpoints keep them.
        self.register_buffer("probability", torch.tensor(float(probability)))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("signs", torch.zeros(()))
        self.target = target
        self.interval = interval
        self.length = length
        self.limit = limit

    @torch.no_grad()
    def follow(self, game: Played, said: dict[str, Tensor]) -> None:
        """Add this step's r_t, and adapt the probability every `interval` steps."""
        super().follow(game, said)
        self.steps += 1
        self.signs += mean_of_ranks(said["overfitting/r_t"].clone())
        due = self.steps % self.interval == 0
        change = torch.sign(self.signs / self.interval - self.target) * (
            game.images_a_step * self.interval / self.length
        )
        self.probability.copy_((self.probability + due * change).clamp(0, self.limit))
        self.signs.mul_(~due)
