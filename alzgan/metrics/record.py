"""The record of a metric. Verdicts, tables, plots, tags and the report's methods are made from records.

A user's metric is a `FeatureMetric` in the user's module: ``metrics=[fidelity,module.NAME]``.
"""

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from alzgan.errors import one_of
from alzgan.metrics.resampling import Groups, Redraws
from alzgan.metrics.sets import Pair

HELD_OUT, TRAIN = "held-out", "train"  # the real people that samples are compared with


def told(what: object, first: int = 0) -> str:
    """The report's text on an object: its docstring from paragraph `first` on, up to its arguments."""
    text = re.split(r"\n\n(?:Args|Attributes|Raises|Returns):", inspect.getdoc(what) or "")[0]
    return " ".join(" ".join(text.replace("`", "").split("\n\n")[first:]).split())


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about samples, with the texts of its answers.

    Attributes:
        name: a short name.
        asks: the question itself.
        good: the answer if no number is beyond its limit. `{told}` becomes the number farthest from that of
            unseen people, `{all}` the count of numbers.
        bad: the answer if a number is beyond its limit. `{told}` becomes the worst number, `{outside}` the
            count of numbers beyond their limits, `{flattery}` the spaces without such a number.
        needs: metrics of another question. If one of them is beyond its limit, the answer is "cannot tell".
        lacking: the text of that answer; `{told}` becomes the worst of these numbers.
        claim: the verb between the better of two candidates and "unseen people".
    """

    name: str
    asks: str
    good: str = "As unseen people are; farthest {told}"
    bad: str = "Not as unseen people are: {told}{flattery}"
    needs: "tuple[Metric, ...]" = ()
    lacking: str = ""
    claim: str = "is closer to"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric.

    Attributes:
        name: the name in `evaluation.json` and TensorBoard's tags.
        compute: the function that computes the value.
        doc: the function whose docstring explains the metric and names its paper; None: `compute`.
        stage: the stage of an evaluation that computes the metric.
        called: the name in the report; empty: `name`.
        better: "lower" or "higher".
        bounds: the smallest and the largest value.
        is_share: whether the value is a share of images, which is judged on the scale arcsin(sqrt(x)).
        skewed: whether a few people contribute most of the value, so that its distribution is skewed.
        decides: the question that the metric helps to answer; None: the report only shows it.
        headline: the heading of its column in the table of settings; empty: no column.
    """

    name: str
    compute: Callable[..., Any]
    stage: str
    doc: Callable[..., Any] | None = None
    called: str = ""
    better: str = "higher"
    bounds: tuple[float, float] = (0, 1)
    is_share: bool = False
    skewed: bool = False
    decides: Question | None = None
    headline: str = ""

    def __post_init__(self):
        one_of(("lower", "higher"), better=self.better)

    @property
    def words(self) -> str:
        """The name in the report."""
        return self.called or self.name.replace("_", " ")

    @property
    def method(self) -> str:
        """The report's text on the method."""
        return told(self.doc or self.compute)

    @property
    def is_distance(self) -> bool:
        """Whether the report shows the value as a multiple of that of unseen people."""
        return self.better == "lower" and self.bounds[1] == math.inf

    def plain(self) -> dict[str, Any]:
        """The entry in `evaluation.json`, from which the report is made."""
        return {
            **{name: getattr(self, name) for name in ("words", "stage", "better", "is_distance", "headline")},
            "bounds": [bound if math.isfinite(bound) else None for bound in self.bounds],
            "claim": self.decides.claim if self.decides else None,
        }


@dataclass(frozen=True, kw_only=True)
class FeatureMetric(Metric):
    """A metric of a set of features beside real ones.

    Attributes:
        compute: the function of a `Pair` that computes the value; it returns None if the feature space cannot
            give one.
        against: the real people that samples are compared with.
        in_inception: the name for features of the Inception network of 2015.
        slow: whether the computation takes long. A slow metric is not computed by class, and only for the
            first groups of unseen people.
        by_n: whether the expectation depends on the number of images; the value is then plotted against it.
        redrawn: the function that computes the values (D,) for draws of people of the fake set with
            replacement; None: groups are drawn without replacement.
        without: the function that computes the values (1 + G,) of all images, then without each group; it may
            leave out a term that all candidates share. None: candidates are not compared by this metric.
    """

    stage: str = field(default="fidelity", init=False)
    against: tuple[str, ...] = (HELD_OUT, TRAIN)
    in_inception: str = ""
    slow: bool = False
    by_n: bool = False
    redrawn: Callable[[Pair, Redraws], np.ndarray] | None = None
    without: Callable[[Pair, Groups], Tensor] | None = None


FIDELITY = Question(
    name="fidelity",
    asks="Do they look like real scans?",
    good="As close to unseen people as other real people are; farthest {told}",
    bad="Not as close to unseen people as other real people are: {told}{flattery}",
)
