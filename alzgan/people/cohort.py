"""The people of a folder of slices: its images, the person in each, and who is held out."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from alzgan.errors import SettingError, UserError, one_of, seed_of_streams
from alzgan.images.folder import CLASSES, ImageFile, Listing, images_of, survey
from alzgan.images.thumbnails import Thumbnails, thumbnails
from alzgan.people.copies import EXACT, UNTURNED, Copy, is_augmented, known_copies, tied
from alzgan.people.similarity import in_several
from alzgan.people.splits import Split, part_shares, split_by_subject
from alzgan.people.subjects import (
    LEFT_OUT,
    PARTS,
    Subjects,
    assert_disjoint,
    by_table_or_names,
    identify,
    refuse_many,
    rows_by_file,
)
from alzgan.text import counted, printable

CLASS_COLUMN = "data.classes=csv needs data.subjects=csv:FILE with a column class, filled in every row"
IN_FOLDERS = r"^(?P<subject>[^/]+)/"  # where the folders are people
MOSTLY_TWO_VALUED = 0.5  # with this share of two-valued images, they are the dataset and not masks


@dataclass(frozen=True)
class People:
    """Who is in the images of a cohort.

    Attributes:
        rows: (N,) indices into the readable images; the others are masks.
        files: the N images.
        subjects: the person in each.
        copies: pairs of files that show one image.
        split: their parts.
        notes: lines for the log and the report.
    """

    rows: np.ndarray
    files: list[ImageFile]
    subjects: Subjects
    copies: list[Copy]
    split: Split
    notes: list[str]

    def without_copies(self) -> list[str]:
        """The parts with one image of each group of copies; the others are left out.

        The image kept is the first by path whose name is not that of an augmented image.
        """
        parts = list(self.split.parts)
        groups: dict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(tied(self.copies, [file.path for file in self.files])):
            if parts[index] != LEFT_OUT:
                groups[name].append(index)
        for group in groups.values():
            for index in sorted(group, key=lambda index: is_augmented(self.files[index]))[1:]:
                parts[index] = LEFT_OUT
        return parts


@dataclass(frozen=True)
class Cohort:
    """The settings of a folder that preparation and training share.

    Args:
        root: the folder.
        subjects: who is in which slice, see `alzgan.people.subjects.identify`.
        classes: what a class is, see `alzgan.images.folder.survey`; "csv": the column `class` of a table.
        exclude: patterns of paths and names to leave out.
        bad_files: "error" at the first unreadable image, or "skip" and list them.
        fractions: of the people in train, validation and test; they add up to 1.
        split_seed: of the split.
        cache_dir: see `alzgan.files.cache_folder`.

    Raises:
        SettingError: a value is out of its range.
        UserError: `root` is not set.
    """

    root: str | Path | None = None
    subjects: str = "auto"
    classes: str = "auto"
    exclude: str | Sequence[str] | None = None
    bad_files: str = "error"
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    split_seed: int = 0
    cache_dir: str | Path | None = None

    def __post_init__(self):
        if not self.root:
            raise UserError(
                "data.root is not set; add data.root=DIR, a folder with a subfolder for each class"
            )
        one_of(CLASSES, classes=self.classes)
        one_of(("error", "skip"), bad_files=self.bad_files)
        seed_of_streams(split_seed=self.split_seed)
        part_shares(self.fractions)
        listed = isinstance(self.exclude, str | list | tuple | None)
        if not listed or not all(isinstance(pattern, str) for pattern in self.excluded):
            raise SettingError(f"exclude={self.exclude} must be a pattern, or a list of patterns")

    @property
    def folder(self) -> Path:
        """The root as a path."""
        return Path(self.root or "").expanduser()

    @property
    def excluded(self) -> list[str]:
        """The patterns of what to leave out."""
        return [self.exclude] if isinstance(self.exclude, str) else list(self.exclude or ())

    @cached_property
    def listing(self) -> Listing:
        """The content of the folder, by names alone."""
        return survey(self.folder, self.excluded, self.classes)

    def scan(self) -> list[ImageFile]:
        """The images, by names alone, with the classes of a table if it gives them.

        Raises:
            UserError: there are none, the table does not fit, or there are too many for `subjects`.
        """
        files = images_of(self.listing, self.folder)
        if self.subjects == "content":
            refuse_many(len(files))
        if self.classes != "csv":
            return files
        given = self.subjects.startswith("csv:")
        table = self.identify(files) if given else by_table_or_names(self.folder, files)
        return with_classes(files, table)

    def check_table(self, files: Sequence[ImageFile]) -> None:
        """Raise UserError, before any image is read, if the table of people has a wrong row."""
        if self.subjects.startswith("csv:"):
            rows_by_file(self.folder, files, self.subjects.removeprefix("csv:"))

    def people(
        self,
        files: Sequence[ImageFile],
        constant: Collection[str],
        two_valued: Collection[str],
        found: Thumbnails | None = None,
    ) -> People:
        """Who is in the readable images, and who is held out.

        No person and no copy of an image is in two parts. A table whose split violates this is refused; a
        violating split of folders is drawn again. Images of two values are masks and left out, unless half of
        all images are such.

        Args:
            files: the readable images.
            constant: paths of the images of one value.
            two_valued: paths of the images of two values.
            found: their thumbnails; None: read on demand.

        Raises:
            UserError: the people cannot be told, or a table has a leak.
        """
        rows = without_masks(files, two_valued)
        masks = sorted({file.path for file in files}.difference(files[row].path for row in rows))
        files = [files[row] for row in rows]
        notes = [*self.listing.notes, *odd_images(files, constant, masks)]

        @cache
        def small() -> Thumbnails:
            return found.of(rows if masks else slice(None)) if found else thumbnails(self.folder, files)

        subjects = self.identify(files, lambda: small().upright)
        people = None if subjects.rule == "none" else subjects.subject
        alike = known_copies(self.folder, files, lambda: small().square, self.cache_dir, people)
        copies = [pair for pair in alike if not are_neighbours(pair, subjects)]
        split = self.split(files, subjects, copies)
        notes += [*subjects.notes, *notes_on_names(subjects, split.parts), *split.notes]
        return People(rows, files, subjects, copies, split, notes)

    def identify(
        self, files: Sequence[ImageFile], upright: Callable[[], np.ndarray] | None = None
    ) -> Subjects:
        """Who is in the images; UserError if the people cannot be told."""
        rule, in_folders = self.subjects, self.listing.people_in_folders
        if rule == "auto" and in_folders and by_table_or_names(self.folder, files) is None:
            rule = f"regex:{IN_FOLDERS}"
        return identify(self.folder, files, rule, self.cache_dir, upright)

    def split(self, files: Sequence[ImageFile], subjects: Subjects, copies: Sequence[Copy]) -> Split:
        """The part of each image, with notes."""
        notes = copy_notes(files, subjects, copies)
        if any(subjects.split):
            parts = [str(part) for part in subjects.split]
            refuse_crossing_copies(files, parts, copies, subjects.rule)
            return Split(parts, notes)
        if all(file.part for file in files):
            parts = [str(file.part) for file in files]
            if not (leak := given_leak(files, subjects, copies)):
                return Split(parts, notes)
            notes.append(f"{leak}: a new split was drawn by person")
        labels = [file.label or "(unknown)" for file in files]
        units = tied(copies, subjects.subject)
        split = split_by_subject(labels, subjects.subject, self.fractions, self.split_seed, units)
        assert_disjoint(subjects.subject, split.parts)
        return Split(split.parts, [*notes, *split.notes])


def with_classes(files: Sequence[ImageFile], table: Subjects | None) -> list[ImageFile]:
    """The files with the classes of a table, empty where it gives none; UserError without a column class."""
    if table is None or table.label is None or not any(table.label):
        raise UserError(CLASS_COLUMN)
    return [replace(file, label=label) for file, label in zip(files, table.label, strict=True)]


def are_neighbours(pair: Copy, subjects: Subjects) -> bool:
    """Whether two similar images are different slices of one scan, and so no copies."""
    one, two = pair.first, pair.second
    same_scan = subjects.scan is None or subjects.scan[one] == subjects.scan[two]
    same_person = subjects.subject[one] == subjects.subject[two]
    places = subjects.slice[one], subjects.slice[two]
    numbered = None not in places and places[0] != places[1]
    return same_person and same_scan and numbered and pair.how == UNTURNED and pair.r < EXACT


def without_masks(files: Sequence[ImageFile], two_valued: Collection[str]) -> np.ndarray:
    """Indices of the files that are not masks, which have two values; if half of all do, none is a mask."""
    masks = set(two_valued) if len(two_valued) < MOSTLY_TWO_VALUED * len(files) else set()
    return np.array([index for index, file in enumerate(files) if file.path not in masks], int)


def odd_images(files: Sequence[ImageFile], constant: Collection[str], masks: Sequence[str]) -> list[str]:
    """Notes on constant images, and on masks that are left out."""
    notes = []
    if masks:
        first = printable(masks[0])
        notes.append(f"{counted(len(masks), 'image')} of two values left out as masks, the first is {first}")
    if plain := [file.path for file in files if file.path in constant]:
        notes.append(f"constant images teach a generator nothing, the first is {printable(plain[0])}")
    return notes


def copy_notes(files: Sequence[ImageFile], subjects: Subjects, copies: Sequence[Copy]) -> list[str]:
    """A note on copies between people, if there are any."""
    between = [copy for copy in copies if subjects.subject[copy.first] != subjects.subject[copy.second]]
    if not between or subjects.rule == "none":
        return []
    first, second = (files[index].path for index in between[0][:2])
    people_of = defaultdict(set)
    for unit, person in zip(tied(copies, subjects.subject), subjects.subject, strict=True):
        people_of[unit].add(person)
    return [
        f"{counted(len(between), 'pair')} of copies between two people, who stay together in the split "
        f"(up to {max(map(len, people_of.values()))} people); "
        f"the first is {printable(first)} and {printable(second)}"
    ]


def named_across(subjects: Subjects, parts: Sequence[str]) -> list[str]:
    """The people by the files' names whom a table puts into several parts."""
    kept = [pair for pair in zip(subjects.named or [], parts, strict=False) if pair[1] != LEFT_OUT]
    return list(in_several([name for name, _ in kept], [part for _, part in kept]))


