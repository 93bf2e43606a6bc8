"""What a slice is labelled with besides its class: its place in the scan, or any number that a table has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alzgan.device.streams import stream
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
        values: (N, m) in their own units; NaN where a number is unknown.
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

    def quantiles(
        self,
        rows: np.ndarray,
        subjects: Sequence[str],
        least: int = 0,
        otherwise: Mapping[str, list[float]] | None = None,
    ) -> dict[str, list[float]]:
        """Evenly spaced quantiles of each number over some of the images, from the least to the greatest.

        Of few people, between so few of them that each has `TOGETHER` people more than the one before: 33
        quantiles of an age, say, would be the ages of all.

        Args:
            rows: of the images; those where the number is unknown do not count.
            subjects: (N,) who is in each.
            least: a number that is known of fewer people gets the quantiles of `otherwise`.
            otherwise: quantiles by name.
        """
        steps, found = np.linspace(0, 1, QUANTILES), {}
        for name, column in zip(self.names, self.values.T, strict=True):
            known = rows[np.isfinite(column[rows])]
            people = len({subjects[row] for row in known})
            if people < least:
                found[name] = otherwise[name]
                continue
            between = np.linspace(0, 1, min(QUANTILES, max(2, people // TOGETHER + 1)))
            found[name] = np.interp(steps, between, np.quantile(column[known], between)).tolist()
        return found


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
        UserError: what is given is no number, or is unknown or the same for all images in train.
    """
    columns = [column_of(name, files, subjects) for name in names]
    values = np.stack(columns, 1) if columns else np.empty((len(files), 0))
    for name, column in zip(names, values[trained_on].T, strict=True):
        if not np.isfinite(column).any():
            raise UserError(f"data.conditions: no image to train on has a number {printable(name)}")
    low, high = np.nanmin(values[trained_on], 0), np.nanmax(values[trained_on], 0)
    for name, least, most in zip(names, low, high, strict=True):
        if least == most:
            raise UserError(
                f"data.conditions: {printable(name)} is {least:g} in every image to train on: leave it out"
            )
    return Conditions(list(names), values, low, high)


def column_of(name: str, files: Sequence[ImageFile], subjects: Subjects) -> np.ndarray:
    """One number of each file, NaN where none is given."""
    given = subjects.slice if name == "slice" else (subjects.columns or {}).get(name)
    if given is None:
        known = ", ".join(["class", "slice", *map(printable, subjects.columns or {})])
        raise UserError(
            f"data.conditions: there is no {printable(name)}, only {known}; a number of your own is a column "
            "of the table of data.subjects=csv:FILE"
        )
    empty = [value is None or not str(value).strip() for value in given]
    numbers = [np.nan if none else number_of(value) for value, none in zip(given, empty, strict=True)]
    for file, number, none in zip(files, numbers, empty, strict=True):
        if number is None or (none and all(empty)):
            raise UserError(
                f"data.conditions: {printable(name)} of {printable(file.path)} is no number "
                f"(data.subjects={subjects.rule}): give it in a column {printable(name)} of csv:FILE, where "
                "an empty cell is an unknown number"
            )
    return np.array(numbers)


def with_unlabelled(table: np.ndarray, seed: int) -> np.ndarray:
    """Labels of images to train on, which tell the networks which of them are unknown.

    Args:
        table: (N,) classes, or (N, 1 + m) with numbers: -1 and NaN are unknown.
        seed: of what is drawn.

    Returns:
        The same table where all are known. Else (N, 2 + m), float32, whose last column is 1 where the whole
        label is known. Where it is 0, the label is drawn from the known ones, within the class if that is
        known, so that fakes have each label as often as it is known.

    Raises:
        UserError: no label is known.
    """
    whole = np.reshape(table, (len(table), -1)).astype(np.float32)
    known = np.isfinite(whole).all(1) & (whole[:, 0] >= 0)
    if known.all():
        return table
    if not known.any():
        raise UserError("data.conditions: no image to train on has all of them")
    draws = stream(seed, "labels/unknown")
    for label in np.unique(whole[~known, 0]):
        rows = np.flatnonzero(~known & (whole[:, 0] == label))
        donors = np.flatnonzero(known & (whole[:, 0] == label))
        whole[rows] = whole[draws.choice(donors if len(donors) else np.flatnonzero(known), len(rows))]
    return np.concatenate([whole, known[:, None]], 1, dtype=np.float32)


def number_of(value: str | int | None) -> float | None:
    """A finite number, or None where it is none."""
    try:
        number = float("nan" if value is None else value)
    except ValueError:
        return None
    return number if np.isfinite(number) else None
