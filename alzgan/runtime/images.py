"""The only way between float images in [-1, 1] and uint8 images, one function each way."""

import torch
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 images (any shape) in 0..255 into float32 in [-1, 1], keeping the memory format."""
    return images.float().mul_(2 / 255).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Turn float images (any shape) in [-1, 1] into uint8, rounded to nearest; values outside are clipped."""
    return images.float().add(1).mul_(255 / 2).round_().clamp_(0, 255).to(torch.uint8)
