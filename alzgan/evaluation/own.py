"""Metrics and feature spaces of one's own, by the dotted names that a module has for them."""

import importlib
from typing import Any

from alzgan.errors import UserError
from alzgan.metrics.features import FeatureExtractor
from alzgan.metrics.record import FeatureMetric
from alzgan.text import printable

ASKED_OF_A_SPACE = ("name", "space", "method", "num_features", "forward")


def is_own(name: str) -> bool:
    """Whether a name is one within a module; that of a network with a file is none."""
    return "." in name and ":" not in name


def own_metric(name: str) -> FeatureMetric:
    """The record of this name; UserError where it is none."""
    found = named("metrics", name)
    if not isinstance(found, FeatureMetric):
        raise UserError(f"metrics={printable(name)} is no alzgan.metrics.record.FeatureMetric")
    return found


def own_space(name: str) -> list[FeatureExtractor]:
    """The extractor that the class or function of this name makes; UserError where it is none."""
    made = named("features", name)()
    lacking = [each for each in ASKED_OF_A_SPACE if not hasattr(made, each)]
    if lacking or not isinstance(made, FeatureExtractor):
        what = f"has no {lacking[0]}" if lacking else "is no extractor"
        raise UserError(f"features={printable(name)} {what}, see alzgan.metrics.features.FeatureExtractor")
    return [made]


def named(setting: str, name: str) -> Any:
    """What a module has by this name.

    Raises:
        UserError: there is no such module, or it has no such name.
    """
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise UserError(f"{setting}={printable(name)}: {error}; is its folder in PYTHONPATH?") from None
