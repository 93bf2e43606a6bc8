"""The record of a metric, from which verdicts, tables, plots, tags and the report's methods are made.

A metric of one's own is a `FeatureMetric` in another module: ``metrics=[fidelity,module.NAME]``.
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

HELD_OUT, TRAIN = "held-out", "train"  # the people that a number compares with


def told(what: object, first: int = 0) -> str:
    """The report's text on a metric or a method: its docstring from paragraph `first` on, less arguments."""
    text = re.split(r"\n\n(?:Args|Attributes|Raises|Returns):", inspect.getdoc(what) or "")[0]
    return " ".join(" ".join(text.replace("`", "").split("\n\n")[first:]).split())


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about samples, and the texts of its answers.

    Attributes:
        name: of the question.
        asks: the question itself.
        good: the answer if no number is beyond its limit. `{told}` becomes the number farthest from that of
            unseen people, `{all}` the count of numbers.
        bad: the answer if a number is. `{told}` becomes the worst number, `{outside}` the count of numbers
            beyond their limits, `{flattery}` the spaces in which all are within.
        needs: metrics of another question. If one of them is beyond its limit, this question has no answer.
        lacking: the text for that case; `{told}` becomes the worst of these numbers.
        claim: the verb of the better of two candidates, before "unseen people".
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
        name: in `evaluation.json` and TensorBoard's tags.
        compute: the function that computes its value.
        doc: the function whose docstring explains it and names its paper; None: `compute`.
        stage: of the evaluation that computes it.
        called: its name in the report; empty: `name`.
        better: "lower" or "higher".
        bounds: the smallest and the largest value.
        is_share: whether it is a share of images, which is judged on the scale arcsin(sqrt(x)).
        skewed: whether a few people contribute most of it, so that its distribution is skewed.
        decides: the question that it helps to answer; None: it is only shown.
        headline: heading of its column in the table of settings; empty: it has none.
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
        """Its name in the report."""
        return self.called or self.name.replace("_", " ")

    @property
    def method(self) -> str:
        """The report's text on it."""
        return told(self.doc or self.compute)

    @property
    def is_distance(self) -> bool:
        """Whether the report gives it as a multiple of unseen people's value."""
        return self.better == "lower" and self.bounds[1] == math.inf

    def plain(self) -> dict[str, Any]:
        """The part of the record that the report needs, in plain containers."""
        return {
            **{name: getattr(self, name) for name in ("words", "stage", "better", "is_distance", "headline")},
            "bounds": [bound if math.isfinite(bound) else None for bound in self.bounds],
            "claim": self.decides.claim if self.decides else None,
        }


@dataclass(frozen=True, kw_only=True)
class FeatureMetric(Metric):
    """A metric of a set of features beside real ones.

    Attributes:
        compute: its value from a `Pair`; None if the feature space has no such number.
        against: the people that it compares with.
        in_inception: its name in the features of the Inception network of 2015.
        slow: whether it takes long. It is then not computed by class, and only for the first groups of unseen
            people.
        by_n: whether it is also plotted against the number of images, on which its expectation depends.
        redrawn: its values (D,) for draws, with replacement, of people of the fake set; None if it uses
            groups that are drawn without replacement.
        without: its values (1 + G,) of all, and without each group; None if it does not compare candidates.
            A term that all candidates share may be left out.
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
