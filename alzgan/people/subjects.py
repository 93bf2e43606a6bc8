"""Who is in which slice: from a table, from the file names, or from the images.

If slices of one person are on both sides of a split, every score is wrong. So each image needs a person
before the split. A rule must fit every file, or it is refused.
"""

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from alzgan.errors import UserError
from alzgan.files import cache_folder, cache_path, cached
from alzgan.images.arrays import stamp
from alzgan.images.folder import ImageFile
from alzgan.images.thumbnails import thumbnails
from alzgan.people.names import RULES, spelling_key, suggest_pattern
from alzgan.people.similarity import MOST_COMPARED, in_several, recover
from alzgan.people.tables import COLUMNS, file_of, rows_of
from alzgan.text import printable, shell_override

PARTS = ("train", "validation", "test")
LEFT_OUT = "left out"  # in no part, for example a copy of an image in a part
BESIDE = ("subjects.csv", "manifest.csv", "split.csv")  # tables that auto looks for in the root, in order
FEW_PEOPLE = 10  # samples of a class with fewer people may resemble these people
NUMBERING = ("kaggle4", "content")  # rules that number the people: their names mean nothing elsewhere
RECOVERY = 2  # version of "content"; raise it when the same images would give other people
CHOICES = (
    "data.subjects=csv:FILE (columns file, subject), data.subjects=regex:PATTERN (its first group is the "
    "person) or data.subjects=none (each file is a person of its own)"
)


@dataclass(frozen=True)
class Subjects:
    """Who is in which slice, one entry for each file."""

    rule: str  # as `identify` takes it
    subject: Sequence[str]  # name of the person
    slice: Sequence[int | None]  # place within the scan, rising by one from slice to slice, if known
    split: Sequence[str | None]  # one of `PARTS`, or `LEFT_OUT`, if a table gives it
    notes: list[str] = field(default_factory=list)  # for the log and the report
    scan: list[str] | None = None  # which of the person's scans, if there may be several
    label: list[str] | None = None  # the class, if a table gives it
    columns: dict[str, list[str]] | None = None  # the table's other columns by name
    named: Sequence[str] | None = None  # the person by the file's name, if a table splits such a person


def identify(
    root: Path | str,
    files: Sequence[ImageFile],
    rule: str = "auto",
    cache_dir: Path | str | None = None,
    upright: Callable[[], np.ndarray] | None = None,
) -> Subjects:
    """Find the person in each readable file of an image folder.

    Rules: "csv:FILE" (columns file, subject, perhaps slice, scan, split and class; FILE is sought from the
    current folder, then from the root), "regex:PATTERN" (searched in the path from the root; the person is
    group "subject" or the first one; group "slice" is optional), the names of public datasets
    (`alzgan.people.names`, and "kaggle4", the Kaggle 4-class Alzheimer set), "content" (the images), "none"
    (each image on its own), or "auto": a table in `BESIDE`, else the names of a dataset, else the images.

    Args:
        root: the folder.
        files: its readable files.
        rule: see above.
        cache_dir: see `alzgan.files.cache_folder`; it keeps the people of "content".
        upright: returns the files' upright thumbnails, on demand; None: they are read.

    Raises:
        UserError: the rule is unknown or does not fit, or one person is spelled in several ways; the line
            says where and what to give instead.
    """

    def content() -> Subjects:
        return from_content(root, files, cache_dir, upright)

    name, _, argument = rule.partition(":")
    match name, bool(argument):
        case "auto", False:
            found = by_auto(root, files, content)
        case "csv", True:
            found = read_table(root, files, argument)
        case "regex", True:
            found = match_paths(files, argument, rule)
        case "kaggle4", False:
            found = kaggle4(files)
        case "content", False:
            found = content()
        case "none", False:
            found = nobody(files)
        case _, False if name in RULES:
            found = match_paths(files, RULES[name], rule)
        case _:
            names = ", ".join(("kaggle4", *RULES))
            raise UserError(
                f"unknown rule data.subjects={printable(rule)}: give auto, {names}, content, {CHOICES}"
            )
    refuse_spellings(found, files)
    return found


