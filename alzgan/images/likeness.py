"""Find the same picture among images, even if it was altered.

Images are compared by their detail: the difference from the surroundings divided by the local contrast. A
smooth grey curve hardly changes it, and inversion negates it. Small versions of the images, compared in a
grid of poses, propose candidates; then each candidate is aligned by an affine map.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

VERSION = 2  # raise it when the same images would get other similarities
LOOKED_FOR = (
    "turned by up to 15 degrees, scaled by 0.85 to 1.18, shifted by up to 5 %, mirrored, cropped, warped by "
    "1.5 pixels, blurred, noisy, inverted or with another grey curve"
)
# The grid of poses. A pose between two of them is found from either.
TURNS = (-15, -10, -5, 0, 5, 10, 15)  # degrees
SCALES = (0.86, 0.93, 1, 1.08, 1.16)
SHIFTS = (-0.025, 0, 0.025)  # of the side, each way, in addition to the shift of the centre of gravity
SMALL = 16  # side in pixels of the images that propose candidates
RANK = 96  # their principal components
WHITE = 0.05  # share of the largest variance added to each before whitening
# Sides in pixels at which candidates are aligned, the number of candidates, and of steps.
LEVELS = (32, 16, 4), (64, 2, 3)
FAST_LEVELS = (32, 8, 4), (64, 2, 3)
SIGMAS = {32: (0.75, 1.875), 64: (1, 2.6)}  # in pixels: the fine blur, and that of the surroundings
CONTRAST_FLOOR = 0.3  # share of an image's contrast; it keeps noise in plain areas small
DAMPING = 0.001  # of a step's normal equations
SEEN = 0.5  # least share of the reference that an aligned image covers
SEARCH_BLOCK, ALIGN_BLOCK = 256, 32  # images compared with all references, and aligned, at a time


@dataclass(frozen=True)
class Nearest:
    """The nearest references of images, (N,) or (N, K): absolute correlations, and indices."""

    similarity: Tensor
    index: Tensor


class Search:
    """Finds images among references.

    Args:
        references: (M, C, H, W); the mean over channels is compared.
        people: (M,) the person in each as a number; images are not compared with those of their own person.
        fast: leave out the shifts of the grid and most candidates. It takes a quarter of the time, and misses
            half of the images that were both shifted by 5 % and turned.
    """

    def __init__(self, references: Tensor, people: Tensor | None = None, fast: bool = False):
        self.references, self.people = references, people
        self.levels = FAST_LEVELS if fast else LEVELS
        self.poses = poses((0,) if fast else SHIFTS)
        parts = [small(part) for part in references.split(SEARCH_BLOCK)]
        rows, self.centres = (torch.cat(each) for each in zip(*parts, strict=True))
        variances, axes = torch.linalg.eigh((rows.T @ rows).double())
        basis = (axes / (variances + WHITE * variances[-1] + 1e-12).sqrt())[:, -RANK:].float()
        self.codes = F.normalize(rows @ basis, dim=1)
        self.posed = torch.stack([pixels @ basis for pixels in posed_pixels(self.poses)])

    def nearest(self, images: Tensor) -> Nearest:
        """The nearest reference (N,) of each image (N, C, H, W)."""
        found = self.several(images)
        best = found.similarity.max(1)
        return Nearest(best.values, found.index.gather(1, best.indices[:, None])[:, 0])

    def several(self, images: Tensor, people: Tensor | None = None) -> Nearest:
        """The nearest references (N, K) of each image, K as the last of `levels` says."""
        found, start = [], 0
        for block in images.split(SEARCH_BLOCK):
            theirs = None if people is None else people[start : (start := start + len(block))]
            index, pose = self.candidates(block, theirs)
            parts = zip(
                block.split(ALIGN_BLOCK), index.split(ALIGN_BLOCK), pose.split(ALIGN_BLOCK), strict=True
            )
            found += [self.aligned(*part) for part in parts]
        return Nearest(
            torch.cat([each.similarity for each in found]), torch.cat([each.index for each in found])
        )

    def candidates(self, images: Tensor, people: Tensor | None) -> tuple[Tensor, Tensor]:
        """Indices (N, K) of references, and the poses (N, K, 3, 3) in which their codes match best."""
        rows, centres = small(images)
        codes = F.normalize(rows @ self.posed, dim=2)  # (poses, N, RANK)
        best = torch.zeros(len(images), len(self.codes))
        for code in codes:
            torch.maximum(best, (code @ self.codes.T).abs_(), out=best)
        if people is not None:
            best[people[:, None] == self.people] = -1
        index = best.topk(min(self.levels[0][1], len(self.codes)), 1).indices
        pose = torch.einsum("pnr,nkr->nkp", codes, self.codes[index]).abs().argmax(2)
        return index, centres[:, None] @ self.poses[pose] @ torch.linalg.inv(self.centres[index])

    def aligned(self, images: Tensor, index: Tensor, pose: Tensor) -> Nearest:
        """Align images with candidates (N, K) from poses (N, K, 3, 3); the best go to the next level."""
        similarity = torch.zeros(index.shape)
        for side, count, steps in self.levels:
            kept = similarity.topk(min(count, index.shape[1]), 1).indices
            index, pose = index.gather(1, kept), pose.take_along_dim(kept[:, :, None, None], 1)
            rows, places = index.unique(return_inverse=True)
            theirs = detail(self.references[rows], side)[places.flatten()]
            ours = detail(images, side).repeat_interleave(index.shape[1], 0)
            better = align(ours, theirs, pose.flatten(0, 1), steps)
            similarity, pose = correlation(ours, theirs, better).view(index.shape), better.view(pose.shape)
        return Nearest(similarity, index)


def detail(images: Tensor, side: int) -> Tensor:
    """Detail (N, 1, S, S) of images (N, C, H, W) at one of the sides of `SIGMAS`."""
    grey = images.float().mean(1, keepdim=True)
    grey = grey - grey.amin((2, 3), keepdim=True)  # or a constant image would leave the rounding of blurs
    mode = "bilinear" if min(grey.shape[2:]) < side else "area"
    fine, wide = (gaussian(side, sigma) for sigma in SIGMAS[side])
    smooth = fine @ F.interpolate(grey, (side, side), mode=mode) @ fine.T
    rest = smooth - wide @ smooth @ wide.T
    contrast = wide @ rest.square() @ wide.T
    return rest / (contrast.sqrt() + CONTRAST_FLOOR * contrast.mean((2, 3), keepdim=True).sqrt() + 1e-3)


@cache
def gaussian(side: int, sigma: float) -> Tensor:
    """Weights (side, side) of a row's pixels in each blurred pixel; they sum to 1, at borders too."""
    place = torch.arange(side)
    weights = torch.exp(-(place[:, None] - place).square() / (2 * sigma**2))
    weights[weights < 1e-5] = 0  # subnormal numbers would slow plain images down tenfold
    return weights / weights.sum(1, keepdim=True)


