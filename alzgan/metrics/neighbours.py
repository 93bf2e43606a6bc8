"""Metrics of nearest neighbours between two sets of features.

Slices of one person are nearly the same picture. The nearest neighbours of a slice are slices of the same
person, so a radius to the k-th neighbour holds few images of other people, and unseen real people of the
Kaggle set get a precision of only 0.6. If people are given, radii reach to images of other people. The
precision is then 0.84.

Real features are (N, F), fake ones (M, F). People are (N,) or (M,); without them each image counts as another
person. A feature with fewer than k others raises a ValueError.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from alzgan.metrics.record import FIDELITY, FeatureMetric, Question
from alzgan.metrics.sets import Features, Pair, People, numbered, products_of

K = 5  # the radius of a neighbourhood is the distance to the K-th neighbour
REACH = 64  # nearest neighbours of each feature that are kept for radii in parts of a set
BALLS = 30  # of alpha-precision and beta-recall
DISTANCE_BLOCK = 512  # rows of the table of distances that are in memory at a time


class PrecisionRecall(NamedTuple):
    """Precision and recall, both from 0 to 1."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """Density, at least 0, and about 1 for sets of the same kind; coverage, from 0 to 1."""

    density: float
    coverage: float


def precision_recall(
    real: Tensor,
    fake: Tensor,
    k: int = K,
    real_people: People | None = None,
    fake_people: People | None = None,
) -> PrecisionRecall:
    """Precision: the share of generated images near real ones; recall: of real images near generated ones.

    An image is near a set if it lies in the neighbourhood of at least one image of the set (Kynkäänniemi et
    al. 2019, "Improved precision and recall metric for assessing generative models"). Both are from 0 to 1
    and grow with the number of images: compare sets of equal size only.
    """
    pair = Pair(Features(real, real_people), Features(fake, fake_people))
    return PrecisionRecall(precision_of(pair, k), recall_of(pair, k))


def density_coverage(
    real: Tensor, fake: Tensor, k: int = K, real_people: People | None = None
) -> DensityCoverage:
    """Density: in how many real neighbourhoods a generated image lies; coverage: how many have one in them.

    Density is the mean over the generated images, divided by the number k of the neighbour to which a
    neighbourhood reaches. It is about 1 for sets of the same kind. Coverage is the share of real
    neighbourhoods with a generated image, from 0 to 1 (Naeem et al. 2020, "Reliable fidelity and diversity
    metrics for generative models").
    """
    pair = Pair(Features(real, real_people), Features(fake))
    return DensityCoverage(density_of(pair, k), coverage_of(pair, k))


def alpha_precision(real: Tensor, fake: Tensor) -> float:
    """How well generated images are spread around the mean of the real ones, from 0 to 1; higher is better.

    A ball around the real mean that holds a share a of the real images should hold the same share of the
    generated ones, but holds P(a). The value is 1 - 2 ∫ |P(a) - a| da (Alaa et al. 2022, "How faithful is
    your synthetic data? Sample-level metrics for evaluating and auditing generative models"), for features
    without further embedding. The integral is a sum over 30 levels divided by the sum of the levels, 15, so
    that the lowest value is 0; the authors' code divides by 14.5.
    """
    centre = real.double().mean(0)
    one, two = ((side.double() - centre).norm(dim=1) for side in (real, fake))
    level = torch.linspace(0, 1, BALLS, dtype=torch.double, device=one.device)
    held = (two[:, None] <= one.quantile(level)).double().mean(0)
    return float(1 - (held - level).abs().sum() / level.sum())


def beta_recall(real: Tensor, fake: Tensor, real_people: People | None = None) -> float:
    """How evenly generated images cover the real ones, from 0 to 1; higher is better.

    A real image is covered if its nearest generated image is no farther than its nearest real one. R(b) is
    the share of real images that are covered from within a ball of level b around the generated mean. The
    value is 1 - 2 ∫ |R(b) - b| db (Alaa et al. 2022), summed as for alpha precision. As in the authors' code,
    the radius of a ball is a quantile of the distances from the mean of those generated images that are
    nearest to a real one. Two sets of the same kind do not get 1: each covers about half of the other, which
    gives about 0.5.
    """
    return beta_recall_of(Pair(Features(real, real_people), Features(fake)))


def beta_recall_of(pair: Pair) -> float:
    """`beta_recall` of a pair."""
    fake = pair.fake.values
    nearest = pair.table(distances_of).min(0)
    covered = nearest.values <= pair.real.once(radius, 1)
    off = (fake - fake.mean(0)).norm(dim=1)[nearest.indices]
    level = torch.linspace(0, 1, BALLS, dtype=torch.double, device=off.device)
    held = (covered[:, None] & (off[:, None] <= off.quantile(level))).double().mean(0)
    return float(1 - (held - level).abs().sum() / level.sum())


def expected_coverage(real: int, fake: int, k: int = K) -> float:
    """The expected coverage by M independent features from the distribution of the N real ones.

    1 - prod (N - i) / (N + M - i) over i = 1..k (Naeem et al. 2020). Several images of one person are not
    independent, and get another coverage.
    """
    return 1 - math.prod((real - i) / (real + fake - i) for i in range(1, k + 1))


def radius(features: Features, k: int = K) -> Tensor:
    """The distance (N,) of each feature to the k-th nearest one of another person."""
    if features.part_of is None:
        return nearest(features.once(between_others), k)
    parts, place_of_part = features.part_of
    whole, rows = parts.whole, parts.rows[place_of_part]
    near = whole.once(nearest_others)
    # The k-th neighbour in a part is almost always among these, so few rows need a search.
    there = torch.bincount(rows, minlength=len(whole))[near.indices[rows]].cumsum(1)
    place = (there < k).sum(1, keepdim=True)
    found = near.values[rows].gather(1, place.clamp(max=near.values.shape[1] - 1)).squeeze(1)
    far = (place.squeeze(1) == near.values.shape[1]) | found.isinf()
    if far.any():
        found[far] = nearest(whole.once(between_others)[rows[far]][:, rows], k)
    return found


def radii_of(rows: Tensor, features: Tensor, people: People | None = None) -> Tensor:
    """The distance (K,) of some rows (K,) of features (N, F) to the nearest one of another person.

    Blocks of rows are processed one after the other, because all pairs of a million features do not fit into
    memory.

    Raises:
        ValueError: a feature has no other.
    """
    who = numbered(people, len(features), features.device)
    found = []
    for some in rows.split(DISTANCE_BLOCK):
        between = distances(features[some], features)
        found.append(nearest(between.masked_fill_(who[some][:, None] == who, math.inf), 1))
    return torch.cat(found)


@dataclass(frozen=True)
class Neighbours:
    """The nearest neighbours between two sets, in both directions.

    Attributes:
        forward: the distance (N,) of each feature of the first set to the nearest of the second.
        index: the row (N,) of this nearest feature.
        backward: the distance (M,) of each feature of the second set to the nearest of the first.
    """

    forward: Tensor
    index: Tensor
    backward: Tensor

    @classmethod
    def of(cls, one: Tensor, two: Tensor) -> "Neighbours":
        """The neighbours of features (N, F) and (M, F), found in blocks of `DISTANCE_BLOCK` rows."""
        found, backward = [], two.new_full((len(two),), math.inf, dtype=torch.double)
        for some in one.split(DISTANCE_BLOCK):
            between = distances(some, two)
            found.append(between.min(1))
            torch.minimum(backward, between.min(0).values, out=backward)
        return cls(
            torch.cat([each.values for each in found]), torch.cat([each.indices for each in found]), backward
        )


def between_others(features: Features) -> Tensor:
    """Distances (N, N), infinite between features of one person."""
    products = features.products()
    norms = products.diagonal()
    return distances_from(products, norms, norms).masked_fill_(features.pairs() == 0, math.inf)


def nearest_others(features: Features) -> torch.return_types.topk:
    """The distances and indices (N, up to `REACH`) of the nearest features of other people."""
    between = features.once(between_others)
    return between.topk(min(REACH, len(between)), 1, largest=False)


def distances_of(pair: Pair) -> Tensor:
    """The distance (M, N) of each fake feature to each real one."""
    norms = (side.values.square().sum(1) for side in (pair.fake, pair.real))
    return distances_from(pair.table(products_of), *norms)


def distances_from(products: Tensor, one: Tensor, two: Tensor) -> Tensor:
    """Euclidean distances (N, M) from scalar products and the squared norms (N,) and (M,) of both sides."""
    return (one[:, None] + two - 2 * products).clamp_(min=0).sqrt_()


def inside(pair: Pair, k: int = K) -> Tensor:
    """Whether each fake feature is in the neighbourhood of each real one, bool (M, N)."""
    return pair.table(distances_of) < pair.real.once(radius, k)


def holding(pair: Pair, k: int = K) -> Tensor:
    """The number (M,) of real neighbourhoods that hold each fake feature."""
    return pair.by_fake(inside, k).sum(1)


def precision_of(pair: Pair, k: int = K) -> float:
    return float((pair.by_fake(holding, k) > 0).double().mean())


def recall_of(pair: Pair, k: int = K) -> float:
    return precision_of(pair.turned(), k)


def density_of(pair: Pair, k: int = K) -> float:
    return float(pair.by_fake(holding, k).double().mean() / k)


def coverage_of(pair: Pair, k: int = K) -> float:
    return float(pair.by_fake(inside, k).any(0).double().mean())


def nearest(between: Tensor, k: int) -> Tensor:
    """The k-th smallest finite distance (N,) of each row.

    Raises:
        ValueError: a row has fewer than k.
    """
    found = between.topk(min(k, between.shape[1]), 1, largest=False).values.amax(1)
    if k > between.shape[1] or not found.isfinite().all():
        there = int(between.isfinite().sum(1).min())
        raise ValueError(f"a radius reaches to neighbour {k}, but a feature has {there} others")
    return found


def distances(one: Tensor, two: Tensor) -> Tensor:
    """Euclidean distances (N, M) in float64; in float32 small distances would be inexact."""
    return torch.cdist(one.double(), two.double())


PRECISION = FeatureMetric(
    name="precision",
    doc=precision_recall,
    compute=precision_of,
    is_share=True,
    skewed=True,
    decides=FIDELITY,
    headline="precision",
    redrawn=lambda pair, draws: draws.mean((pair.by_fake(holding, K) > 0).double()).numpy(),
)
DIVERSITY = Question(
    name="diversity",
    asks="Are they as varied?",
    good="As varied as unseen people: {told}",
    bad="Less varied than unseen people: {told}{flattery}",
    needs=(PRECISION,),  # noise is varied
    lacking="Varied, but unlike real people, so that variety says little: {told}",
    claim="covers more of",
)
RECALL = FeatureMetric(
    name="recall",
    doc=precision_recall,
    compute=recall_of,
    is_share=True,
    decides=DIVERSITY,
    headline="recall",
    without=lambda pair, groups: groups.covered(pair.turned().by_fake(inside, K)),
)
DENSITY = FeatureMetric(
    name="density",
    doc=density_coverage,
    compute=density_of,
    bounds=(0, math.inf),
    skewed=True,
    redrawn=lambda pair, draws: draws.mean(pair.by_fake(holding, K).double() / K).numpy(),
)
COVERAGE = FeatureMetric(
    name="coverage",
    doc=density_coverage,
    compute=coverage_of,
    is_share=True,
    decides=DIVERSITY,
    without=lambda pair, groups: groups.covered(pair.by_fake(inside, K).T),
)
ALPHA_PRECISION = FeatureMetric(
    name="alpha_precision",
    compute=lambda pair: alpha_precision(pair.real.values, pair.fake.values),
    doc=alpha_precision,
)
BETA_RECALL = FeatureMetric(
    name="beta_recall",
    doc=beta_recall,
    compute=beta_recall_of,
)
METRICS = PRECISION, RECALL, DENSITY, COVERAGE, ALPHA_PRECISION, BETA_RECALL
