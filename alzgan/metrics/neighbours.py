"""What nearest neighbours tell of two sets of features (N, F), where features have people.

Slices of one person are nearly one picture. A radius to the k-th nearest neighbour is then a distance to the
same person's other slices, and few images of others fall within it: on the Kaggle set unseen real people get
a precision of 0.6. So wherever people are given, radii reach to other people's images alone, and it is 0.84.

Real features are (N, F), fake ones (M, F). People are (N,) or (M,), who is in each; without them each image
is somebody of its own. Where a radius finds no k others, there is a ValueError.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from alzgan.metrics.pairs import People, numbered
from alzgan.metrics.record import FIDELITY, FeatureMetric, Question
from alzgan.metrics.sets import Features, Pair

K = 5  # the neighbour that makes a radius
LEVELS = 30  # balls of alpha-precision and beta-recall
BLOCK = 512  # features whose distances to all others are held at a time


class PrecisionRecall(NamedTuple):
    """Both from 0 to 1."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """Density from 0 on, about 1 for one law; coverage from 0 to 1."""

    density: float
    coverage: float


def precision_recall(
    real: Tensor,
    fake: Tensor,
    k: int = K,
    real_people: People | None = None,
    fake_people: People | None = None,
) -> PrecisionRecall:
    """The share of fake features among the real ones, and of real ones among the fake.

    One is among the others where it is nearer to one of them than that one's k-th nearest neighbour
    (Kynkäänniemi et al. 2019, "Improved precision and recall metric for assessing generative models"). Both
    grow with N: compare at equal N.
    """
    pair = Pair(Features(real, real_people), Features(fake, fake_people))
    return PrecisionRecall(precision_of(pair, k), recall_of(pair, k))


def density_coverage(
    real: Tensor, fake: Tensor, k: int = K, real_people: People | None = None
) -> DensityCoverage:
    """How many real neighbourhoods hold a fake feature, over k; and the share of them that hold any.

    A neighbourhood reaches to the k-th nearest real feature (Naeem et al. 2020, "Reliable fidelity and
    diversity metrics for generative models"). `expected_coverage` says what coverage one law gets.
    """
    pair = Pair(Features(real, real_people), Features(fake))
    return DensityCoverage(density_of(pair, k), coverage_of(pair, k))


def alpha_precision(real: Tensor, fake: Tensor) -> float:
    """How well the fake features fill the real ones' balls, from 0 to 1; 1 where each holds its share.

    The ball of level a, around the real mean, holds the share a of the real features; of the fake ones it
    holds P(a). 1 - 2 integral |P(a) - a| da (Alaa et al. 2022, "How faithful is your synthetic data?
    Sample-level metrics for evaluating and auditing generative models"), in the features as they are. The
    integral is a sum over the levels divided by the levels' sum, 15 for 30 of them, so that the worst value
    is 0; their code divides by 14.5.
    """
    centre = real.double().mean(0)
    one, two = ((features.double() - centre).norm(dim=1) for features in (real, fake))
    level = torch.linspace(0, 1, LEVELS, dtype=torch.double, device=real.device)
    held = (two[:, None] <= one.quantile(level)).double().mean(0)
    return float(1 - (held - level).abs().sum() / level.sum())


def beta_recall(real: Tensor, fake: Tensor, real_people: People | None = None) -> float:
    """How evenly the fake features' balls cover the real ones, from 0 to 1.

    A real feature is covered where its nearest fake one is no farther than its nearest other real one. The
    share of real features that are covered by fake ones of the ball of level b, around the fake mean, is
    R(b): 1 - 2 integral |R(b) - b| db (Alaa et al. 2022, with the ball's radius as their code has it: a
    quantile of how far the fake ones that are nearest to real ones lie from the mean; the sum is divided as
    in `alpha_precision`). Two sets of one law do not get 1: each covers about half of the other, which gives
    about 0.5.
    """
    return beta_recall_of(Pair(Features(real, real_people), Features(fake)))


def beta_recall_of(pair: Pair) -> float:
    """`beta_recall` of a pair."""
    nearest, fake = pair.table(distances_of).min(1), pair.fake.values
    covered = nearest.values <= pair.real.once(radius, 1)
    off_centre = (fake - fake.mean(0)).norm(dim=1)[nearest.indices]
    level = torch.linspace(0, 1, LEVELS, dtype=torch.double, device=fake.device)
    held = (covered[:, None] & (off_centre[:, None] <= off_centre.quantile(level))).double().mean(0)
    return float(1 - (held - level).abs().sum() / level.sum())


def expected_coverage(real: int, fake: int, k: int = K) -> float:
    """The coverage that M independent features of the law of N real ones get.

    1 - prod (N - i) / (N + M - i) over i = 1..k (Naeem et al. 2020). Where images have people it is not what
    unseen people get.
    """
    return 1 - math.prod((real - i) / (real + fake - i) for i in range(1, k + 1))


def radius(features: Features, k: int = K) -> Tensor:
    """The distance (N,) of each feature to its k-th nearest other, or other person's."""
    return nearest(features.table(between_others), k)


def radii_of(rows: Tensor, features: Tensor, people: People | None = None) -> Tensor:
    """The distance (K,) of some features to their nearest other, or other person's.

    All pairs of a million features do not fit into memory; those of some rows do, a block at a time.

    Args:
        rows: (K,) of the features.
        features: (N, F).
        people: (N,) who is in each.

    Raises:
        ValueError: one has no other.
    """
    who = numbered(people, len(features), features.device)
    found = []
    for some in rows.split(BLOCK):
        between = distances(features[some], features)
        found.append(nearest(between.masked_fill_(who[some][:, None] == who, math.inf), 1))
    return torch.cat(found)


class Neighbours(NamedTuple):
    """Nearest neighbours between two sets, from either side.

    Attributes:
        forward: the distance (N,) of the first set's features to the nearest of the second set.
        index: (N,) which one that is.
        backward: the distance (M,) of the second set's features to the nearest of the first set.
    """

    forward: Tensor
    index: Tensor
    backward: Tensor

    @classmethod
    def of(cls, one: Tensor, two: Tensor) -> "Neighbours":
        """Of features (N, F) and (M, F), some rows at a time: memory does not grow with N times M."""
        found, backward = [], two.new_full((len(two),), math.inf, dtype=torch.double)
        for some in one.split(BLOCK):
            between = distances(some, two)
            found.append(between.min(1))
            torch.minimum(backward, between.min(0).values, out=backward)
        return cls(
            torch.cat([each.values for each in found]), torch.cat([each.indices for each in found]), backward
        )


def between_others(features: Features) -> Tensor:
    """Distances (N, N), infinite to oneself, or to one's own person's features."""
    return distances(features.values, features.values).masked_fill_(~features.pairs(), math.inf)


def distances_of(pair: Pair) -> Tensor:
    """The distances (N, M) of each real feature to each fake one."""
    return distances(pair.real.values, pair.fake.values)


def near_real(pair: Pair, k: int = K) -> Tensor:
    """Which fake features are in which real one's neighbourhood, (N, M)."""
    return pair.table(distances_of) < pair.real.once(radius, k)[:, None]


def near_fake(pair: Pair, k: int = K) -> Tensor:
    """Which real features are in which fake one's neighbourhood, (N, M)."""
    return pair.table(distances_of) < pair.fake.once(radius, k)


def precision_of(pair: Pair, k: int = K) -> float:
    return share(pair.once(near_real, k).any(0))


def recall_of(pair: Pair, k: int = K) -> float:
    return share(pair.once(near_fake, k).any(1))


def density_of(pair: Pair, k: int = K) -> float:
    return float(pair.once(near_real, k).double().sum(0).mean() / k)


def coverage_of(pair: Pair, k: int = K) -> float:
    return share(pair.once(near_real, k).any(1))


def share(there: Tensor) -> float:
    """The share of images that something is true of."""
    return float(there.double().mean())


def nearest(between: Tensor, k: int) -> Tensor:
    """The k-th smallest finite distance (N,) of each row.

    Raises:
        ValueError: there are not so many.
    """
    found = between.topk(min(k, between.shape[1]), 1, largest=False).values.amax(1)
    if k > between.shape[1] or not found.isfinite().all():
        there = int(between.isfinite().sum(1).min())
        raise ValueError(f"a radius reaches to neighbour {k}, but a feature has {there} others")
    return found


def distances(one: Tensor, two: Tensor) -> Tensor:
    """Euclidean distances (N, M), in float64: the fast way through products loses digits of near ones."""
    return torch.cdist(one.double(), two.double())


PRECISION = FeatureMetric(
    name="precision",
    doc=precision_recall,
    compute=precision_of,
    is_share=True,
    skewed=True,
    decides=FIDELITY,
    headline="precision",
    redrawn=lambda pair, draws: draws.mean(pair.once(near_real, K).any(0).double()).numpy(),
)
DIVERSITY = Question(
    name="diversity",
    asks="Are they as varied?",
    good="As varied as unseen people: yes, {told}",
    bad="As varied as unseen people: no, {told}{flattery}",
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
    without=lambda pair, groups: groups.covered(pair.once(near_fake, K)),
)
DENSITY = FeatureMetric(
    name="density",
    doc=density_coverage,
    compute=density_of,
    bounds=(0, math.inf),
    skewed=True,
    redrawn=lambda pair, draws: draws.mean(pair.once(near_real, K).double().sum(0) / K).numpy(),
)
COVERAGE = FeatureMetric(
    name="coverage",
    doc=density_coverage,
    compute=coverage_of,
    is_share=True,
    decides=DIVERSITY,
    without=lambda pair, groups: groups.covered(pair.once(near_real, K)),
)
ALPHA_PRECISION = FeatureMetric(
    name="alpha_precision",
    doc=alpha_precision,
    compute=lambda pair: alpha_precision(pair.real.values, pair.fake.values),
)
BETA_RECALL = FeatureMetric(
    name="beta_recall",
    doc=beta_recall,
    compute=beta_recall_of,
)
METRICS = PRECISION, RECALL, DENSITY, COVERAGE, ALPHA_PRECISION, BETA_RECALL
