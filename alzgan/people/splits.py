"""Train, validation and test parts in which no person is in two, and the CSV that keeps them."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.files import write_table
from alzgan.images.folder import ImageFile
from alzgan.people.similarity import mixed_groups
from alzgan.people.subjects import PARTS, Subjects, assert_disjoint
from alzgan.text import counted, printable

MANIFEST = ("file", "class", "subject", "slice", "split")  # of every table of who is in which slice
NEEDED_FIRST = ("train", "test", "validation")  # who gets the people of a class that has too few


@dataclass(frozen=True)
class Split:
    """The part of each file, and lines about people of several classes and classes not in all parts."""

    parts: list[str]
    notes: list[str]


def make_split(
    labels: Sequence[str], subjects: Subjects, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> Split:
    """The split that a table gave, or else a new one by person; either way no person is in two parts.

    Raises:
        UserError: fractions that are none, or a person in two parts.
    """
    if any(subjects.split):
        split = Split([str(part) for part in subjects.split], [])
    else:
        split = split_by_subject(labels, subjects.subject, fractions, seed)
    assert_disjoint(subjects.subject, split.parts)
    return split


def split_by_subject(
    labels: Sequence[str],
    subjects: Sequence[str],
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> Split:
    """Deal the people of the files out to train, validation and test in these fractions, class by class.

    The number of people of a class in each part is its fraction, rounded by largest remainder, at least one
    where there are enough. Who goes where is drawn, but people with many images are dealt first, to the part
    that lacks most images, so that the numbers of images come near the fractions too. A person with images
    of two classes counts for the more frequent one. One person of a class goes to train, a second to test.
    The seed alone draws: the order of the files does not matter.

    Raises:
        UserError: fractions that are negative, do not add up to 1, or leave no train.
    """
    shares = part_shares(fractions)
    images = Counter(subjects)
    rng = stream(seed, "split")
    part_of: dict[str, str] = {}
    for _, people in sorted(people_by_class(labels, subjects).items()):
        quota = quota_of(len(people), shares)
        part_of |= deal([people[i] for i in rng.permutation(len(people))], images, quota, shares)
    return Split([part_of[subject] for subject in subjects], notes_on(labels, subjects, part_of, shares))


def part_shares(fractions: Sequence[float]) -> dict[str, float]:
    """The parts that are wanted, with their fractions; UserError where these are none or leave no train."""
    if len(fractions) != 3 or not all(0 <= f <= 1 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise UserError(
            f"split fractions {list(fractions)}: give three for train, validation and test that add up to 1"
        )
    if fractions[0] == 0:
        raise UserError("split fractions leave nothing to train on: the first must be above 0")
    return {part: float(f) for part, f in zip(PARTS, fractions, strict=True) if f > 0}


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """`total` in whole numbers in proportion to the weights: largest remainder, of equal ones the first."""
    exact = total * np.asarray(weights, float) / np.sum(weights)
    parts = np.floor(exact + 1e-9).astype(int)
    rounded_up = np.argsort(parts - exact, kind="stable")[: total - parts.sum()]
    parts[rounded_up] += 1
    return parts.tolist()


def write_split(
    path: Path | str, files: Sequence[ImageFile], subjects: Subjects, parts: Sequence[str | None]
) -> None:
    """Write file, class, subject, slice and split of each file as a CSV that `csv:` reads back."""
    columns = zip(files, subjects.subject, subjects.slice, parts, strict=True)
    write_table(Path(path), MANIFEST, ((file.path, file.label, *person) for file, *person in columns))


def people_by_class(labels: Sequence[str], subjects: Sequence[str]) -> dict[str, list[str]]:
    """Sorted people of each class; a person belongs to the class of most of its images."""
    votes: dict[str, Counter] = defaultdict(Counter)
    for label, subject in zip(labels, subjects, strict=True):
        votes[subject][label] += 1
    people = defaultdict(list)
    for subject in sorted(votes):
        people[min(votes[subject], key=lambda label: (-votes[subject][label], label))].append(subject)
    return people


def quota_of(people: int, shares: dict[str, float]) -> dict[str, int]:
    """How many people each part gets: largest remainder, then one from the richest to each empty part."""
    exact = {part: share * people for part, share in shares.items()}
    quota = {part: int(value + 1e-9) for part, value in exact.items()}
    by_remainder = sorted(shares, key=lambda part: (quota[part] - exact[part], NEEDED_FIRST.index(part)))
    for part in by_remainder[: people - sum(quota.values())]:
        quota[part] += 1
    for part in sorted(shares, key=NEEDED_FIRST.index)[:people]:
        if not quota[part]:
            richest = max(quota, key=lambda other: (quota[other], NEEDED_FIRST.index(other)))
            quota[part], quota[richest] = 1, quota[richest] - 1
    return quota


def deal(
    people: list[str], images: Counter, quota: dict[str, int], shares: dict[str, float]
) -> dict[str, str]:
    """Give each person, those with most images first, to the part with a seat that lacks most images."""
    total = sum(images[person] for person in people)
    lacking = {part: share * total for part, share in shares.items()}
    seats, dealt = dict(quota), {}
    for person in sorted(people, key=lambda person: -images[person]):
        part = max((part for part in seats if seats[part]), key=lambda part: lacking[part])
        dealt[person] = part
        seats[part] -= 1
        lacking[part] -= images[person]
    return dealt


def notes_on(
    labels: Sequence[str], subjects: Sequence[str], part_of: dict[str, str], parts: Collection[str]
) -> list[str]:
    """One line if people have images of several classes, and one for each class that lacks a part."""
    notes = []
    if several := mixed_groups(subjects, labels):
        notes.append(
            f"{several} of {counted(len(part_of), 'subject')} {'has' if several == 1 else 'have'} images "
            "of several classes: each is dealt with the class of most of its images"
        )
    people_of: dict[str, set[str]] = defaultdict(set)
    for label, subject in zip(labels, subjects, strict=True):
        people_of[label].add(subject)
    for label, people in sorted(people_of.items()):
        filled = {part_of[person] for person in people}
        if absent := [part for part in parts if part not in filled]:
            reason = ", too few for all parts" if len(people) < len(parts) else ""
            notes.append(
                f"class {printable(label)} has {counted(len(people), 'person', 'people')}{reason}: "
                f"none in {' and '.join(absent)}"
            )
    return notes
