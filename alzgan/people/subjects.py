"""Who is in which slice: from a table, from the file names, or from the images.

Slices of one person on both sides of a split make every score a lie, so each image needs a person before
anything is split. A rule either fits every file or is refused: a half-known folder is an unknown one.
"""

import contextlib
import csv
import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from alzgan.errors import UserError
from alzgan.files import cache_folder, read_json, write_json
from alzgan.images.arrays import stamp
from alzgan.images.folder import ImageFile
from alzgan.people.similarity import recover, thumbnails
from alzgan.text import printable

PARTS = ("train", "validation", "test")
BESIDE = (
    "subjects.csv",
    "manifest.csv",
    "split.csv",
)  # tables that auto looks for in the root, in this order
RECOVERY = 1  # version of content: raise it when the same images would give other people
BIDS = r"(?:^|[/_])(?P<subject>sub-[A-Za-z0-9]+)(?:.*[/_]slice-(?P<slice>\d+))?"
CHOICES = (
    "data.subjects=csv:FILE (columns file, subject), data.subjects=regex:PATTERN (with a group 'subject') "
    "or data.subjects=none (each image on its own)"
)


@dataclass(frozen=True)
class Subjects:
    """Who is in which slice, one entry for each file.

    Attributes:
        rule: the rule that was used, as it can be given again: "csv:FILE", "regex:PATTERN", "kaggle4",
            "bids", "content" or "none".
        subject: name of the person.
        slice: place of the slice within its person, rising by one from slice to slice, where known.
        split: "train", "validation" or "test" where a table says so.
        notes: lines for whoever reads the report.
    """

    rule: str
    subject: list[str]
    slice: list[int | None]
    split: list[str | None]
    notes: list[str] = field(default_factory=list)


def identify(
    root: Path | str,
    files: Sequence[ImageFile],
    rule: str = "auto",
    cache_dir: Path | str | None = None,
) -> Subjects:
    """Find the person of each file.

    Args:
        root: the image folder.
        files: its readable images.
        rule: "csv:FILE" (columns file, subject, perhaps slice and split; FILE is sought from the current
            folder, then from the root), "regex:PATTERN" (searched in the path from the root; group
            "subject" or else the first one, perhaps a group "slice"), "kaggle4" (the file names of the
            Kaggle 4-class Alzheimer set), "bids" (sub-LABEL and _slice-NUMBER in the path), "content" (the
            images), "none" (each image on its own), or "auto": `BESIDE` in the root, else kaggle4 or bids
            if every file fits, else content.
        cache_dir: where what content recovered is kept, see `alzgan.images.arrays.cache_folder`.

    Raises:
        UserError: the rule is unknown or does not fit; the line says where and what to give instead.
    """
    name, _, argument = rule.partition(":")
    match name, bool(argument):
        case "auto", False:
            return by_auto(root, files, cache_dir)
        case "csv", True:
            return read_table(root, files, argument)
        case "regex", True:
            return match_paths(files, argument, rule)
        case "kaggle4", False:
            return kaggle4(files)
        case "bids", False:
            return match_paths(files, BIDS, rule)
        case "content", False:
            return from_content(root, files, cache_dir)
        case "none", False:
            return nobody(files)
    raise UserError(
        f"unknown rule data.subjects={printable(rule)}: give auto, kaggle4, bids, content, {CHOICES}"
    )


def match_paths(files: Sequence[ImageFile], pattern: str, rule: str) -> Subjects:
    """Read the person, and perhaps the slice, from the path of each file.

    Raises:
        UserError: the pattern is no regular expression, has no group, misses a file, or finds a slice
            that is no whole number.
    """
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise UserError(f"data.subjects={rule} is no regular expression: {error}") from None
    if not compiled.groups:
        raise UserError(f"data.subjects={rule} has no group: put the person's part in (?P<subject>...)")
    found = [compiled.search(file.path) for file in files]
    group = "subject" if "subject" in compiled.groupindex else 1
    missed = [file for file, match in zip(files, found, strict=True) if not (match and match[group])]
    if missed:
        raise UserError(
            f"data.subjects={rule} does not fit {len(missed)} of {len(files)} files, "
            f"the first is {printable(missed[0].path)}"
        )
    texts = [match["slice"] if "slice" in compiled.groupindex else None for match in found]
    places = [whole_number(text, file.path) for text, file in zip(texts, files, strict=True)]
    return Subjects(rule, [match[group] for match in found], places, [None] * len(files))


