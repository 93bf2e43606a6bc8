"""Distances between two sets of features (N, F)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from alzgan.device.streams import stream
from alzgan.metrics.pairs import People, numbered
from alzgan.metrics.record import FIDELITY, FeatureMetric
from alzgan.metrics.resampling import Groups, Redraws
from alzgan.metrics.sets import Features, Pair

BLOCK = 1024  # rows of a table of all pairs
DIRECTIONS = 1000  # of projections


@dataclass(frozen=True)
class Moments:
    """Mean (F,) and covariance (F, F) of features, in float64.

    Attributes:
        factor: (F, N) with factor factor^T = covariance, where there are fewer features than dimensions.
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
    """Mean and unbiased covariance of features (N, F), each row with its weight (N,)."""
    features = features.double()
    share = shares_of(features, weights)
    mean = share @ features
    centred = features - mean
    scale = share / (1 - share.square().sum())
    factor = (centred * scale.sqrt()[:, None]).T if len(features) < features.shape[1] else None
    return Moments(mean, (scale * centred.T) @ centred, factor)


def frechet(real: Tensor | Moments, fake: Tensor | Moments) -> float:
    """The Fréchet distance of the normal distributions with the moments of two sets, from 0 on.

    |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) (Heusel et al. 2017, "GANs trained by a two time-scale update
    rule converge to a local Nash equilibrium"), of features (N, F) and (M, F), or their moments. Called FID
    only in the features of the Inception network of 2015. Its expectation grows as sets get smaller: compare
    at equal N.
    """
    one, two = (each if isinstance(each, Moments) else moments(each) for each in (real, fake))
    # The square root's trace by symmetric matrices alone: with C = R R^T it is that of (R^T C' R)^(1/2).
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
    """The unbiased squared maximum mean discrepancy with the kernel (x . y / F + 1)^3; near 0 for one law.

    Bińkowski et al. 2018, "Demystifying MMD GANs", who call it KID in Inception's features. Its expectation
    does not depend on N, and it falls below 0 by chance. It is unbiased where what is paired is independent:
    with people, features of one person are not paired, which are nearly one feature.

    Args:
        real: features (N, F), N from 2 on.
        fake: features (M, F), M from 2 on.
        real_people: (N,) who is in each; None: each is somebody of its own.
        fake_people: (M,) the same of the fake ones.
        real_weights: (N,) how often each real one is meant to be there; None: all alike.
        real_kernel: the `mean_kernel` of the real ones, where it is known.
    """
    share = shares_of(real, real_weights)
    cross = float((share @ kernel(real, fake)).mean())
    if real_kernel is None:
        real_kernel = mean_kernel(real, real_people, real_weights)
    return real_kernel + mean_kernel(fake, fake_people) - 2 * cross


def kernel(one: Tensor, two: Tensor) -> Tensor:
    """(x . y / F + 1)^3 of each pair (N, M)."""
    return (one.double() @ two.double().T / one.shape[1] + 1) ** 3


def mean_kernel(features: Tensor, people: People | None = None, weights: Tensor | None = None) -> float:
    """The mean kernel of two different ones of a set, of two people where these are known."""
    share, who = shares_of(features, weights), numbered(people, len(features), features.device)
    features = features.double()  # once, and not for each block of rows
    total = weight = 0.0
    for rows in torch.arange(len(features), device=features.device).split(BLOCK):
        pairs = share[rows, None] * share * (who[rows, None] != who)
        total += float((pairs * kernel(features[rows], features)).sum())
        weight += float(pairs.sum())
    return total / weight


def shares_of(features: Tensor, weights: Tensor | None) -> Tensor:
    """Weights (N,) that add up to 1, in float64."""
    share = features.new_ones(len(features), dtype=torch.double) if weights is None else weights.double()
    return share / share.sum()


