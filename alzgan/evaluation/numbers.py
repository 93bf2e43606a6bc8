"""A number with what unseen real people get in its place: without that it says nothing."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy.stats import norm, pearson3, t

from alzgan.metrics.record import Metric, told

CHANCE = 1 / 700  # of unseen people whose number is beyond its limit
MANY = 500  # draws, from which on their skewness is known well enough
BAND = 0.95  # of unseen people whose number lies between low and high


@dataclass(frozen=True)
class Law:
    """The law of one more value, of people drawn anew, given the values of groups that were drawn.

    On its scale the value is Pearson's third type with the mean, deviation and skewness of the draws, and
    with the tails of Student's distribution, for as many degrees of freedom as there are people (or draws,
    if fewer), less one.

    Attributes:
        mean: of the draws, on the scale.
        deviation: of people drawn anew, on the scale.
        skewness: of the draws; 0 where the law is symmetric.
        draws: how many there were.
        degrees: of freedom of the deviation.
        is_share: whether the scale is arcsin(sqrt(x)), on which a share's variance does not depend on it.
    """

    mean: float
    deviation: float
    skewness: float
    draws: int
    degrees: int
    is_share: bool

    def quantile(self, chance: float) -> float:
        """The value that one more is below with this chance."""
        reach = t.ppf(chance, self.degrees) * (1 + 1 / self.draws) ** 0.5
        place = self.mean + self.deviation * float(pearson3.ppf(norm.cdf(reach), self.skewness))
        return float(np.sin(np.clip(place, 0, np.pi / 2)) ** 2) if self.is_share else place

    def share_below(self, value: float) -> float:
        """The chance that one more is below this value: the inverse of `quantile`."""
        place = float(scaled(value)) if self.is_share else value
        chance = pearson3.cdf((place - self.mean) / (self.deviation or 1e-12), self.skewness)
        return float(t.cdf(norm.ppf(chance) / (1 + 1 / self.draws) ** 0.5, self.degrees))


@dataclass(frozen=True)
class Unseen:
    """What unseen people get in the samples' place.

    Attributes:
        mean: over the groups that were drawn.
        low: the 2.5 % quantile for people drawn anew.
        high: the 97.5 % quantile.
        deviation: the standard deviation for people drawn anew.
        draws: how many groups there were.
        law: of people drawn anew.
    """

    mean: float
    low: float
    high: float
    deviation: float
    draws: int
    law: Law


def unseen_of(
    values: Sequence[float],
    metric: Metric,
    people: int,
    widen: float = 1.0,
    n: int | None = None,
    beside: tuple[np.ndarray, float] | None = None,
) -> Unseen:
    """The summary of what groups of unseen people get.

    Args:
        values: one of each group.
        metric: which number it is; that decides its law.
        people: from whom the groups were drawn.
        widen: by how much people drawn anew vary more than these groups, which share people.
        n: images of each group. A share varies at least as much as one of so many independent images: shares
            that are 1 in every group do not make one image less a fault.
        beside: values of other draws, whose deviation comes to that of these, and by what it is multiplied.
    """
    values = np.asarray(values, float)
    is_share = metric.is_share
    parts = [(values, widen), *([] if beside is None else [beside])]

    def deviation_of(scale: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(np.linalg.norm([factor * scale(each).std(ddof=1) for each, factor in parts]))

    places = scaled(values) if is_share else values
    deviation = deviation_of(scaled if is_share else np.asarray)
    if is_share and n is not None:
        deviation = max(deviation, 0.5 / n**0.5)
    law = Law(
        mean=float(places.mean()),
        deviation=deviation,
        skewness=skewness(places) if metric.skewed and len(values) >= MANY else 0.0,
        draws=len(values),
        degrees=max(1, min(people, len(values)) - 1),
        is_share=is_share,
    )
    low, high = (law.quantile(chance) for chance in ((1 - BAND) / 2, (1 + BAND) / 2))
    return Unseen(float(values.mean()), low, high, deviation_of(np.asarray), len(values), law)


def skewness(values: np.ndarray) -> float:
    """The third moment (in deviations) of values (D,); 0 where they are all alike."""
    centred = values - values.mean()
    deviation = centred.std()
    return float(((centred / deviation) ** 3).mean()) if deviation > 1e-9 * abs(values.mean()) else 0.0


def scaled(share: np.ndarray | float) -> np.ndarray:
    """Shares on the scale on which their variance does not depend on them, from 0 to pi / 2."""
    return np.arcsin(np.sqrt(np.clip(share, 0, 1)))


def methods(metrics: Sequence[Metric]) -> str:
    """How a number is held against its limit, for the report."""
    shares = ", ".join(metric.words for metric in metrics if metric.is_share)
    return (
        f"The interval holds {BAND:.0%} of groups of people drawn anew. {told(Law, 1)} The skewness is that "
        f"of sums over people with {MANY} draws or more, else 0. Shares of images ({shares}) are judged on "
        f"the scale arcsin(√x). A number is marked where it lies beyond what 1 in {1 / CHANCE:.0f} of such "
        "groups would get"
    )


@dataclass(frozen=True)
class Number:
    """One number of an evaluation.

    Attributes:
        metric: which.
        space: of the features, or the measure of anatomy.
        extractor: names of the networks.
        against: "train" or "held-out", the people that it compares with.
        label: of the class that it is about; None: of all.
        value: for the samples.
        n: images on each side.
        people: in the reference.
        unseen: the same number for unseen people.
        seed: of the draws of people.
        limit: what 1 in 700 of unseen people is beyond.
        within: whether the value is not.
        ratio: of a distance to what unseen people get, where that is clearly above 0.
        percentile: the share of unseen people whose number is below the value, in %.
    """

    metric: Metric
    space: str
    extractor: str
    against: str
    label: str | None
    value: float
    n: int
    people: int
    unseen: Unseen
    seed: int
    limit: float = field(init=False)
    within: bool = field(init=False)
    ratio: float | None = field(init=False)
    percentile: float = field(init=False)

    def __post_init__(self):
        law = self.unseen.law
        limit = law.quantile(1 - CHANCE if self.metric.better == "lower" else CHANCE)
        distance = self.metric.is_distance and self.unseen.mean > 2 * self.unseen.deviation
        object.__setattr__(self, "limit", limit)
        object.__setattr__(self, "within", self.accepts(self.value))
        object.__setattr__(self, "ratio", self.value / self.unseen.mean if distance else None)
        object.__setattr__(self, "percentile", round(100 * law.share_below(self.value), 2))

    def accepts(self, value: float) -> bool:
        """Whether a value is not beyond the limit."""
        return bool(value <= self.limit if self.metric.better == "lower" else value >= self.limit)

    def badness(self) -> float:
        """How many deviations it is worse than what unseen people get."""
        sign = 1 if self.metric.better == "lower" else -1
        return sign * (self.value - self.unseen.mean) / (self.unseen.deviation or 1e-12)

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        metric = {"stage": self.metric.stage, "metric": self.metric.name, "better": self.metric.better}
        return {**vars(self), **metric, "unseen": asdict(self.unseen)}
