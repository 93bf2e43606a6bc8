"""Is the anatomy that of real people: measures of the brain, and how their distributions differ."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from alzgan.evaluation.fidelity import Sets
from alzgan.evaluation.numbers import Number, unseen_of
from alzgan.metrics.anatomy import UNITS, WASSERSTEIN, measures
from alzgan.metrics.record import HELD_OUT

BINS = 32


class Anatomy(NamedTuple):
    """The numbers, and the summary as JSON takes it."""

    numbers: list[Number]
    plain: dict[str, Any]


def anatomy(
    sets: Sets,
    seed: int,
    label: str | None = None,
    measure: Callable[[Tensor], dict[str, Tensor]] = measures,
) -> Anatomy:
    """Wasserstein distances between the samples' and the held-out people's measures, with unseen people's."""
    samples, held_out, pool = (measure(images.pixels) for images in (sets.samples, sets.held_out, sets.pool))
    numbers, plain = [], []
    for name, unit in UNITS.items():
        ours, theirs, seen = (found[name].double().numpy() for found in (samples, held_out, pool))
        unseen = [WASSERSTEIN.compute(theirs, seen[rows]) for rows in sets.groups]
        numbers.append(
            Number(
                metric=WASSERSTEIN,
                space=name,
                extractor="alzgan.metrics.anatomy",
                against=HELD_OUT,
                label=label,
                value=WASSERSTEIN.compute(theirs, ours),
                n=len(ours),
                people=sets.people[HELD_OUT],
                unseen=unseen_of(unseen, WASSERSTEIN, sets.pool.person_count(), sets.widen),
                seed=seed,
            )
        )
        plain.append({"name": name, "unit": unit, **histograms(ours, theirs, seen)})
    return Anatomy(numbers, {"measures": plain})


def histograms(ours: np.ndarray, theirs: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
    """Counts in common bins, and means."""
    sides = {"samples": ours, "train": seen, "held_out": theirs}
    everything = np.concatenate(list(sides.values()))
    edges = np.linspace(everything.min(), max(everything.max(), everything.min() + 1e-6), BINS + 1)
    return {
        "edges": edges.tolist(),
        **{side: np.histogram(values, edges)[0].tolist() for side, values in sides.items()},
        "means": {side: float(values.mean()) for side, values in sides.items()},
    }
