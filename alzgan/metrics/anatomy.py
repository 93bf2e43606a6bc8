"""What a brain measures, by simple image processing that treats real and synthetic slices alike.

For axial T1 slices on black: fluid is dark, white matter bright. No number here is a diagnosis; each is as
good as its outline, which `outlined` shows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

FOREGROUND = 0.15  # of an image's bright level, from which on a pixel is no background
FLUID = 0.6  # of the brain's median, below which it is fluid
DEPTH = 0.4  # of the largest distance to the brain's edge, within which fluid is in sulci and fissures
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
UNITS = {
    "brain_area": "share of the image",
    "ventricle_ratio": "share of the brain",
    "asymmetry": "share of the brain's mean grey value",
    **{f"intensity_{round(100 * q):02}": "share of white" for q in QUANTILES},
}
BRAIN_COLOUR, VENTRICLE_COLOUR = (86, 180, 233), (230, 159, 0)  # told apart by the colour-blind, too


class Masks(NamedTuple):
    """Boolean masks (N, H, W)."""

    brain: np.ndarray
    ventricles: np.ndarray


def brain_mask(images: Tensor) -> Tensor:
    """What is brain, or head: the largest bright component without its holes, bool (N, H, W).

    Args:
        images: uint8 (N, C, H, W).
    """
    return torch.from_numpy(np.stack([brain_of(image) for image in grey(images)]))


def ventricle_mask(images: Tensor) -> Tensor:
    """What is dark fluid deep within the brain, bool (N, H, W).

    Args:
        images: uint8 (N, C, H, W).
    """
    return torch.from_numpy(masks_of(grey(images)).ventricles)


def brain_area(images: Tensor) -> Tensor:
    """The brain's share of the image (N,), from 0 to 1."""
    return measures(images)["brain_area"]


def ventricle_ratio(images: Tensor) -> Tensor:
    """The ventricles' share of the brain (N,), from 0 to 1; larger in atrophy."""
    return measures(images)["ventricle_ratio"]


def asymmetry(images: Tensor) -> Tensor:
    """The mean difference between the brain and its mirror image over its mean grey value (N,), from 0 on.

    Mirrored about the column through the brain's centre, to half a pixel.
    """
    return measures(images)["asymmetry"]


def intensity_quantiles(images: Tensor, quantiles: Sequence[float] = QUANTILES) -> Tensor:
    """Quantiles (N, Q) of the brain's grey values, from 0 (black) to 1 (white).

    Args:
        images: uint8 (N, C, H, W).
        quantiles: Q of them, from 0 to 1.
    """
    pixels = grey(images)
    masks = masks_of(pixels).brain
    return torch.from_numpy(
        np.stack([quantiles_of(*each, quantiles) for each in zip(pixels, masks, strict=True)])
    )


def measures(images: Tensor) -> dict[str, Tensor]:
    """All measures (N,) by name; `UNITS` says what each is in.

    Args:
        images: uint8 (N, C, H, W).
    """
    pixels = grey(images)
    masks = masks_of(pixels)
    size = masks.brain.sum((1, 2))
    levels = np.stack([quantiles_of(*each, QUANTILES) for each in zip(pixels, masks.brain, strict=True)])
    found = {
        "brain_area": size / masks.brain[0].size,
        "ventricle_ratio": masks.ventricles.sum((1, 2)) / size.clip(1),
        "asymmetry": [asymmetry_of(*each) for each in zip(pixels, masks.brain, strict=True)],
        **dict(zip([name for name in UNITS if name.startswith("intensity")], levels.T, strict=True)),
    }
    return {name: torch.tensor(np.asarray(values), dtype=torch.double) for name, values in found.items()}


def outlined(images: Tensor) -> Tensor:
    """The images, uint8 (N, 3, H, W), with the outlines of the brain and of the ventricles."""
    pixels = grey(images)
    masks = masks_of(pixels)
    shown = np.repeat(pixels.round().astype(np.uint8)[..., None], 3, 3)
    for mask, colour in zip(masks, (BRAIN_COLOUR, VENTRICLE_COLOUR), strict=True):
        inner = np.stack([ndimage.binary_erosion(each) for each in mask])
        shown[mask & ~inner] = colour
    return torch.from_numpy(shown).permute(0, 3, 1, 2)


def grey(images: Tensor) -> np.ndarray:
    """Grey values (N, H, W), 0 to 255."""
    return images.float().mean(1).cpu().numpy()


def masks_of(pixels: np.ndarray) -> Masks:
    """The masks of grey images (N, H, W)."""
    brain = np.stack([brain_of(image) for image in pixels])
    return Masks(brain, np.stack([ventricles_of(*each) for each in zip(pixels, brain, strict=True)]))


def brain_of(image: np.ndarray) -> np.ndarray:
    """The largest component (H, W) that is brighter than a share of the image's bright level."""
    bright = np.quantile(image, 0.98)
    components, count = ndimage.label(ndimage.binary_opening(image > max(FOREGROUND * bright, 1)))
    if count == 0:
        return np.zeros(image.shape, bool)
    largest = 1 + np.argmax(np.bincount(components.ravel())[1:])
    return ndimage.binary_fill_holes(components == largest)


def ventricles_of(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Pixels (H, W) that are darker than the brain's tissue and far from its edge."""
    if not brain.any():
        return brain
    depth = ndimage.distance_transform_edt(brain)
    return brain & (image < FLUID * np.median(image[brain])) & (depth > DEPTH * depth.max())


def quantiles_of(image: np.ndarray, brain: np.ndarray, quantiles: Sequence[float]) -> np.ndarray:
    """Quantiles of the brain's grey values over white; 0 where there is no brain."""
    return np.quantile(image[brain], quantiles) / 255 if brain.any() else np.zeros(len(quantiles))


def asymmetry_of(image: np.ndarray, brain: np.ndarray) -> float:
    """The mean difference from the mirror image, over the mean; 0 where there is no brain."""
    if not image[brain].any():
        return 0.0
    tissue = np.where(brain, image, 0)
    centre = round(2 * float((tissue.sum(0) * np.arange(tissue.shape[1])).sum() / tissue.sum()))
    # Column x is mirrored to centre - x.
    wide = np.pad(tissue, [(0, 0), (tissue.shape[1], tissue.shape[1])])
    columns = np.arange(wide.shape[1])
    mirrored = wide[:, (centre + 2 * tissue.shape[1] - columns).clip(0, wide.shape[1] - 1)]
    return float(abs(wide - mirrored).sum() / (2 * tissue.sum()))
