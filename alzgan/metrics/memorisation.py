"""Whether samples are copies of training images.

What decides is pixels: a blurred or noisy copy is far from its original in a network's features, and a
mirrored one in plain pixels. So a sample is compared with every training image, shifted and mirrored, and is
a copy where it is more alike to one than images of unseen people are.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import beta, mannwhitneyu
from torch import Tensor

from alzgan.metrics.neighbours import Neighbours, radii_of
from alzgan.metrics.pairs import People

SIDE = 64  # pixels; larger images are reduced to it
REACH = 3  # pixels of shift, up, down, left and right
COARSE = 32  # pixels of the images that the candidates are found in
CANDIDATES = 16  # training images that are then aligned with a sample: in 98 of 100 the nearest is one
BLOCK = 256  # samples at a time
SAME = 0.999  # correlation from which on two images are one


class Nearest(NamedTuple):
    """The training image (N,) that is most alike to each sample, and how alike: a correlation (N,)."""

    similarity: Tensor
    index: Tensor


class Copies(NamedTuple):
    """What copies there are among samples.

    Attributes:
        nearest: of each sample.
        threshold: the correlation that 1 in 100 images of unseen people exceeds.
        certain: the correlation beyond which a sample is half as far from a training image as any image of
            unseen people is.
        above: number of samples above the threshold.
        certain_count: number of samples beyond `certain`.
        upper: what the share of samples beyond `certain` is at most, with 95 % confidence.
    """

    nearest: Nearest
    threshold: float
    certain: float
    above: int
    certain_count: int
    upper: float


def copies(samples: Tensor, train: Tensor, unseen: Tensor, quantile: float = 0.99) -> Copies:
    """Compare samples with all training images, and with what unseen people's images get in their place.

    Args:
        samples: uint8 (N, C, H, W).
        train: uint8 (M, C, H, W).
        unseen: images of people who are not in train, uint8 (L, C, H, W).
        quantile: of the unseen images' similarities that makes the threshold.
    """
    return copies_of(aligned_nearest(samples, train), aligned_nearest(unseen, train), quantile)


def copies_of(nearest: Nearest, unseen: Nearest, quantile: float = 0.99) -> Copies:
    """The same from similarities that are known."""
    threshold = float(unseen.similarity.double().quantile(quantile))
    # Of unit vectors the squared distance is 2 (1 - r): half as far is a quarter of that. An unseen image
    # that is itself a copy must not hide all others.
    certain = 1 - (1 - min(float(unseen.similarity.max()), SAME)) / 4
    count = int((nearest.similarity > certain).sum())
    return Copies(
        nearest=nearest,
        threshold=threshold,
        certain=certain,
        above=int((nearest.similarity > threshold).sum()),
        certain_count=count,
        upper=share_at_most(count, len(nearest.similarity)),
    )


def share_at_most(count: int, total: int, confidence: float = 0.95) -> float:
    """The largest share that `count` of `total` still allows: the exact one-sided bound, 0 to 1.

    Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the
    binomial": 0 of 2,000 allows 0.15 %.
    """
    return 1.0 if count == total else float(beta.ppf(confidence, count + 1, total - count))


def aligned_nearest(images: Tensor, references: Tensor, coarse: Tensor | None = None) -> Nearest:
    """The most alike reference of each image, when the image may be shifted and mirrored.

    Correlation of grey values, the best of shifts of up to `REACH` pixels (of `SIDE`) and the mirror images.
    The `CANDIDATES` references that are most alike when reduced to `COARSE` pixels are aligned in full.

    Args:
        images: uint8 (N, C, H, W).
        references: uint8 (M, C, H, W).
        coarse: what `coarse_rows` makes of the references, where it is known.
    """
    if coarse is None:
        coarse = coarse_rows(references)
    found = [align(reduced(part, SIDE), coarse, references) for part in images.split(BLOCK)]
    return Nearest(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def coarse_rows(references: Tensor) -> Tensor:
    """Small forms (M, pixels) of uint8 references (M, C, H, W), among which the candidates are looked for."""
    # In full, as floats, a million references do not fit into memory: those that are candidates do.
    return torch.cat([unit_rows(reduced(reduced(part, SIDE), COARSE)) for part in references.split(BLOCK)])


def align(images: Tensor, coarse: Tensor, references: Tensor) -> Nearest:
    """The nearest references of a block of grey images (N, 1, SIDE, SIDE)."""
    rough = torch.full((len(images), len(coarse)), -1.0, device=images.device)
    # A step is a pixel of the coarse images.
    for moved in variants(images, step=max(1, images.shape[3] // COARSE)):
        torch.maximum(rough, unit_rows(reduced(moved, COARSE)) @ coarse.T, out=rough)
    candidates = rough.topk(min(CANDIDATES, len(coarse)), 1).indices  # (N, K)
    similarity = torch.full(candidates.shape, -1.0, device=images.device)
    rows, places = candidates.unique(return_inverse=True)
    chosen = unit_rows(reduced(references[rows], SIDE))[places]  # (N, K, pixels)
    for moved in variants(images, step=1):
        torch.maximum(similarity, torch.bmm(chosen, unit_rows(moved)[:, :, None])[..., 0], out=similarity)
    best = similarity.max(1)
    return Nearest(best.values, candidates.gather(1, best.indices[:, None])[:, 0])


def variants(images: Tensor, step: int) -> Iterator[Tensor]:
    """The images (N, 1, H, W) at every shift, a step apart, and mirrored; what is shifted in is black."""
    height, width = images.shape[2:]
    shifts = range(-REACH + REACH % step, REACH + 1, step)
    for turned in (images, images.flip(3)):
        padded = F.pad(turned, [REACH] * 4)
        for down in shifts:
            for right in shifts:
                yield padded[:, :, REACH - down :, REACH - right :][:, :, :height, :width]


def reduced(images: Tensor, side: int) -> Tensor:
    """Grey float images (N, 1, H, W) of at most so many pixels a side."""
    grey = images.float().mean(1, keepdim=True)
    return F.interpolate(grey, side, mode="area") if max(grey.shape[2:]) > side else grey


def unit_rows(images: Tensor) -> Tensor:
    """Images as vectors (N, H W) of mean 0 and length 1, so that products are correlations; 0 if constant."""
    rows = images.flatten(1)
    return F.normalize(rows - rows.mean(1, keepdim=True), dim=1)


def authenticity(train: Tensor, fake: Tensor, train_people: People | None = None) -> float:
    """The share of fake features that are farther from their nearest training one than that is from others.

    Alaa et al. 2022, "How faithful is your synthetic data? Sample-level metrics for evaluating and auditing
    generative models". What unseen people get depends on the number of dimensions, and is never 1: read it
    beside theirs.

    Args:
        train: features (M, F).
        fake: features (N, F).
        train_people: (M,) who is in each; the others are then other people's.
    """
    return float(authentic(Neighbours.of(fake, train), train, train_people).double().mean())


def authentic(between: Neighbours, train: Tensor, train_people: People | None = None) -> Tensor:
    """Which fake features (N,) are authentic.

    Args:
        between: the fake and the training features.
        train: features (M, F).
        train_people: (M,) who is in each.
    """
    rows, places = between.index.unique(return_inverse=True)
    return between.forward > radii_of(rows, train, train_people)[places]


def train_test_distance(
    fake: Tensor, test: Tensor, fake_people: People | None = None, test_people: People | None = None
) -> float:
    """The statistic C_T: below 0 where fake images lie nearer to the training images than unseen ones do.

    The Z value of the Mann-Whitney test between their distances (Meehan et al. 2020, "A non-parametric test
    to detect data-copying in generative models"), on each person's median: counted by image, one person's
    slices would count as so many people, and a third of all innocent Z lie beyond 1.96.

    Args:
        fake: distances (N,) of fake images to their nearest training image.
        test: distances (M,) of unseen images to theirs.
        fake_people: (N,) None where each image is somebody of its own.
        test_people: (M,) the same of the unseen images.
    """
    one, two = person_medians(fake, fake_people), person_medians(test, test_people)
    n, m = len(one), len(two)
    above = float(mannwhitneyu(one, two).statistic)
    return (above - n * m / 2) / (n * m * (n + m + 1) / 12) ** 0.5


def membership_auc(members: np.ndarray, others: np.ndarray) -> float:
    """How well nearness to the samples tells who was trained on, from 0 to 1; 0.5 is not at all.

    The area under the ROC curve of an attack that takes people for members the nearer they are to a sample.
    Worth as much as its control says: members against other members.

    Args:
        members: distances (N,) of people who were trained on, medians over their images say.
        others: distances (M,) of people who were not.
    """
    return float(mannwhitneyu(others, members).statistic) / (len(members) * len(others))


def person_medians(values: Tensor, people: People | None) -> np.ndarray:
    """The median (P,) of each person's values (N,), in the order of the people's names."""
    values = values.double().cpu().numpy()
    if people is None:
        return values
    _, who = np.unique(np.asarray(people), return_inverse=True)
    order = np.argsort(who, kind="stable")
    groups = np.split(values[order], np.flatnonzero(np.diff(who[order])) + 1)
    return np.array([np.median(group) for group in groups])
