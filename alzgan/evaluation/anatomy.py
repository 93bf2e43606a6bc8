"""Is the anatomy that of real people: measures of the brain, and how their distributions differ."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from alzgan.evaluation.fidelity import Sets
from alzgan.evaluation.numbers import Number, unseen_of
from alzgan.files import digest_of
from alzgan.metrics.anatomy import UNITS, WASSERSTEIN, measures
from alzgan.metrics.record import HELD_OUT

BINS = 32


class Measured:
    """Measures each image once: images of a class are among all images, and candidates share real ones."""

    def __init__(self):
        self.known: dict[str, Tensor] = {}  # by digest of the image, all its measures

    def __call__(self, pixels: Tensor) -> dict[str, Tensor]:
        """As `alzgan.metrics.anatomy.measures`."""
        digests = [digest_of(image[None]) for image in pixels]
        rows = {digest: row for row, digest in enumerate(digests) if digest not in self.known}
        if rows:
            found = measures(pixels[list(rows.values())])
            self.known |= zip(rows, torch.stack([found[name] for name in UNITS], 1), strict=True)
        every = torch.stack([self.known[digest] for digest in digests])
        return dict(zip(UNITS, every.T, strict=True))


class Anatomy(NamedTuple):
    """The numbers, and the summary as JSON takes it."""

    numbers: list[Number]
    plain: dict[str, Any]


def anatomy(sets: Sets, seed: int, measured: Measured, label: str | None = None) -> Anatomy:
    """Wasserstein distances between the samples' and the held-out people's measures, with unseen people's."""
    samples, held_out, pool = (measured(images.pixels) for images in (sets.samples, sets.held_out, sets.pool))
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
