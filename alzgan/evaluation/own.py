"""The user's own metrics and feature spaces, found by dotted names such as `module.NAME`."""

from alzgan.errors import UserError
from alzgan.metrics.features import FeatureExtractor
from alzgan.metrics.record import FeatureMetric
from alzgan.runs.signatures import locate
from alzgan.text import printable

ASKED_OF_A_SPACE = ("name", "space", "method", "num_features")


def is_own(name: str) -> bool:
    """Whether a name is a dotted name in a module; NETWORK:FILE is not."""
    return "." in name and ":" not in name


def own_metric(name: str) -> FeatureMetric:
    """The metric of this name; a UserError if it is not a `FeatureMetric`."""
    found = locate("metrics", name)
    if not isinstance(found, FeatureMetric):
        raise UserError(f"metrics={printable(name)} is not an alzgan.metrics.record.FeatureMetric")
    return found


def own_space(name: str) -> list[FeatureExtractor]:
    """The extractor that the class or function of this name makes; a UserError if it is not an extractor."""
    made = locate("features", name)()
    lacking = [each for each in ASKED_OF_A_SPACE if not hasattr(made, each)]
    if lacking or not isinstance(made, FeatureExtractor):
        what = f"has no {lacking[0]}" if lacking else "is not an extractor"
        raise UserError(f"features={printable(name)} {what}, see alzgan.metrics.features.FeatureExtractor")
    return [made]
