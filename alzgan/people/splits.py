"""Train, validation and test parts that share no person, and the CSV that stores them."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alzgan.device.streams import stream
from alzgan.errors import SettingError
from alzgan.files import write_table
from alzgan.images.folder import ImageFile
from alzgan.people.similarity import in_several
from alzgan.people.subjects import PARTS, Subjects
from alzgan.text import counted, printable

MANIFEST_COLUMNS = ("file", "class", "subject", "slice", "split")  # columns of every table of people
SCAN = "scan"  # a further column, if people may have been scanned more than once
DRAW = 2  # version of the draw; raise it when the same people and seed would give other parts
MEMBERS_OF_THE_SMALLEST_PART = 3  # in a stratum, so that two neighbours by size may be held out together
NEEDED_PEOPLE = 5  # least number held out for an interval over people to mean anything
HOLD_OUT_MORE = "add people, or train with larger shares for validation and test in data.fractions"
NEEDED_FIRST = ("train", "test", "validation")  # the order in which the people of a small class are assigned


@dataclass(frozen=True)
class Split:
    """The part of each file, and notes on people of several classes and on classes missing in a part."""

    parts: list[str]
    notes: list[str]


def split_by_subject(
    labels: Sequence[str],
    subjects: Sequence[str],
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    units: Sequence[str] | None = None,
) -> Split:
    """Draw the people of train, validation and test, class by class.

    Largest remainder turns the fractions into numbers of people, at least one in each part if there are
    enough. The draw is fair: every person of a class has the same chance of each part, whatever their number
    of images (`seats`). A person with images of two classes counts for the more frequent one. The only person
    of a class goes to train, a second one to test. The draw depends on the seed, not on the order of files.

    Args:
        labels: class of each file.
        subjects: person of each file.
        fractions: of train, validation and test; they add up to 1.
        seed: of the draw.
        units: name of the unit of each file, which stays together; None: its person. People who share a copy
            of an image are one unit, drawn like one person.

    Raises:
        SettingError: the fractions are negative, do not add up to 1, or leave no training part.
    """
    shares = part_shares(fractions)
    units = subjects if units is None else units
    images, rng = Counter(units), stream(seed, "fair split")
    part_of: dict[str, str] = {}
    for _, members in sorted(people_by_class(labels, units).items()):
        part_of |= zip(in_order(members, images, shares, rng), seats(len(members), shares, rng), strict=True)
    parts = [part_of[unit] for unit in units]
    return Split(parts, notes_on(labels, subjects, dict(zip(subjects, parts, strict=True)), shares))


def in_order(
    members: Sequence[str], images: Counter, shares: dict[str, float], rng: np.random.Generator
) -> list[str]:
    """The members of a class by their number of images, shuffled within strata.

    Seats are dealt in this order, so each part gets its share of members with few and with many images, and
    the numbers of images come near the fractions too.
    """
    least = max(1, round(MEMBERS_OF_THE_SMALLEST_PART / min(shares.values())))
    shuffled = [members[index] for index in rng.permutation(len(members))]
    ranked = sorted(shuffled, key=lambda member: images[member])  # stable: equal ones stay shuffled
    strata = np.array_split(np.arange(len(ranked)), max(1, len(ranked) // least))
    return [ranked[index] for stratum in strata for index in rng.permutation(stratum)]


def seats(count: int, shares: dict[str, float], rng: np.random.Generator) -> list[str]:
    """The part of each of `count` seats: each part fills its quota, spread evenly, from a random start.

    The random start makes the draw fair: over all starts, each seat gets a part as often as the part has
    seats.
    """
    quota = quota_of(count, shares)
    places = [((k + 0.5) / number, part) for part, number in quota.items() for k in range(number)]
    spread = [part for _, part in sorted(places, key=lambda place: (place[0], NEEDED_FIRST.index(place[1])))]
    start = int(rng.integers(count))
    return spread[start:] + spread[:start]


def part_shares(fractions: Sequence[float]) -> dict[str, float]:
    """The parts with their fractions; SettingError if these are invalid or leave no training part."""
    if len(fractions) != 3 or not all(0 <= f <= 1 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise SettingError(f"fractions={list(fractions)} must be three numbers from 0 to 1 that add up to 1")
    if fractions[0] == 0:
        raise SettingError(f"fractions={list(fractions)} leave no people to train on")
    return {part: float(f) for part, f in zip(PARTS, fractions, strict=True) if f > 0}


def apportion(total: int, weights: Sequence[float] | np.ndarray) -> list[int]:
    """`total` in whole numbers in proportion to the weights, by largest remainder; ties go to the first."""
    exact = total * np.asarray(weights, float) / np.sum(weights)
    parts = np.floor(exact + 1e-9).astype(int)
    rounded_up = np.argsort(parts - exact, kind="stable")[: total - parts.sum()]
    parts[rounded_up] += 1
    return parts.tolist()


def write_split(
    path: Path | str, files: Sequence[ImageFile], subjects: Subjects, parts: Sequence[str | None]
) -> None:
    """Write file, class, subject, slice, split and, if known, scan of each file as a CSV."""
    scans = subjects.scan if subjects.scan and any(subjects.scan) else None
    names, labels = [file.path for file in files], [file.label for file in files]
    columns = [names, labels, subjects.subject, subjects.slice, parts, *([scans] if scans else [])]
    write_table(
        Path(path), (*MANIFEST_COLUMNS, SCAN) if scans else MANIFEST_COLUMNS, zip(*columns, strict=True)
    )


def people_by_class(labels: Sequence[str], subjects: Sequence[str]) -> dict[str, list[str]]:
    """Sorted people of each class; a person belongs to the class of most of their images."""
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


def notes_on(
    labels: Sequence[str], subjects: Sequence[str], part_of: dict[str, str], parts: Collection[str]
) -> list[str]:
    """Notes on people with images of several classes, and on classes missing in a part."""
    notes = []
    if several := len(in_several(subjects, labels)):
        notes.append(
            f"{several} of {counted(len(part_of), 'subject')} {'has' if several == 1 else 'have'} images "
            "of several classes: each counts for the class of most of its images"
        )
    people_of: dict[str, set[str]] = defaultdict(set)
    for label, subject in zip(labels, subjects, strict=True):
        people_of[label].add(subject)
    if len(part_of) == len(people_of) > 1 and all(len(people) == 1 for people in people_of.values()):
        first = printable(min(people_of))
        return [
            *notes,
            f"each class has 1 person, the first is {first}: nobody can be held out of a class; if the "
            "class folders are people, set data.classes=none",
        ]
    for label, people in sorted(people_of.items()):
        filled = {part_of[person] for person in people}
        if absent := [part for part in parts if part not in filled]:
            reason = ", too few for all parts" if len(people) < len(parts) else ""
            notes.append(
                f"class {printable(label)} has {counted(len(people), 'person', 'people')}{reason}: "
                f"none in {' and '.join(absent)}"
            )
    return notes