def by_auto(root: Path | str, files: Sequence[ImageFile], content: Callable[[], Subjects]) -> Subjects:
    """The people of a table in the root, of names or of the images, see `identify`."""
    if (named := by_table_or_names(root, files)) is not None:
        return named
    suggested = suggest_pattern([file.path for file in files])
    if suggested is None:
        return content()
    pattern, example = suggested
    advice = (
        f"the names look like ids that no rule knows ({printable(example)}): if they are, give "
        f"{shell_override('data.subjects', f'regex:{pattern}')}"
    )
    try:
        found = content()
    except UserError as error:
        raise UserError(f"{advice}; {error}") from None
    return replace(found, notes=[*found.notes, advice])


def by_table_or_names(root: Path | str, files: Sequence[ImageFile]) -> Subjects | None:
    """The people of a table in the root, or of the names of a known dataset; None if there is neither."""
    for name in BESIDE:
        if (Path(root) / name).is_file():
            return read_table(root, files, str(Path(root) / name))
    return by_names(files)


def by_names(files: Sequence[ImageFile]) -> Subjects | None:
    """The people by the names of the files, if a known dataset names files so."""
    with contextlib.suppress(UserError):
        return kaggle4(files)
    for rule, pattern in RULES.items():
        with contextlib.suppress(UserError):  # the rule does not fit: the next one may
            return match_paths(files, pattern, rule)
    return None


def refuse_spellings(found: Subjects, files: Sequence[ImageFile]) -> None:
    """Raise UserError if two ids differ in spelling only."""
    if found.rule in NUMBERING:
        return
    # Under `none`, and in the table of such a run, an id is a file's path.
    pairs = zip(found.subject, files, strict=True)
    ids = list(dict.fromkeys(person for person, file in pairs if person != file.path))
    spelled = list(in_several([spelling_key(person) for person in ids], ids).values())
    if spelled:
        people = "1 person is" if len(spelled) == 1 else f"{len(spelled)} people are"
        advice = "rename the files, or name the people in a table (data.subjects=csv:FILE)"
        raise UserError(
            f"data.subjects={printable(found.rule)}: {people} spelled in several ways, for example "
            f"{printable(spelled[0][0])} and {printable(spelled[0][1])}: "
            f"{'write one spelling into the table' if found.rule.startswith('csv:') else advice}; "
            "if they are two people, give them ids that differ in more than this"
        )


def nobody(files: Sequence[ImageFile]) -> Subjects:
    """Treat each image as a person of its own."""
    note = "each image counts as a person of its own: a split may have slices of one person on both sides"
    unknown: list[None] = [None] * len(files)
    return Subjects("none", [file.path for file in files], unknown, unknown, [note])


def match_paths(files: Sequence[ImageFile], pattern: str, rule: str) -> Subjects:
    """Read the person, and perhaps the slice, from the path of each file."""
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise UserError(f"data.subjects={rule} is not a regular expression: {error}") from None
    if not compiled.groups:
        raise UserError(f"data.subjects={rule} has no group: put the person's part in (?P<subject>...)")
    group = "subject" if "subject" in compiled.groupindex else 1
    searched = [compiled.search(file.path) for file in files]
    found = [match for match in searched if match and (match[group] or "").strip()]
    if len(found) < len(files):
        matched = {match.string for match in found}
        first = next(file.path for file in files if file.path not in matched)
        raise UserError(
            f"data.subjects={rule} does not fit {len(files) - len(found)} of {len(files)} files, "
            f"the first is {printable(first)}"
        )
    people = [match[group].strip() for match in found]
    places = [whole_number(match.groupdict().get("slice"), match.string) for match in found]
    return Subjects(rule, people, places, [None] * len(files), scan=[scan_of(match) for match in found])