def kaggle4(files: Sequence[ImageFile]) -> Subjects:
    """Apply the naming rule of the Kaggle 4-class Alzheimer set, train and test folders merged.

    Each class has n people of 32 slices. Test files `SLICE (PERSON).jpg` say who they are; a bare
    `SLICE.jpg` is person 1. Train files `nonDem0.jpg`, `nonDem1.jpg`, ... count slice by slice through the
    people, these in the lexicographic order of their test names; slice 26 is cut between the two folders.

    Raises:
        UserError: a file does not fit, or too many are missing to tell.
    """
    folders = defaultdict(list)
    for file in files:
        folders[file.label].append(file)
    found: dict[str, tuple[str, int]] = {}
    for label, members in folders.items():
        found |= {path: (f"{label}-{person:03d}", place) for path, person, place in kaggle4_class(members)}
    taken = Counter(found.values())
    for path, key in found.items():
        if taken[key] > 1:
            raise UserError(
                f"kaggle4: {printable(path)} is one of {taken[key]} files for {key[0]} slice {key[1]}"
            )
    subject, place = zip(*(found[file.path] for file in files), strict=True)
    return Subjects("kaggle4", list(subject), list(place), [None] * len(files))


def from_content(
    root: Path | str, files: Sequence[ImageFile], cache_dir: Path | str | None = None
) -> Subjects:
    """Recover people and slice order from the images; the direction, up or down, stays unknown.

    The answer is kept in the cache and holds until a file changes.

    Raises:
        UserError: the images do not say it beyond doubt, or one cannot be read.
    """
    path = cache_folder(cache_dir) / f"people-{recovery_key(root, files)}.json"
    if kept := kept_recovery(path, len(files)):
        return kept
    found = recover_people(root, files)
    with contextlib.suppress(OSError):  # a start that cannot keep it only takes seconds longer
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"subject": found.subject, "slice": found.slice, "notes": found.notes})
    return found


def nobody(files: Sequence[ImageFile]) -> Subjects:
    """Take each image for a person of its own."""
    note = "each image counts as a person of its own: a split may have slices of one person on both sides"
    return Subjects("none", [file.path for file in files], [None] * len(files), [None] * len(files), [note])


def read_table(root: Path | str, files: Sequence[ImageFile], table: str) -> Subjects:
    """Read the person, and perhaps slice and split, of each file from a CSV.

    Columns: `file` (path from the root), `subject`, perhaps `slice` (whole number or empty) and `split`
    ("train", "validation" or "test", or empty in all rows); others are ignored. Rows for files that lie in
    the root but are not asked for are ignored too: they may have been skipped as unreadable.

    Raises:
        UserError: the table cannot be read, lacks a column or a file, names an unknown file or one outside
            the root, has a file twice, or puts a person in two parts.
    """
    path = locate(root, table)
    wanted = {file.path for file in files}
    rows: dict[str, dict[str, str]] = {}
    for line, row in rows_of(path):
        where = f"{printable(path)} line {line}"
        name = inside_root(row["file"], where)
        if name in rows:
            raise UserError(f"{where}: {printable(name)} is there twice; keep one row a file")
        if name not in wanted and not os.path.isfile(Path(root) / name):
            raise UserError(f"{where}: there is no {printable(name)} in {printable(root)}; remove the row")
        if not row["subject"]:
            raise UserError(f"{where}: no subject for {printable(name)}")
        rows[name] = row
    missing = [file.path for file in files if file.path not in rows]
    if missing:
        raise UserError(
            f"{printable(path)} has no row for {len(missing)} of {len(files)} files, "
            f"the first is {printable(missing[0])}"
        )
    chosen = [rows[file.path] for file in files]
    subject = [row["subject"] for row in chosen]
    places = [whole_number(row.get("slice"), file.path) for row, file in zip(chosen, files, strict=True)]
    return Subjects(f"csv:{table}", subject, places, split_column(path, chosen))


def by_auto(root: Path | str, files: Sequence[ImageFile], cache_dir: Path | str | None) -> Subjects:
    for name in BESIDE:
        if (Path(root) / name).is_file():
            return read_table(root, files, str(Path(root) / name))
    for rule in ("kaggle4", "bids"):
        try:
            return identify(root, files, rule)
        except UserError:  # the rule does not fit: the next one may
            continue
    return from_content(root, files, cache_dir)


def recovery_key(root: Path | str, files: Sequence[ImageFile]) -> str:
    """What the recovery depends on: the way it is done, the folder, and its files as they are."""
    place = [f"version {RECOVERY}".encode(), os.fsencode(os.path.realpath(root)), stamp(root, files).encode()]
    return hashlib.blake2b(b"\0".join(place), digest_size=16).hexdigest()


