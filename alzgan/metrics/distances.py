"""Distances between two sets of features (N, F)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from alzgan.device.streams import stream
from alzgan.metrics.record import FIDELITY, FeatureMetric
from alzgan.metrics.resampling import Groups, Redraws
from alzgan.metrics.sets import Features, Pair, People, numbered, products_of

KERNEL_BLOCK = 1024  # rows of the table of kernels that are in memory at a time
DIRECTIONS = 1000  # random directions of MIND


@dataclass(frozen=True)
class Moments:
    """Mean (F,) and covariance (F, F) of features, in float64.

    Attributes:
        factor: a matrix (F, N) with factor factor^T = covariance; None if N is not less than F.
    """

    mean: Tensor
    covariance: Tensor
    factor: Tensor | None = None

    @cached_property
    def root(self) -> Tensor:
        """A matrix R with R R^T = covariance."""
        if self.factor is not None:
            return self.factor
        values, vectors = torch.linalg.eigh(self.covariance)
        return vectors * values.clamp(min=0).sqrt()


def moments(features: Tensor, weights: Tensor | None = None) -> Moments:
    """The mean and unbiased covariance of features (N, F) with weights (N,); None: equal weights."""
    features = features.double()
    share = shares_of(features, weights)
    mean = share @ features
    centred = features - mean
    scale = share / (1 - share.square().sum())
    factor = (centred * scale.sqrt()[:, None]).T if len(features) < features.shape[1] else None
    return Moments(mean, (scale * centred.T) @ centred, factor)


def frechet(real: Tensor | Moments, fake: Tensor | Moments) -> float:
    """The Fréchet distance between two sets of features, at least 0; lower is better.

    Each set is described by the mean m and the covariance C of its features, as if they were normally
    distributed. The distance is |m - m'|² + tr(C + C' - 2 √(C C')) (Heusel et al. 2017, "GANs trained by a
    two time-scale update rule converge to a local Nash equilibrium"). It is called FID only for features of
    the Inception network of 2015. It is larger for smaller sets: compare sets of equal size only.

    Args:
        real: features (N, F), or their moments.
        fake: features (M, F), or their moments.
    """
    one, two = (each if isinstance(each, Moments) else moments(each) for each in (real, fake))
    # With C = R R^T, the trace of √(C C') is that of √(R^T C' R), the root of a symmetric matrix.
    mixed = torch.linalg.eigvalsh(one.root.T @ two.covariance @ one.root).clamp(min=0).sqrt().sum()
    trace = one.covariance.trace() + two.covariance.trace() - 2 * mixed
    return float((one.mean - two.mean).square().sum() + trace)


def kernel_distance(
    real: Tensor,
    fake: Tensor,
    real_people: People | None = None,
    fake_people: People | None = None,
    real_weights: Tensor | None = None,
    real_kernel: float | None = None,
) -> float:
    """The squared maximum mean discrepancy between two sets of features; near 0 for sets of the same kind.

    Two features x and y of F numbers are compared by the kernel (x · y / F + 1)³ (Bińkowski et al. 2018,
    "Demystifying MMD GANs", who call the result KID for features of the Inception network). The estimate is
    unbiased: it does not depend on the number of images, and it can fall below 0 by chance. Images of one
    person are nearly the same, so they are never paired with each other.

    Args:
        real: features (N, F), N at least 2.
        fake: features (M, F), M at least 2.
        real_people: the person in each image (N,); None if each image counts as another person.
        fake_people: the person in each fake image (M,), or None likewise.
        real_weights: weights (N,) of the real features; None: equal weights.
        real_kernel: the `mean_kernel` of the real features; None: it is computed.
    """
    share = shares_of(real, real_weights)
    cross = float((share @ kernel(real, fake)).mean())
    if real_kernel is None:
        real_kernel = mean_kernel(real, real_people, real_weights)
    return real_kernel + mean_kernel(fake, fake_people) - 2 * cross


def kernel(one: Tensor, two: Tensor) -> Tensor:
    """The kernel (x . y / F + 1)^3 of each pair (N, M)."""
    return kernel_of(one.double() @ two.double().T, one.shape[1])


def kernel_of(products: Tensor, dimensions: int) -> Tensor:
    """The kernel of each pair, from the scalar products (N, M)."""
    return (products / dimensions + 1) ** 3


def mean_kernel(features: Tensor, people: People | None = None, weights: Tensor | None = None) -> float:
    """The mean kernel of two features of different people; without people, of two different features."""
    share, who = shares_of(features, weights), numbered(people, len(features), features.device)
    features = features.double()
    total = weight = 0.0
    for rows in torch.arange(len(features), device=features.device).split(KERNEL_BLOCK):
        pairs = share[rows, None] * share * (who[rows, None] != who)
        total += float((pairs * kernel(features[rows], features)).sum())
        weight += float(pairs.sum())
    return total / weight


def shares_of(features: Tensor, weights: Tensor | None) -> Tensor:
    """The weights (N,) scaled to a sum of 1, in float64."""
    share = features.new_ones(len(features), dtype=torch.double) if weights is None else weights.double()
    return share / share.sum()


def mind(real: Tensor, fake: Tensor, directions: int = DIRECTIONS, seed: int = 0) -> float:
    """The sliced squared Wasserstein distance between two sets of features, at least 0; lower is better.

    Both sets are projected on random directions. For each direction the sorted projections of one set are
    compared with those of the other by their mean squared difference. The result is the mean over the
    directions times three times the number of dimensions (Berthet et al. 2026, "MIND: Monge Inception
    distance for generative models evaluation", for features of the Inception network). It is larger for
    smaller sets: compare sets of equal size only.

    Args:
        real: features (N, F).
        fake: features (N, F).
        directions: the number of random directions.
        seed: the seed of the random directions.

    Raises:
        ValueError: the sets differ in size.
    """
    if len(real) != len(fake):
        raise ValueError(f"{len(real)} and {len(fake)} features: give the same number of each")
    return mind_of(Pair(Features(real), Features(fake)), directions, seed)


def mind_of(pair: Pair, directions: int = DIRECTIONS, seed: int = 0) -> float:
    """`mind` of a pair; the projections of each set are computed once."""
    one, two = (side.once(sorted_projections, directions, seed) for side in (pair.real, pair.fake))
    return float(3 * pair.real.values.shape[1] * (one - two).square().mean())


def sorted_projections(features: Features, directions: int, seed: int) -> Tensor:
    """The sorted projections (directions, N) of features."""
    return torch.sort(features.by_row(projections, directions, seed).T).values


def projections(features: Features, directions: int, seed: int) -> Tensor:
    """The projections (N, directions) of features on directions drawn uniformly from the unit sphere."""
    draws = stream(seed, "mind").standard_normal((directions, features.values.shape[1]))
    units = torch.from_numpy(draws / np.linalg.norm(draws, axis=1, keepdims=True)).to(features.values.device)
    return features.values @ units.T


def moments_in(features: Features) -> Moments:
    """The moments of a set of features."""
    return moments(features.values)


def kernels_in(features: Features) -> Tensor:
    """The kernel (N, N) of each pair of features of two people, 0 within a person."""
    return kernel_of(features.products(), features.values.shape[1]) * features.pairs()


def mean_kernel_in(features: Features) -> float:
    """The mean kernel of two people's features."""
    return features.sum_of(kernels_in) / features.sum_of(Features.pairs)


def kernels_to_real(pair: Pair) -> Tensor:
    """The mean kernel (M,) of each fake feature with the real ones."""
    return kernel_of(pair.table(products_of), pair.real.values.shape[1]).mean(1)


def frechet_of(pair: Pair) -> float:
    """`frechet` of a pair; the moments of each set are computed once."""
    return frechet(pair.real.once(moments_in), pair.fake.once(moments_in))


def kernel_distance_of(pair: Pair) -> float:
    """`kernel_distance` of a pair; the kernels of each set are computed once."""
    real, fake = (features.once(mean_kernel_in) for features in (pair.real, pair.fake))
    return real + fake - 2 * float(pair.by_fake(kernels_to_real).mean())


def redrawn_kernel_distance(pair: Pair, draws: Redraws) -> np.ndarray:
    """The kernel distance (D,) of each draw of people of the fake set."""
    fake = draws.mean_of_pairs(pair.fake.once(kernels_in), pair.fake.people)
    cross = draws.mean(pair.by_fake(kernels_to_real))
    return (pair.real.once(mean_kernel_in) + fake - 2 * cross).numpy()


def kernel_distance_without(pair: Pair, groups: Groups) -> Tensor:
    """The kernel distance (1 + G,) of all, then without each group, less the mean kernel of the real set."""
    between = groups.real.T @ kernel_of(pair.table(products_of).T, pair.real.values.shape[1]) @ groups.fake
    within, pairs = (
        groups.fake.T @ table @ groups.fake
        for table in (pair.fake.once(kernels_in), pair.fake.once(Features.pairs))
    )
    crossed = torch.outer(groups.real.sum(0), groups.fake.sum(0))
    return groups.means(within, pairs) - 2 * groups.means(between, crossed)


def at_infinity(counts: Sequence[int], values: Sequence[float]) -> float:
    """The estimate of a distance for infinitely many images.

    A line is fitted to the distances for several numbers of images N over 1 / N. The estimate is its value
    where 1 / N is 0 (Chong and Forsyth 2020, "Effectively unbiased FID and Inception score and where to find
    them").
    """
    return float(np.polyfit(1 / np.asarray(counts, float), values, 1)[1])


FRECHET = FeatureMetric(
    name="frechet",
    doc=frechet,
    called="Fréchet distance",
    compute=lambda pair: pair.either_way(frechet_of),
    better="lower",
    bounds=(0, math.inf),
    in_inception="fid",
    slow=True,
    by_n=True,
    headline="Fréchet distance",
)
MIND = FeatureMetric(
    name="mind",
    doc=mind,
    called="MIND",
    compute=mind_of,
    better="lower",
    bounds=(0, math.inf),
    slow=True,
    by_n=True,
)
KERNEL_DISTANCE = FeatureMetric(
    name="kernel_distance",
    doc=kernel_distance,
    compute=lambda pair: pair.either_way(kernel_distance_of),
    better="lower",
    bounds=(-math.inf, math.inf),
    in_inception="kid",
    skewed=True,
    decides=FIDELITY,
    headline="kernel distance",
    redrawn=redrawn_kernel_distance,
    without=kernel_distance_without,
)
