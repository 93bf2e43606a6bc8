"""Each number of the samples beside the same number of unseen real people, and the limit between them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import norm, pearson3, skew, t

from alzgan.metrics.record import Metric, told

CHANCE = 1 / 700  # that the number of a group of unseen people is beyond its limit
MANY = 500  # draws; fewer do not give a reliable skewness
BAND = 0.95  # of groups of unseen people have their number between low and high


@dataclass(frozen=True)
class Law:
    """The distribution of the number for one more group, of new people, given the groups that were drawn.

    The number of such a group follows a Pearson type III distribution with the mean, the widened deviation
    and the skewness of the drawn groups. Its tails are those of Student's distribution, because the deviation
    is itself estimated. The degrees of freedom are the number of people (or of groups, if there are fewer)
    less one.

    Attributes:
        mean: the mean of the drawn groups, on the scale.
        deviation: the standard deviation for new people, on the scale.
        skewness: the skewness of the drawn groups; 0 for a symmetric law.
        draws: the number of groups.
        degrees: the degrees of freedom of the deviation.
        is_share: whether the scale is arcsin(sqrt(x)), on which the variance of a share x does not depend on
            x. Any other number is its own scale.
    """

    mean: float
    deviation: float
    skewness: float
    draws: int
    degrees: int
    is_share: bool

    def quantile(self, chance: float) -> float:
        """The value that one more group stays below with this chance."""
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
        mean: the mean over the drawn groups.
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
        people: the number of people from whom the groups were drawn.
        widen: the deviation for new people over that of these groups, which share people.
        n: images in each group. The deviation of a share is at least that of n independent images. Otherwise
            one bad image would be beyond the limit if the share is 1 in every group.
        beside: values of other draws, whose variance is added, and the factor of their deviation.
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
    """The skewness of values (D,); 0 if all are equal."""
    return float(skew(values)) if values.std() > 1e-9 * abs(values.mean()) else 0.0


def scaled(share: np.ndarray | float) -> np.ndarray:
    """arcsin(sqrt(x)) of shares x, from 0 to pi / 2; its variance does not depend on the share."""
    return np.arcsin(np.sqrt(np.clip(share, 0, 1)))


def methods(metrics: Sequence[Metric]) -> str:
    """The report's text on the limits of numbers."""
    shares = ", ".join(metric.words for metric in metrics if metric.is_share)
    return (
        f"The interval holds {BAND:.0%} of groups of new people. {told(Law, 1)} The skewness is estimated "
        f"for sums over people with {MANY} draws or more; otherwise it is 0. Shares of images ({shares}) are "
        "judged on the scale arcsin(√x), on which their variance does not depend on the share. A number is "
        f"marked if it lies beyond what 1 in {1 / CHANCE:.0f} of such groups would get"
    )


@dataclass(frozen=True)
class Number:
    """One number of the samples, with that of unseen people.

    Attributes:
        metric: the metric.
        space: the feature space, or the measure of the brain.
        extractor: the names of the networks.
        against: "train" or "held-out", the real people that the samples are compared with.
        label: the class of the images; None: all classes.
        value: the value for the samples.
        n: the number of images on each side.
        people: the number of real people that the samples are compared with.
        unseen: the same number of unseen people.
        seed: the seed of the draws of people.
        trained: whether the discriminator was trained on the space, see `alzgan.metrics.trained`. Then the
            number decides nothing.
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
    trained: bool = False

    @cached_property
    def limit(self) -> float:
        """The value beyond which 1 in 700 groups of unseen people lies."""
        return self.unseen.law.quantile(1 - CHANCE if self.metric.better == "lower" else CHANCE)

    @property
    def within(self) -> bool:
        """Whether the value is not beyond the limit."""
        return self.accepts(self.value)

    @property
    def ratio(self) -> float | None:
        """A distance as a multiple of that of unseen people; None if theirs is not clearly above 0."""
        clear = self.metric.is_distance and self.unseen.mean > 2 * self.unseen.deviation
        return self.value / self.unseen.mean if clear else None

    def accepts(self, value: float) -> bool:
        """Whether a value is not beyond the limit."""
        return bool(value <= self.limit if self.metric.better == "lower" else value >= self.limit)

    def badness(self) -> float:
        """The number of deviations by which the value is worse than the mean of unseen people."""
        sign = 1 if self.metric.better == "lower" else -1
        return sign * (self.value - self.unseen.mean) / (self.unseen.deviation or 1e-12)

    def plain(self) -> dict[str, Any]:
        """The number's entry in `evaluation.json`; "percentile" is that of the value among unseen people."""
        return {
            **vars(self),
            "stage": self.metric.stage,
            "metric": self.metric.name,
            "better": self.metric.better,
            "unseen": asdict(self.unseen),
            "limit": self.limit,
            "within": self.within,
            "ratio": self.ratio,
            "percentile": round(100 * self.unseen.law.share_below(self.value), 2),
        }
