"""What a slice is labelled with besides its class: its place in the scan, or any number that a table has."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alzgan.errors import UserError
from alzgan.images.folder import ImageFile
from alzgan.people.subjects import Subjects
from alzgan.text import printable

TOGETHER = 5  # people between two quantiles, at least
QUANTILES = 33  # of a number over the images, that its law can be drawn from where the data is not


@dataclass(frozen=True)
class Conditions:
    """Numbers of each image.

    Attributes:
        names: of the m conditions.
        values: (N, m) in their own units.
        low: (m,) the least over the images trained on, which becomes -1.
        high: (m,) the greatest, which becomes 1.
    """

    names: list[str]
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def scaled(self) -> np.ndarray:
        """The values (N, m) as the networks get them, float32."""
        return (2 * (self.values - self.low) / (self.high - self.low) - 1).astype(np.float32)

    def quantiles(self, rows: np.ndarray, people: int) -> dict[str, list[float]]:
        """Evenly spaced quantiles of each number over some of the images, from the least to the greatest.

        Of few people, between so few of them that each has `TOGETHER` people more than the one before: 33
        quantiles of an age, say, would be the ages of all.
        """
        steps = np.linspace(0, 1, QUANTILES)
        known = np.linspace(0, 1, min(QUANTILES, max(2, people // TOGETHER + 1)))
        table = np.quantile(self.values[rows], known, axis=0)
        return {
            name: np.interp(steps, known, table[:, index]).tolist() for index, name in enumerate(self.names)
        }


def conditions_of(
    names: Sequence[str], files: Sequence[ImageFile], subjects: Subjects, trained_on: np.ndarray
) -> Conditions:
    """The numbers of the files.

    Args:
        names: "slice", the place within the scan, or a column of the table that says who is who.
        files: N slices.
        subjects: who is in them.
        trained_on: rows of the images in train.

    Raises:
        UserError: a number is unknown, or the same for all images in train.
    """
    columns = [column_of(name, files, subjects) for name in names]
    values = np.stack(columns, 1) if columns else np.empty((len(files), 0))
    low, high = values[trained_on].min(0), values[trained_on].max(0)
    for name, least, most in zip(names, low, high, strict=True):
        if least == most:
            raise UserError(
                f"data.conditions: {printable(name)} is {least:g} in every image to train on: leave it out"
            )
    return Conditions(list(names), values, low, high)


def column_of(name: str, files: Sequence[ImageFile], subjects: Subjects) -> np.ndarray:
    """One number of each file."""
    given = subjects.slice if name == "slice" else (subjects.columns or {}).get(name)
    if given is None:
        known = ", ".join(["class", "slice", *map(printable, subjects.columns or {})])
        raise UserError(
            f"data.conditions: there is no {printable(name)}, only {known}; a number of your own is a column "
            "of the table of data.subjects=csv:FILE"
        )
    numbers = [number_of(value) for value in given]
    unknown = next((file for file, number in zip(files, numbers, strict=True) if number is None), None)
    if unknown is not None:
        raise UserError(
            f"data.conditions: {printable(name)} of {printable(unknown.path)} is no number "
            f"(data.subjects={subjects.rule}): give it in a column {printable(name)} of csv:FILE"
        )
    return np.array(numbers)


def number_of(value: str | int | None) -> float | None:
    """A finite number, or None where it is none."""
    try:
        number = float("nan" if value is None else value)
    except ValueError:
        return None
    return number if np.isfinite(number) else None