def kept_recovery(path: Path, count: int) -> Subjects | None:
    """The answer of an earlier start, if it is there and whole."""
    try:
        stored = read_json(path)
        subject, place, notes = stored["subject"], stored["slice"], stored["notes"]
        return Subjects("content", subject, place, [None] * count, notes) if len(subject) == count else None
    except (KeyError, TypeError):
        return None


def recover_people(root: Path | str, files: Sequence[ImageFile]) -> Subjects:
    small = thumbnails(root, files)
    try:
        recovered = recover(small, [file.label for file in files])
    except UserError as error:
        raise UserError(f"{error}; give {CHOICES}") from None
    names = [f"person-{person + 1:04d}" for person in recovered.person.tolist()]
    return Subjects("content", names, recovered.position, [None] * len(files), [recovered.note])


def whole_number(text: str | None, path: str) -> int | None:
    """A slice number, or None where there is none."""
    if text is None or not text.strip():
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text.strip()):
        raise UserError(f"slice {printable(text)} of {printable(path)} is no whole number")
    return int(text)


def kaggle4_class(files: Sequence[ImageFile]) -> list[tuple[str, int, int]]:
    """(path, person, slice) of the files of one class."""
    stems = {file.path: PurePosixPath(file.path).stem for file in files}
    named, counted, series = {}, {}, set()
    for path, stem in stems.items():
        if match := re.fullmatch(r"(2[6-9]|3[0-2])(?: \(([1-9]\d{0,3})\))?", stem, re.ASCII):
            named[path] = (int(match[2] or 1), int(match[1]))
        elif match := re.fullmatch(r"(nonDem|verymildDem|mildDem|moderateDem)(\d{1,6})", stem, re.ASCII):
            counted[path] = int(match[2])
            series.add(match[1])
        else:
            raise UserError(
                f"kaggle4: {printable(path)} is named neither like '26 (19).jpg' nor like 'nonDem0.jpg'"
            )
    people = max((person for person, _ in named.values()), default=0)
    order = sorted(range(1, people + 1), key=lambda person: f"({person})" if person > 1 else "~")
    early = {person for person, place in named.values() if place == 26}
    late = [person for person in order if person not in early]
    turns = [(person, place) for place in range(1, 26) for person in order] + [
        (person, 26) for person in late
    ]
    if len(series) != 1 or max(counted.values()) + 1 != len(turns):
        raise UserError(
            f"kaggle4: class {printable(files[0].label)} is not the whole of one class of the set: its train "
            f"names ({', '.join(sorted(series)) or 'none'}) should count to {len(turns)} for {people} people"
        )
    return [(path, *named[path]) if path in named else (path, *turns[counted[path]]) for path in stems]


def locate(root: Path | str, table: str) -> Path:
    """The table from the current folder, else from the root."""
    for path in (Path(table), Path(root) / table):
        if os.path.isfile(path):
            return path
    raise UserError(f"there is no table {printable(table)}, neither here nor in {printable(root)}")


def rows_of(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV with the line each ends at; bytes that are no UTF-8 are surrogate-escaped."""
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as handle:
            reader = csv.DictReader(handle, restval="", strict=True)
            columns = reader.fieldnames or []
            for needed in ("file", "subject"):
                if needed not in columns:
                    there = ", ".join(map(printable, columns)) or "none"
                    raise UserError(f"{printable(path)} has no column {needed}; its columns are: {there}")
            return [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise UserError(f"cannot read {printable(path)}: {error.strerror}") from None
    except csv.Error as error:
        raise UserError(f"{printable(path)} line {reader.line_num} is no CSV: {error}") from None


def inside_root(name: str, where: str) -> str:
    """The path as `scan` would write it, if it stays in the root."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{where}: {printable(name)} leaves the root; give the path from data.root")
    return str(path)


def split_column(path: Path, rows: Sequence[dict[str, str]]) -> list[str | None]:
    """The part of each row, checked; Nones where the column is missing or empty."""
    split = [row.get("split", "") for row in rows]
    if not any(split):
        return [None] * len(rows)
    part_of: dict[str, str] = {}
    for row, part in zip(rows, split, strict=True):
        if part not in PARTS:
            raise UserError(
                f"{printable(path)}: split {printable(part)!r} of {printable(row['file'])} is none of "
                f"{', '.join(PARTS)}"
            )
        if part_of.setdefault(row["subject"], part) != part:
            raise UserError(
                f"{printable(path)}: subject {printable(row['subject'])} is in {part_of[row['subject']]} "
                f"and in {part}; a person belongs in one part"
            )
    return list(split)