def small(images: Tensor) -> tuple[Tensor, Tensor]:
    """Small detail (N, pixels) of length 1 about its centre of gravity, and the centre as poses (N, 3, 3)."""
    half = detail(images, 2 * SMALL)
    energy = half.square().flatten(1)
    centre = energy @ points(2 * SMALL) / energy.sum(1, keepdim=True).clamp_min(1e-6)
    pose = torch.eye(3).repeat(len(images), 1, 1)
    pose[:, :2, 2] = centre[:, :2]
    return F.normalize(F.avg_pool2d(posed(half, pose)[0], 2).flatten(1), dim=1), pose


@cache
def poses(shifts: tuple[float, ...]) -> Tensor:
    """The grid (P, 3, 3): each pose maps a place in a reference to its place in the image."""
    found = []
    for turn, scale, right, down, mirror in product(TURNS, SCALES, shifts, shifts, (1, -1)):
        cosine, sine = (part(math.radians(turn)) / scale for part in (math.cos, math.sin))
        found.append([[mirror * cosine, mirror * sine, 2 * right], [-sine, cosine, 2 * down], [0, 0, 1]])
    return torch.tensor(found)


def posed_pixels(grid: Tensor) -> Iterator[Tensor]:
    """For each pose the matrix (pixels, pixels) that transforms a small image to that pose."""
    pixels = torch.eye(SMALL**2).view(-1, 1, SMALL, SMALL)
    for pose in grid:
        yield posed(pixels, pose.expand(len(pixels), 3, 3))[0].flatten(1)


