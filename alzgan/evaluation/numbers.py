"""A number beside the same number for unseen real people, without which it has no meaning."""

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
    """The distribution of the number for one more group, of new people, given the groups that were drawn.

    The number of such a group follows a Pearson type III distribution with the mean, the widened deviation
    and the skewness of the drawn groups. Its tails are those of Student's distribution, because the deviation
    is itself estimated. The degrees of freedom are the number of people (or of groups, if there are fewer)
    less one.

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
        """The value that one more group is below with this chance."""
        reach = t.ppf(chance, self.degrees) * (1 + 1 / self.draws) ** 0.5
        place = self.mean + self.deviation * float(pearson3.ppf(norm.cdf(reach), self.skewness))
        return float(np.sin(np.clip(place, 0, np.pi / 2)) ** 2) if self.is_share else place

    def share_below(self, value: float) -> float:
        """The chance that one more group is below this value: the inverse of `quantile`."""
        place = float(scaled(value)) if self.is_share else value
        chance = pearson3.cdf((place - self.mean) / (self.deviation or 1e-12), self.skewness)
        return float(t.cdf(norm.ppf(chance) / (1 + 1 / self.draws) ** 0.5, self.degrees))


@dataclass(frozen=True)
class Unseen:
    """A number for unseen people in place of the samples.

    Attributes:
        mean: over the drawn groups.
        low: the 2.5 % quantile for new people.
        high: the 97.5 % quantile.
        deviation: the standard deviation for new people.
        draws: number of groups.
        law: the distribution for new people.
    """

    mean: float
    low: float
    high: float
    deviation: float
    draws: int
    law: Law


def unseen_of(
    values: Sequence[float] | np.ndarray,
    metric: Metric,
    people: int,
    widen: float = 1.0,
    n: int | None = None,
    beside: tuple[np.ndarray, float] | None = None,
) -> Unseen:
    """Summarize a number for groups of unseen people.

    Args:
        values: one for each group.
        metric: decides the distribution.
        people: the count of people from whom the groups were drawn.
        widen: factor by which new people vary more than these groups, which share people.
        n: images in each group. The deviation of a share is at least that of n independent images: if the
            share is 1 in every group, a sample with one bad image must not be at fault.
        beside: values of other draws, whose deviation is added, and the factor of that.
    """
    drawn = np.asarray(values, float)
    is_share = metric.is_share
    parts = [(drawn, widen)] if beside is None else [(drawn, widen), beside]

    def deviation_of(scale: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(np.linalg.norm([factor * scale(each).std(ddof=1) for each, factor in parts]))

    places = scaled(drawn) if is_share else drawn
    deviation = deviation_of(scaled if is_share else np.asarray)
    if is_share and n is not None:
        deviation = max(deviation, 0.5 / n**0.5)
    law = Law(
        mean=float(places.mean()),
        deviation=deviation,
        skewness=skewness(places) if metric.skewed and len(drawn) >= MANY else 0.0,
        draws=len(drawn),
        degrees=max(1, min(people, len(drawn)) - 1),
        is_share=is_share,
    )
    low, high = (law.quantile(chance) for chance in ((1 - BAND) / 2, (1 + BAND) / 2))
    return Unseen(float(drawn.mean()), low, high, deviation_of(np.asarray), len(drawn), law)


def skewness(values: np.ndarray) -> float:
    """The third moment (in deviations) of values (D,); 0 where they are all alike."""
    centred = values - values.mean()
    deviation = centred.std()
    return float(((centred / deviation) ** 3).mean()) if deviation > 1e-9 * abs(values.mean()) else 0.0


def scaled(share: np.ndarray | float) -> np.ndarray:
    """Shares on the scale on which their variance does not depend on them, from 0 to pi / 2."""
    return np.arcsin(np.sqrt(np.clip(share, 0, 1)))


def methods(metrics: Sequence[Metric]) -> str:
    """The report's text on the limits of numbers."""
    shares = ", ".join(metric.words for metric in metrics if metric.is_share)
    return (
        f"The interval holds {BAND:.0%} of groups of new people. {told(Law, 1)} The skewness is estimated "
        f"for sums over people with {MANY} draws or more, and is else 0. Shares of images ({shares}) are "
        "judged on the scale arcsin(√x), on which their variance does not depend on the share. A number is "
        f"marked if it lies beyond what 1 in {1 / CHANCE:.0f} of such groups would get"
    )


@dataclass(frozen=True)
class Number:
    """One number of an evaluation.

    Attributes:
        metric: of the number.
        space: of the features, or the measure of anatomy.
        extractor: names of the networks.
        against: "train" or "held-out", the people that it compares with.
        label: the class of the images; None: all classes.
        value: for the samples.
        n: images on each side.
        people: the count of people in the reference.
        unseen: the same number for unseen people.
        seed: of the draws of people.
        limit: 1 in 700 groups of unseen people is beyond it.
        within: whether the value is not beyond the limit.
        ratio: of a distance to that of unseen people, if theirs is clearly above 0.
        percentile: percentage of groups of unseen people below the value.
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
        """The number of deviations by which it is worse than for unseen people."""
        sign = 1 if self.metric.better == "lower" else -1
        return sign * (self.value - self.unseen.mean) / (self.unseen.deviation or 1e-12)

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        metric = {"stage": self.metric.stage, "metric": self.metric.name, "better": self.metric.better}
        return {**vars(self), **metric, "unseen": asdict(self.unseen)}
