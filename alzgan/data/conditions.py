"""Numbers that label a slice besides its class: its place in the scan, or any column of a table."""

from collections.abc import Mapping, Sequence

import numpy as np

from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.images.folder import ImageFile
from alzgan.people.subjects import FEW_PEOPLE, Subjects
from alzgan.text import printable

TOGETHER = 5  # least number of people between two quantiles
QUANTILES = 33  # kept of each number, so that it can be drawn without the data


def conditions_of(
    names: Sequence[str], files: Sequence[ImageFile], subjects: Subjects, trained_on: np.ndarray
) -> np.ndarray:
    """Read the numbers (N, m) of the files in their own units; NaN where one is unknown.

    Args:
        names: m times "slice", the place within the scan, or a column of the table of people.
        files: N slices.
        subjects: the people in them.
        trained_on: rows of the training part.

    Raises:
        UserError: a value is not a number, or the training part has no value or only one.
    """
    values = np.empty((len(files), len(names)))
    for place, name in enumerate(names):
        values[:, place] = column_of(name, files, subjects)
        known = values[trained_on, place]
        known = known[np.isfinite(known)]
        if not len(known):
            raise UserError(f"data.conditions: no training image has a value of {printable(name)}")
        if known.min() == known.max():
            raise UserError(
                f"data.conditions: {printable(name)} is {known[0]:g} in every training image: leave it out"
            )
    return values


def scaled(values: np.ndarray, trained_on: np.ndarray) -> np.ndarray:
    """The numbers (N, m), float32, so that those of the training part go from -1 to 1."""
    low, high = np.nanmin(values[trained_on], 0), np.nanmax(values[trained_on], 0)
    return (2 * (values - low) / (high - low) - 1).astype(np.float32)


def quantiles(
    columns: Mapping[str, np.ndarray],
    rows: np.ndarray,
    subjects: Sequence[str],
    for_few: Mapping[str, list[float]] | None = None,
) -> dict[str, list[float]]:
    """Evenly spaced quantiles of each number over some images, from the least to the greatest.

    33 quantiles of the ages of 33 people would give away all their ages. So of few people fewer quantiles
    are computed, with at least `TOGETHER` people between two of them, and the rest are interpolated.

    Args:
        columns: the numbers (N,) by name, NaN where unknown.
        rows: the images; those without the number do not count.
        subjects: (N,) the person in each image.
        for_few: quantiles by name, for a number known of fewer than `FEW_PEOPLE` people.
    """
    steps, found = np.linspace(0, 1, QUANTILES), {}
    for name, column in columns.items():
        known = rows[np.isfinite(column[rows])]
        people = len({subjects[row] for row in known})
        if for_few is not None and people < FEW_PEOPLE:
            found[name] = for_few[name]
            continue
        between = np.linspace(0, 1, min(QUANTILES, max(2, people // TOGETHER + 1)))
        found[name] = np.interp(steps, between, np.quantile(column[known], between)).tolist()
    return found


def column_of(name: str, files: Sequence[ImageFile], subjects: Subjects) -> np.ndarray:
    """One number of each file; NaN where it is unknown."""
    given = subjects.slice if name == "slice" else (subjects.columns or {}).get(name)
    if given is None:
        known = ", ".join(["class", "slice", *map(printable, subjects.columns or {})])
        raise UserError(
            f"data.conditions: there is no {printable(name)}, only {known}; put numbers of your own into a "
            "column of the table of data.subjects=csv:FILE"
        )
    empty = [value is None or not str(value).strip() for value in given]
    numbers = [np.nan if none else number_of(value) for value, none in zip(given, empty, strict=True)]
    for file, number, none in zip(files, numbers, empty, strict=True):
        if number is None or (none and all(empty)):
            raise UserError(
                f"data.conditions: {printable(name)} of {printable(file.path)} is not a number "
                f"(data.subjects={subjects.rule}): give it in a column {printable(name)} of csv:FILE, and "
                "leave the cell empty where it is unknown"
            )
    return np.array(numbers)


def with_unlabelled(table: np.ndarray, seed: int) -> np.ndarray:
    """Mark the training images whose label is not wholly known.

    Args:
        table: (N,) classes, or (N, 1 + m) with numbers; -1 and NaN mean unknown.
        seed: seeds the draw of missing labels.

    Returns:
        The table itself if every label is known. Else (N, 2 + m), float32; the last column is 1 where the
        whole label is known. The other labels are drawn from the known ones, within the class if that is
        known, so that fakes get each label as often as it is known.

    Raises:
        UserError: no label is wholly known.
    """
    whole = np.reshape(table, (len(table), -1)).astype(np.float32)
    known = np.isfinite(whole).all(1) & (whole[:, 0] >= 0)
    if known.all():
        return table
    if not known.any():
        raise UserError("data.conditions: no training image has all of them")
    draws = stream(seed, "labels/unknown")
    for label in np.unique(whole[~known, 0]):
        rows = np.flatnonzero(~known & (whole[:, 0] == label))
        donors = np.flatnonzero(known & (whole[:, 0] == label))
        whole[rows] = whole[draws.choice(donors if len(donors) else np.flatnonzero(known), len(rows))]
    return np.concatenate([whole, known[:, None]], 1, dtype=np.float32)


def number_of(value: str | int | None) -> float | None:
    """The value as a finite number, or None if it is not one."""
    try:
        number = float("nan" if value is None else value)
    except ValueError:
        return None
    return number if np.isfinite(number) else None