def notes_on_names(subjects: Subjects, parts: Sequence[str]) -> list[str]:
    """A note on people by the files' names whom a table splits, if there are any."""
    if subjects.named is None:
        return []
    split = in_several(subjects.named, subjects.subject)
    name, ids = next(iter(split.items()))
    people, total = counted(len(split), "person", "people"), sum(map(len, split.values()))
    return [
        f"the table splits {people} of the files' names into {total} (for example {printable(name)} into "
        f"{printable(ids[0])} and {printable(ids[1])}), {len(named_across(subjects, parts))} of them across "
        "the parts of the split: give each one subject, unless the names are misleading"
    ]


def refuse_crossing_copies(
    files: Sequence[ImageFile], parts: Sequence[str], copies: Sequence[Copy], rule: str
) -> None:
    """Raise UserError if a table puts copies of one image into two parts."""
    for copy in copies:
        pair = parts[copy.first], parts[copy.second]
        if pair[0] != pair[1] and LEFT_OUT not in pair:
            raise UserError(
                f"data.subjects={rule} leaks: {printable(files[copy.first].path)} in {pair[0]} and "
                f"{printable(files[copy.second].path)} in {pair[1]} are copies ({copy.how}); write "
                f"'{LEFT_OUT}' into the column split of one of them, or empty the column"
            )


def given_leak(files: Sequence[ImageFile], subjects: Subjects, copies: Sequence[Copy]) -> str | None:
    """What leaks in a split that the folders give, in words; None if nothing does."""
    crossing = in_several(subjects.subject, [file.part for file in files])
    copied = sum(files[copy.first].part != files[copy.second].part for copy in copies)
    if not crossing and not copied:
        return None
    given = " and ".join(part for part in PARTS if Counter(file.part for file in files)[part])
    people = counted(len(set(subjects.subject)), "person", "people")
    return (
        f"the given split ({given}) leaks: {len(crossing)} of {people} are in more than one part, and "
        f"{counted(copied, 'pair')} of copies cross it"
    )
