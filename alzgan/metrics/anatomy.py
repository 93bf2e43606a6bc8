"""Measures of the brain by simple image processing, equal for real and synthetic slices.

They are for axial T1 slices on black, with dark fluid and bright white matter. They are not a diagnosis. Each
is only as good as the outline of the brain or of the ventricles, which `outlined` draws.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.distance import braycurtis
from scipy.stats import wasserstein_distance
from torch import Tensor

from alzgan.metrics.record import Metric, Question

FOREGROUND = 0.15  # a pixel above this share of the image's bright level is not background
FLUID = 0.55  # a pixel below this share of the brain's median is fluid
DEPTH = 0.4  # fluid within this share of the largest distance to the brain's edge is in sulci and fissures
MIDDLE = 0.55  # fluid beyond this share of the brain's half length is in the fissure at the front or back
SPECK = 0.003  # a component of fluid below this share of the brain is a deep sulcus
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
UNITS = {
    "brain_area": "share of the image",
    "ventricle_ratio": "share of the brain",
    "asymmetry": "share of the grey of both sides",
    **{f"intensity_{round(100 * q):02}": "share of white" for q in QUANTILES},
}
BRAIN_COLOUR, VENTRICLE_COLOUR = (86, 180, 233), (230, 159, 0)  # colour-blind people can distinguish these


class Masks(NamedTuple):
    """Boolean masks (N, H, W)."""

    brain: np.ndarray
    ventricles: np.ndarray


def measures(images: Tensor) -> dict[str, Tensor]:
    """All measures (N,) by name, in the order and units of `UNITS`.

    The brain's share of the image; the ventricles' share of the brain, which grows with atrophy; the brain's
    `asymmetry_of`; and quantiles of its grey values.

    Args:
        images: uint8 (N, C, H, W).
    """
    pixels = grey(images)
    masks = masks_of(pixels)
    size = masks.brain.sum((1, 2))
    levels = np.stack([quantiles_of(*each) for each in zip(pixels, masks.brain, strict=True)])
    found = {
        "brain_area": size / masks.brain[0].size,
        "ventricle_ratio": masks.ventricles.sum((1, 2)) / size.clip(1),
        "asymmetry": [asymmetry_of(*each) for each in zip(pixels, masks.brain, strict=True)],
        **dict(zip([name for name in UNITS if name.startswith("intensity")], levels.T, strict=True)),
    }
    return {name: torch.tensor(np.asarray(values), dtype=torch.double) for name, values in found.items()}


def outlined(images: Tensor) -> Tensor:
    """The images with the outlines of the brain and of the ventricles, uint8 (N, 3, H, W)."""
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
    """The mask (H, W) of the largest bright component, with its holes filled."""
    bright = np.quantile(image, 0.98)
    components, count = ndimage.label(ndimage.binary_opening(image > max(FOREGROUND * bright, 1)))
    if count == 0:
        return np.zeros(image.shape, bool)
    largest = 1 + np.argmax(np.bincount(components.ravel())[1:])
    return ndimage.binary_fill_holes(components == largest)


def ventricles_of(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """The mask (H, W) of fluid in the brain's centre, without small components."""
    if not brain.any():
        return brain
    fluid = centre_of(brain) & (image < FLUID * np.median(image[brain]))
    components, _ = ndimage.label(fluid)
    return fluid & (np.bincount(components.ravel()) >= SPECK * brain.sum())[components]


def centre_of(brain: np.ndarray) -> np.ndarray:
    """The mask (H, W) of pixels far from the brain's edge and from its front and back."""
    depth = ndimage.distance_transform_edt(brain)
    rows = np.flatnonzero(brain.any(1))
    middle = (rows[0] + rows[-1]) / 2
    central = abs(np.arange(len(brain)) - middle) < MIDDLE * len(rows) / 2
    return (depth > DEPTH * depth.max()) & central[:, None]


def quantiles_of(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Quantiles of the brain's grey values as shares of white; 0 if there is no brain."""
    return np.quantile(image[brain], QUANTILES) / 255 if brain.any() else np.zeros(len(QUANTILES))


def asymmetry_of(image: np.ndarray, brain: np.ndarray) -> float:
    """How much the brain differs from its mirror image, from 0 to 1; 0 if there is no brain.

    It is the dissimilarity sum |x - m| / sum (x + m) of the grey values x and the mirrored ones m (Bray and
    Curtis 1957, "An ordination of the upland forest communities of southern Wisconsin"). The mirror axis is
    the column through the brain's centre, to half a pixel.
    """
    if not brain.any():
        return 0.0
    # The centre of the outline, because the centre of the grey values would move towards a brighter half.
    excess = brain.shape[1] - 1 - round(2 * np.nonzero(brain)[1].mean())
    centred = np.pad(np.where(brain, image, 0), [(0, 0), (max(excess, 0), max(-excess, 0))])
    return float(braycurtis(centred.ravel(), centred[:, ::-1].ravel()))


def wasserstein(real: np.ndarray, fake: np.ndarray) -> float:
    """The mean distance between the sorted values of a measure in two sets, in the unit of the measure."""
    return float(wasserstein_distance(real, fake))


ANATOMY = Question(
    name="anatomy",
    asks="Is the anatomy right?",
    good="All {all} measures are distributed as among unseen people; farthest {told}",
    bad="{outside} of {all} measures are not distributed as among unseen people, {told}",
)
WASSERSTEIN = Metric(
    name="wasserstein",
    called="Wasserstein distance",
    compute=wasserstein,
    better="lower",
    bounds=(0, math.inf),
    stage="anatomy",
    decides=ANATOMY,
)
