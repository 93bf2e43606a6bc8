"""How often each class is shown: its share of an epoch's images."""

from collections.abc import Mapping, Sequence

import numpy as np

from alzgan.errors import UserError
from alzgan.text import numbers_by_name, printable

Sampling = str | Mapping[str, float]  # "as_is", "balanced", or a weight for each class


def class_weights(sampling: Sampling, classes: Sequence[str]) -> list[float] | None:
    """The weight of each class; None to show each image once an epoch.

    Args:
        sampling: "as_is"; "balanced", the same weight for all; or the weight of every class by name, also as
            a text: {"AD": 1, "CN": 2}. A weight of 0 leaves the class out.
        classes: their names.

    Raises:
        UserError: an unknown word or class; a class without a weight; a weight that is not a number from 0
            on; all weights 0.
    """
    if sampling == "as_is":
        return None
    if sampling == "balanced":
        return [1.0] * len(classes)
    names = ", ".join(map(printable, classes))
    if isinstance(sampling, str):
        sampling = numbers_by_name(sampling) or sampling
    if not isinstance(sampling, Mapping):
        raise UserError(
            f"data.sampling={sampling} must be as_is, balanced or {{NAME: WEIGHT, ...}} with a weight for "
            f"each of {names}"
        )
    weight_of = {str(name): weight for name, weight in sampling.items()}  # YAML reads 1 as a number
    if unknown := [name for name in weight_of if name not in classes]:
        raise UserError(f"data.sampling: there is no class {printable(unknown[0])}, only {names}")
    if missing := [name for name in classes if name not in weight_of]:
        raise UserError(f"data.sampling: class {printable(missing[0])} has no weight; 0 would leave it out")
    for name, weight in weight_of.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < np.inf:
            raise UserError(f"data.sampling: weight {weight} of {printable(name)} must be a number from 0 on")
    if not any(weight_of.values()):
        raise UserError("data.sampling: all weights are 0; give at least one class a weight")
    return [float(weight_of[name]) for name in classes]