def scan_of(match: re.Match) -> str:
    """The path without the number of the slice: another scan of a person has another name."""
    start, end = match.span("slice") if "slice" in match.re.groupindex else (-1, -1)
    return match.string[:start] + match.string[end:] if start >= 0 else match.string.rpartition("/")[0]


def whole_number(text: str | None, path: str) -> int | None:
    """A slice number; None for an empty text."""
    text = (text or "").strip()
    if text and not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        raise UserError(f"slice {printable(text)} of {printable(path)} is not a whole number")
    return int(text) if text else None


def kaggle4(files: Sequence[ImageFile]) -> Subjects:
    """Apply the naming rule of the Kaggle 4-class Alzheimer set, with train and test folders merged.

    Each class has n people of 32 slices. Test files are named `SLICE (PERSON).jpg`; a bare `SLICE.jpg` is
    person 1. Train files `nonDem0.jpg`, `nonDem1.jpg`, ... count slice by slice through the people, in the
    lexicographic order of their test names; slice 26 is divided between the two folders. UserError if a file
    does not fit, or too many are missing.
    """
    found: dict[str, tuple[str, int]] = {}
    for label in sorted({file.label for file in files}):
        paths = [file.path for file in files if file.label == label]
        for path, (person, place) in kaggle4_class(label, paths).items():
            found[path] = f"{label}-{person:03d}", place
    shown = [found[file.path] for file in files]
    taken = Counter(shown)
    for file, (subject, place) in zip(files, shown, strict=True):
        if (times := taken[subject, place]) > 1:
            raise UserError(
                f"kaggle4: {printable(file.path)} is one of {times} files for {subject} slice {place}"
            )
    subjects, places = (list(column) for column in zip(*shown, strict=True))
    return Subjects("kaggle4", subjects, places, [None] * len(files))


def kaggle4_class(label: str, paths: Sequence[str]) -> dict[str, tuple[int, int]]:
    """(person, slice) of each file of one class."""
    found, counted, series = {}, {}, set()
    for path in paths:
        stem = PurePosixPath(path).stem
        if match := re.fullmatch(r"(2[6-9]|3[0-2])(?: \(([1-9]\d{0,3})\))?", stem, re.ASCII):
            found[path] = int(match[2] or 1), int(match[1])
        elif match := re.fullmatch(r"(nonDem|verymildDem|mildDem|moderateDem)(\d{1,6})", stem, re.ASCII):
            counted[path] = int(match[2])
            series.add(match[1])
        else:
            raise UserError(
                f"kaggle4: {printable(path)} is named neither like '26 (19).jpg' nor like 'nonDem0.jpg'"
            )
    people = max((person for person, _ in found.values()), default=0)
    order = sorted(range(1, people + 1), key=lambda person: f"({person})" if person > 1 else "~")
    in_test = {person for person, place in found.values() if place == 26}
    turns = [(person, place) for place in range(1, 26) for person in order]
    turns += [(person, 26) for person in order if person not in in_test]
    if len(series) != 1 or max(counted.values()) + 1 != len(turns):
        raise UserError(
            f"kaggle4: class {printable(label)} is not the whole of one class of the set: its train "
            f"names ({', '.join(sorted(series)) or 'none'}) should count to {len(turns)} for {people} people"
        )
    return found | {path: turns[number] for path, number in counted.items()}


def from_content(
    root: Path | str,
    files: Sequence[ImageFile],
    cache_dir: Path | str | None,
    upright: Callable[[], np.ndarray] | None,
) -> Subjects:
    """Recover people and slice order, up or down, from the images; cached until a file changes."""

    def recovered() -> dict[str, list]:
        refuse_many(len(files))
        small = upright() if upright else thumbnails(root, files).upright
        try:
            found = recover(small, [file.label for file in files])
        except UserError as error:
            raise UserError(f"{error}; give {CHOICES}") from None
        names = [f"person-{person + 1:04d}" for person in found.person.tolist()]
        return {"subject": names, "slice": found.position, "notes": [found.note]}

    def as_subjects(kept: dict[str, list]) -> Subjects:
        if len(kept["subject"]) != len(files):
            raise ValueError("it is of other files")
        return Subjects("content", kept["subject"], kept["slice"], [None] * len(files), kept["notes"])

    key = os.path.realpath(root), stamp(root, files)
    return cached(cache_path(cache_folder(cache_dir), "people.json", RECOVERY, *key), recovered, as_subjects)


