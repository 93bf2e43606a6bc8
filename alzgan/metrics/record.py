"""What a metric is, in one record: verdicts, tables, plots, tags and the report's methods are made from it.

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
    """What the report says of a metric or a method: paragraphs of its docstring, but for its arguments."""
    text = re.split(r"\n\n(?:Args|Attributes|Raises|Returns):", inspect.getdoc(what) or "")[0]
    return " ".join(" ".join(text.replace("`", "").split("\n\n")[first:]).split())


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about samples, and the words of its answers.

    Attributes:
        name: of the question.
        asks: the question itself.
        good: the answer where no number is beyond its limit. `{told}` becomes the number that is farthest
            from what unseen people get, `{all}` how many numbers there are.
        bad: the answer where one is. `{told}` becomes the worst number, `{outside}` how many are beyond
            their limits, `{flattery}` which spaces see nothing wrong.
        needs: metrics of another question. Where one of them is beyond its limit, this one has no answer.
        lacking: what is said then, of the worst of them, `{told}`.
        claim: what the better of two candidates does, before "unseen people".
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
    """All that is said of a metric.

    Attributes:
        name: in `evaluation.json` and TensorBoard's tags.
        compute: the function that gives its value.
        doc: the function whose docstring says what it is and who proposed it; None: that of `compute`.
        stage: of the evaluation that computes it.
        called: in the report; empty: its name.
        better: "lower" or "higher".
        bounds: the least and the largest value.
        is_share: whether it is a share of images, whose law is that of the angle arcsin(sqrt(x)).
        skewed: whether it is a sum over few people, some of whom have most of it: its law is skewed.
        decides: the question that it helps to answer; None: it is only told.
        headline: head of its column in the table of settings; empty: it has none.
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
        """What the report says of it."""
        return told(self.doc or self.compute)

    @property
    def is_distance(self) -> bool:
        """Whether its size is told as a multiple of what unseen people get."""
        return self.better == "lower" and self.bounds[1] == math.inf

    def plain(self) -> dict[str, Any]:
        """What the report is made from, as JSON takes it."""
        return {
            **{name: getattr(self, name) for name in ("words", "stage", "better", "is_distance", "headline")},
            "bounds": [bound if math.isfinite(bound) else None for bound in self.bounds],
            "claim": self.decides.claim if self.decides else None,
        }


@dataclass(frozen=True, kw_only=True)
class FeatureMetric(Metric):
    """A metric of a set of features beside real ones.

    Attributes:
        compute: its value from a `Pair`; None where the feature space has no such number.
        against: the people that it compares with.
        in_inception: its name where the features are those of the Inception network of 2015.
        slow: whether it takes long. It is then computed of all samples, not by class, and of the first groups
            of unseen people only.
        by_n: whether it is also drawn against the number of images, on which its expectation depends.
        redrawn: its values (D,) for people of the fake set who were drawn with replacement; None where it is
            computed of groups that are drawn without.
        without: its values (1 + G,) of all, and of all without each group; None where candidates are not
            compared by it. What all candidates share may be left out.
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
