"""Neighbouring slices of a person as the channels of one image ("2.5-D")."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from alzgan.errors import UserError
from alzgan.images.folder import ImageFile
from alzgan.people.subjects import LEFT_OUT, Subjects
from alzgan.text import printable


def neighbouring_slices(
    files: Sequence[ImageFile], subjects: Subjects, channels: int, parts: Sequence[str] = ()
) -> np.ndarray:
    """For each file the files that make up its channels, itself in the middle.

    Neighbours are the next slices present, by slice number. Beyond the ends of a stack its first and last
    slices are repeated.

    Args:
        files: N slices.
        subjects: the person and the place of each.
        channels: k, an odd number.
        parts: of the split; a slice left out there is no neighbour, and repeats itself in its channels.

    Returns:
        (N, k) indices, by rising slice number.

    Raises:
        UserError: the people or the place of a slice are unknown; two files are the same slice of a person.
    """
    if subjects.rule == "none":
        raise UserError(
            "data.slices_as_channels needs to know who is in which slice, which data.subjects=none does "
            "not say: give csv:FILE with columns file, subject, slice"
        )
    table = np.repeat(np.arange(len(files))[:, None], channels, axis=1)
    for stack in stacks_of_people(files, subjects, parts):
        places = np.arange(len(stack))[:, None] + np.arange(channels) - channels // 2
        table[stack] = stack[places.clip(0, len(stack) - 1)]
    return table


def stacks_of_people(
    files: Sequence[ImageFile], subjects: Subjects, parts: Sequence[str] = ()
) -> list[np.ndarray]:
    """The files of each scan, ordered by slice, without those that the split leaves out."""
    people: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    scans = subjects.scan or [""] * len(files)
    rows = zip(files, subjects.subject, scans, subjects.slice, strict=True)
    for index, (file, subject, scan, place) in enumerate(rows):
        if parts and parts[index] == LEFT_OUT:
            continue
        if place is None:
            raise UserError(
                f"data.slices_as_channels needs the place of every slice, but data.subjects={subjects.rule} "
                f"gives {printable(file.path)} none: use csv:FILE with a column slice"
            )
        if (twin := people[subject, scan].setdefault(place, index)) != index:
            raise UserError(
                f"data.slices_as_channels: {printable(files[twin].path)} and {printable(file.path)} are both "
                f"slice {place} of {printable(subject)}: if these are two scans, say so in a column scan"
            )
    return [np.array([slices[place] for place in sorted(slices)]) for slices in people.values()]