def refuse_many(count: int) -> None:
    """Raise UserError for more images than can be compared, each with each."""
    if count > MOST_COMPARED:
        raise UserError(
            f"data.subjects=content compares each image with each, and takes {MOST_COMPARED} images at most, "
            f"not {count}; give {CHOICES}"
        )


def rows_by_file(
    root: Path | str, files: Sequence[ImageFile], table: str
) -> tuple[Path, dict[str, dict[str, str]]]:
    """The path of a table, and its rows by file; UserError if a row is wrong."""
    path = next((path for path in (Path(table), Path(root) / table) if os.path.isfile(path)), None)
    if path is None:
        raise UserError(f"there is no table {printable(table)}, neither here nor in {printable(root)}")
    wanted = {file.path for file in files}
    rows: dict[str, dict[str, str]] = {}
    for line, row in rows_of(path):
        try:
            name = file_of(row["file"], Path(root), wanted)
            if name in rows:
                raise UserError(f"{printable(name)} is there twice; keep one row a file")
            if not row["subject"]:
                raise UserError(f"no subject for {printable(name)}")
        except UserError as error:
            raise UserError(f"{printable(path)} line {line}: {error}") from None
        rows[name] = row
    return path, rows


def read_table(root: Path | str, files: Sequence[ImageFile], table: str) -> Subjects:
    """Read the person of each file from a CSV, and its other columns.

    A split is in all rows or in none. The people of the files' names are added if the table splits one.
    """
    path, rows = rows_by_file(root, files, table)
    missing = [file.path for file in files if file.path not in rows]
    if missing:
        raise UserError(
            f"{printable(path)} has no row for {len(missing)} of {len(files)} files, "
            f"the first is {printable(missing[0])}; add the rows, or leave the files out with data.exclude"
        )
    chosen = [rows[file.path] for file in files]

    def column(name: str) -> list[str]:
        return [row.get(name) or "" for row in chosen]

    subjects, names = column("subject"), by_names(files)
    return Subjects(
        f"csv:{table}",
        subjects,
        [whole_number(place, file.path) for place, file in zip(column("slice"), files, strict=True)],
        split_column(path, chosen),
        scan=column("scan"),
        label=column("class"),
        columns={name: column(name) for name in chosen[0] if name not in COLUMNS},
        named=names.subject if names and in_several(names.subject, subjects) else None,
    )


def split_column(path: Path, rows: Sequence[dict[str, str]]) -> Sequence[str | None]:
    """The part of each row, checked; Nones if the column is missing or empty."""
    split = [row.get("split", "") for row in rows]
    if not any(split):
        return [None] * len(rows)
    for row, part in zip(rows, split, strict=True):
        if part not in (*PARTS, LEFT_OUT):
            raise UserError(
                f"{printable(path)}: split {printable(part)!r} of {printable(row['file'])} is none of "
                f"{', '.join(PARTS)}"
            )
    kept = [(row["subject"], part) for row, part in zip(rows, split, strict=True) if part != LEFT_OUT]
    assert_disjoint([subject for subject, _ in kept], [part for _, part in kept], printable(path))
    return split


def assert_disjoint(subjects: Sequence[str], parts: Sequence[str], what: str = "the split") -> None:
    """Raise UserError, which names the person, if one is in two parts."""
    for subject, (one, other, *_) in in_several(subjects, parts).items():
        raise UserError(
            f"{what} leaks: subject {printable(subject)} is in {one} and in {other}; "
            "mend the split column or leave it empty"
        )
