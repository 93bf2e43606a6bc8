"""Conversion between float images in [-1, 1] and whole numbers, and the slice that is shown."""

import torch
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 images (any shape) in 0..255 into float32 in [-1, 1], keeping the memory format."""
    return images.float().mul_(2 / 255).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Turn float images (any shape) in [-1, 1] into uint8, rounded to nearest; values outside are clipped."""
    return quantized(images, 255).to(torch.uint8)


def quantized(images: Tensor, most: int) -> Tensor:
    """Float images (any shape) in [-1, 1] as whole numbers from 0 to `most`, float32, clipped."""
    return images.float().add(1).mul_(most / 2).round_().clamp_(0, most)


def middle(images: Tensor) -> Tensor:
    """The middle slice (N, 1, H, W) of neighbouring slices as channels (N, C, H, W)."""
    return images[:, images.shape[1] // 2, None]