def mind(real: Tensor, fake: Tensor, directions: int = DIRECTIONS, seed: int = 0) -> float:
    """The sliced squared Wasserstein distance times 3 F, from 0 on, of as many features (N, F) of each.

    3 F times the mean, over directions u drawn evenly from the unit sphere, of the mean squared difference
    between the sorted projections on u (Berthet et al. 2026, "MIND: Monge Inception distance for generative
    models evaluation", in Inception's features). Its expectation grows as N falls.

    Raises:
        ValueError: the sets are not of one size.
    """
    if len(real) != len(fake):
        raise ValueError(f"{len(real)} and {len(fake)} features: give as many of each")
    return mind_of(Pair(Features(real), Features(fake)), directions, seed)


def mind_of(pair: Pair, directions: int = DIRECTIONS, seed: int = 0) -> float:
    """`mind` of a pair; the projections of each set are found once."""
    one, two = (side.once(sorted_projections, directions, seed) for side in (pair.real, pair.fake))
    return float(3 * pair.real.values.shape[1] * (one - two).square().mean())


def sorted_projections(features: Features, directions: int, seed: int) -> Tensor:
    """The features' sorted projections (directions, N) on directions drawn evenly from the unit sphere."""
    draws = stream(seed, "mind").standard_normal((directions, features.values.shape[1]))
    units = torch.from_numpy(draws / np.linalg.norm(draws, axis=1, keepdims=True)).to(features.values.device)
    return torch.sort(units @ features.values.T).values


def moments_in(features: Features) -> Moments:
    """The moments of a set of features."""
    return moments(features.values)


def kernels_in(features: Features) -> Tensor:
    """The kernel (N, N) between people, 0 within a person."""
    return kernel(features.values, features.values) * features.pairs()


def pairs_in(features: Features) -> Tensor:
    """Which pairs (N, N) are of two people, as ones and zeros."""
    return features.pairs().double()


def mean_kernel_in(features: Features) -> float:
    """The mean kernel of two people's features."""
    return features.sum_of(kernels_in) / features.sum_of(pairs_in)


def kernels_to_real(pair: Pair) -> Tensor:
    """The mean kernel (M,) of each fake feature with the real ones."""
    return kernel(pair.real.values, pair.fake.values).mean(0)


def frechet_of(pair: Pair) -> float:
    """`frechet` of a pair; the moments of each set are found once."""
    return frechet(pair.real.once(moments_in), pair.fake.once(moments_in))


def kernel_distance_of(pair: Pair) -> float:
    """`kernel_distance` of a pair; the kernels of each set are found once."""
    real, fake = (features.once(mean_kernel_in) for features in (pair.real, pair.fake))
    return real + fake - 2 * float(pair.table(kernels_to_real).mean())


def redrawn_kernel_distance(pair: Pair, draws: Redraws) -> np.ndarray:
    """The kernel distance (D,) of people of the fake set who were drawn with replacement."""
    fake = draws.mean_of_pairs(pair.fake.table(kernels_in), pair.fake.table(pairs_in))
    cross = draws.mean(pair.table(kernels_to_real))
    return (pair.real.once(mean_kernel_in) + fake - 2 * cross).numpy()


def kernel_distance_without(pair: Pair, groups: Groups) -> Tensor:
    """The kernel distance (1 + G,) without each group, and without the term of the real images alone."""
    between = groups.real.T @ kernel(pair.real.values, pair.fake.values) @ groups.fake
    within, pairs = (
        groups.fake.T @ table @ groups.fake
        for table in (pair.fake.table(kernels_in), pair.fake.table(pairs_in))
    )
    crossed = torch.outer(groups.real.sum(0), groups.fake.sum(0))
    return groups.means(within, pairs) - 2 * groups.means(between, crossed)


def at_infinity(counts: Sequence[int], values: Sequence[float]) -> float:
    """The value that distances at several N head for: where the line through them over 1 / N meets 0.

    Chong and Forsyth 2020, "Effectively unbiased FID and Inception score and where to find them".
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
