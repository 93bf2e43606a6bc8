"""The stage anatomy: distances between distributions of measures of the brain."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from alzgan.evaluation.fidelity import Sets
from alzgan.evaluation.numbers import Number, unseen_of
from alzgan.evaluation.reference import OncePerImage
from alzgan.metrics.anatomy import UNITS, WASSERSTEIN, measures
from alzgan.metrics.record import HELD_OUT

BINS = 32


class Measured:
    """`alzgan.metrics.anatomy.measures`, computed once for each image."""

    def __init__(self):
        self.rows = OncePerImage(lambda pixels: torch.stack(list(measures(pixels).values()), 1))

    def __call__(self, pixels: Tensor) -> dict[str, Tensor]:
        """The measures (N,) by name of images uint8 (N, C, H, W)."""
        return dict(zip(UNITS, self.rows(pixels).T, strict=True))


class Anatomy(NamedTuple):
    """The numbers of the stage, and a summary in plain containers for `evaluation.json`."""

    numbers: list[Number]
    summary: dict[str, Any]


def anatomy(sets: Sets, seed: int, measured: Measured, label: str | None = None) -> Anatomy:
    """Wasserstein distances of the samples' measures from those of held-out people, one for each measure."""
    samples, held_out, pool = (measured(images.pixels) for images in (sets.samples, sets.held_out, sets.pool))
    numbers, summary = [], []
    for name, unit in UNITS.items():
        ours, theirs, seen = (found[name].numpy() for found in (samples, held_out, pool))
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
        summary.append({"name": name, "unit": unit, **histograms(ours, theirs, seen)})
    return Anatomy(numbers, {"measures": summary})


def histograms(ours: np.ndarray, theirs: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
    """Histograms of samples, training and held-out people in common bins, and their means."""
    sides = {"samples": ours, "train": seen, "held_out": theirs}
    everything = np.concatenate(list(sides.values()))
    edges = np.linspace(everything.min(), max(everything.max(), everything.min() + 1e-6), BINS + 1)
    return {
        "edges": edges.tolist(),
        **{side: np.histogram(values, edges)[0].tolist() for side, values in sides.items()},
        "means": {side: float(values.mean()) for side, values in sides.items()},
    }