def posed(images: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Images (N, 1, S, S) as seen in poses (N, 3, 3), and which pixels (N, S * S) lie within them."""
    side = images.shape[2]
    where = points(side) @ pose[:, :2].transpose(1, 2)
    seen = F.grid_sample(images, where.view(-1, side, side, 2), align_corners=False)
    return seen, where.abs().amax(2) <= 1 - 1 / side


@cache
def points(side: int) -> Tensor:
    """The pixels' centres (S * S, 3): x and y from -1 to 1, and 1."""
    axis = (torch.arange(side) + 0.5) * 2 / side - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], 2).view(-1, 3)


def align(images: Tensor, references: Tensor, pose: Tensor, steps: int) -> Tensor:
    """Better poses (N, 3, 3) of images (N, 1, S, S): Gauss-Newton steps of an affine map and a gain.

    The inverse compositional algorithm (Baker and Matthews 2004, "Lucas-Kanade 20 years on: a unifying
    framework"): the slopes are those of the references.
    """
    side = references.shape[2]
    slopes = torch.stack(torch.gradient(references[:, 0], spacing=2 / side, dim=(2, 1)), 3).flatten(1, 2)
    slopes = (slopes[..., None] * points(side)[:, None]).flatten(2)  # (N, S * S, 6)
    normal = slopes.transpose(1, 2) @ slopes
    normal.diagonal(dim1=1, dim2=2).mul_(1 + DAMPING).add_(1e-6)
    solve = torch.linalg.inv(normal) @ slopes.transpose(1, 2)
    target = references.flatten(1)
    for _ in range(steps):
        seen, inside = posed(images, pose)
        seen = seen.flatten(1)
        gain = (seen * target).sum(1, keepdim=True) / seen.square().sum(1, keepdim=True).clamp_min(1e-6)
        change = solve @ (inside * (gain * seen - target))[:, :, None]
        pose = pose - pose[:, :, :2] @ change.view(-1, 2, 3)
    return pose


def correlation(images: Tensor, references: Tensor, pose: Tensor) -> Tensor:
    """The absolute correlation (N,) of posed images with references, over the pixels that both show."""
    seen, inside = posed(images, pose)
    weights = inside / inside.sum(1, keepdim=True).clamp_min(1)
    one, two = (each.flatten(1) for each in (seen, references))
    one, two = (each - (weights * each).sum(1, keepdim=True) for each in (one, two))
    size = ((weights * one.square()).sum(1) * (weights * two.square()).sum(1)).sqrt()
    r = (weights * one * two).sum(1).abs() / size.clamp_min(1e-9)
    return r * (inside.float().mean(1) >= SEEN)


def alike_others(images: np.ndarray, people: np.ndarray) -> Nearest:
    """The two nearest images (N, 2) of other people of each grey image.

    Args:
        images: uint8 (N, H, W).
        people: (N,) the person in each as a number.
    """
    pixels, who = torch.from_numpy(images)[:, None], torch.from_numpy(people)
    search = Search(pixels, who, fast=True)
    blocks = list(zip(pixels.split(SEARCH_BLOCK), who.split(SEARCH_BLOCK), strict=True))
    found = [search.several(*block) for block in tqdm(blocks, "looking for copies", unit=" blocks")]
    similarity = torch.cat([each.similarity for each in found])
    index = torch.cat([each.index for each in found])
    return Nearest(similarity.where(who[index] != who[:, None], 0), index)
