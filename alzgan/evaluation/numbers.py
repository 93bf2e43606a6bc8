"""A number with what unseen real people get in its place: without that it says nothing."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy.stats import f, t

DISTANCES = ("frechet", "mind", "kernel_distance", "wasserstein")
# A sum of squares over few people: its law leans to the right, as the square of a normal number does.
SKEWED = ("kernel_distance",)
CHANCE = 1 / 700  # of unseen people whose number is beyond its limit: three deviations, were these known


@dataclass(frozen=True)
class Unseen:
    """What unseen people get in the samples' place, over draws of them.

    Attributes:
        mean: over the draws.
        low: the 2.5 % quantile for people drawn anew.
        high: the 97.5 % quantile.
        deviation: the standard deviation for people drawn anew.
        draws: how many there were.
    """

    mean: float
    low: float
    high: float
    deviation: float
    draws: int

    @property
    def spread(self) -> float:
        """The deviation of one more draw from the mean of these."""
        return self.deviation * (1 + 1 / self.draws) ** 0.5


@dataclass(frozen=True)
class Number:
    """One number of an evaluation.

    Attributes:
        stage: what it was computed for: "fidelity", "copies", "anatomy".
        metric: its name in `alzgan.metrics`.
        space: of the features, or the measure of anatomy.
        extractor: names of the networks.
        against: "train" or "held-out", the people that it compares with.
        label: of the class that it is about; None: of all.
        value: for the samples.
        n: images on each side.
        people: in the reference.
        unseen: the same number for unseen people.
        better: "lower" or "higher".
        seed: of the draws of people.
        limit: what 1 in 700 of unseen people is beyond.
        within: whether the value is not.
        ratio: of a distance to what unseen people get, where that is clearly above 0.
        percentile: the share of unseen people whose number is below the value, in %.
    """

    stage: str
    metric: str
    space: str
    extractor: str
    against: str
    label: str | None
    value: float
    n: int
    people: int
    unseen: Unseen
    better: str
    seed: int
    limit: float = field(init=False)
    within: bool = field(init=False)
    ratio: float | None = field(init=False)
    percentile: float = field(init=False)

    def __post_init__(self):
        sign = 1 if self.better == "lower" else -1
        spread = self.unseen.spread
        limit = self.unseen.mean + sign * self.deviations(CHANCE) * spread
        distance = self.metric in DISTANCES and self.unseen.mean > 2 * self.unseen.deviation
        place = (self.value - self.unseen.mean) / (spread or 1e-12)
        object.__setattr__(self, "limit", float(limit))
        object.__setattr__(self, "within", bool(sign * self.value <= sign * limit))
        object.__setattr__(self, "ratio", self.value / self.unseen.mean if distance else None)
        object.__setattr__(self, "percentile", round(100 * self.share_below(place), 2))

    def deviations(self, chance: float) -> float:
        """How many deviations from the mean are passed with this chance, these being known from draws alone.

        Of a skewed number as by the square of a normal one: of all sums of squares the one with the longest
        tail (Gretton et al. 2012, "A kernel two-sample test", theorem 12, has their law).
        """
        degrees = self.unseen.draws - 1
        if self.metric in SKEWED:
            return float((f.isf(chance, 1, degrees) - 1) / 2**0.5)
        return float(t.isf(chance, degrees))

    def share_below(self, place: float) -> float:
        """The chance of a value so many deviations above the mean, or below that."""
        degrees = self.unseen.draws - 1
        return float(
            f.cdf(1 + 2**0.5 * place, 1, degrees) if self.metric in SKEWED else t.cdf(place, degrees)
        )

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def unseen_of(
    values: Sequence[float], widen: float = 1.0, grain: float = 0.0, most: float = np.inf
) -> Unseen:
    """The summary of what draws of unseen people get.

    Args:
        values: one of each draw.
        widen: by how much people drawn anew vary more than these draws, which share people.
        grain: the smallest step of the number, which the deviation is not below: shares that are 1 in every
            draw do not make one image less a fault.
        most: the largest value that the number can have.
    """
    mean = float(np.mean(values))
    wide = mean + widen * (np.asarray(values) - mean)
    low, high = np.quantile(wide, (0.025, 0.975)).clip(max=most)
    return Unseen(mean, float(low), float(high), max(float(wide.std(ddof=1)), grain), len(values))
