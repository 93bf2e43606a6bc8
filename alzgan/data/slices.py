"""A folder of slices with everything known of them: pixels, people, labels and split."""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from alzgan.data.conditions import conditions_of, quantiles, scaled
from alzgan.data.loader import SliceDataset
from alzgan.data.stacks import neighbouring_slices
from alzgan.device.pixels import middle
from alzgan.errors import UserError
from alzgan.files import write_table
from alzgan.images.arrays import Decoded, Preprocessing, decode
from alzgan.images.folder import ImageFile, class_names
from alzgan.people.cohort import Cohort
from alzgan.people.splits import DRAW, write_split
from alzgan.people.subjects import PARTS
from alzgan.text import printable

log = logging.getLogger(__name__)


class SliceFolder:
    """A folder of slices with labels and a split, read on demand.

    Every attribute and method that reads the folder raises UserError if the folder cannot be used.

    Args:
        cohort: the folder, its people, and who is held out.
        preprocessing: how an image is decoded.
        conditions: the labels of an image: "class", "slice" (its place in the scan), or numeric columns of
            the table that names the people.

    Attributes:
        people: see `alzgan.people.cohort.People`; also as `files`, `subjects` and `split`.
        images: uint8 (M, H, W, C), memory-mapped, of all readable files, masks included.
        train: the training images.
        quantiles: of each number over the training images; `quantiles_of_classes`, within each class.
        fingerprint: digest of the training images; another split gives another one.
    """

    def __init__(
        self, cohort: Cohort, preprocessing: Preprocessing, conditions: Sequence[str] | str = ("class",)
    ):
        self.cohort, self.preprocessing = cohort, preprocessing
        self.root = cohort.folder
        self.channels, self.slices_as_channels = preprocessing.channels, preprocessing.slices_as_channels
        self.conditions = (
            [conditions] if isinstance(conditions, str) else list(dict.fromkeys(conditions or []))
        )
        self.is_read = False

    def prepare_folder(self) -> None:
        """Make the folder, in a subclass that makes it."""

    @cached_property
    def found(self) -> list[ImageFile]:
        """The images of the folder, by names alone."""
        self.prepare_folder()
        return self.cohort.scan()

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes; a label is an index into them."""
        return class_names(self.found)

    @property
    def numbers(self) -> list[str]:
        """Names of the numeric conditions: the columns of a label after its class."""
        return [name for name in self.conditions if name != "class"]

    def read(self) -> None:
        """Scan and decode the folder, once."""
        if self.is_read:
            return
        self.cohort.check_table(self.found)
        bad_files, cache_dir = self.cohort.bad_files, self.cohort.cache_dir
        decoded = decode(self.root, self.found, self.preprocessing, bad_files=bad_files, cache_dir=cache_dir)
        self.divide(decoded)
        self.label(decoded.files)
        self.train = self.slices_of(self.rows_of("train"))
        self.fingerprint = self.fingerprint_of(decoded)
        self.is_read = True

    def divide(self, decoded: Decoded) -> None:
        """Find the people in the images, and who is held out."""
        self.skipped, self.images = decoded.skipped, decoded.images
        found = decoded.files, decoded.constant, decoded.two_valued, decoded.thumbnails
        self.people = self.cohort.people(*found)
        self.files, self.subjects, self.split = self.people.files, self.people.subjects, self.people.split
        if "train" not in self.split.parts:
            raise UserError(f"{printable(self.root)} has no training image; give more")
        self.stacks = rows = self.people.rows
        if self.slices_as_channels:
            neighbours = neighbouring_slices(self.files, self.subjects, self.channels, self.split.parts)
            self.stacks = rows[neighbours]

    def label(self, decoded: Sequence[ImageFile]) -> None:
        """Read the classes and the numbers of all decoded images."""
        self.labels = np.array([self.classes.index(file.label) if file.label else -1 for file in decoded])
        train, rows, people = self.rows_of("train"), self.people.rows, self.subjects.subject
        values = conditions_of(self.numbers, self.files, self.subjects, train)
        self.number_values = np.zeros((len(self.labels), len(self.numbers)), np.float32)
        self.number_values[rows] = scaled(values, train)
        columns = dict(zip(self.numbers, values.T, strict=True))
        self.quantiles = quantiles(columns, train, people)
        of_classes = [train[self.labels[rows[train]] == index] for index in range(len(self.classes))]
        self.quantiles_of_classes = [quantiles(columns, each, people, self.quantiles) for each in of_classes]

    def fingerprint_of(self, decoded: Decoded) -> str:
        """A digest of the training images, and of their labels if a table gives them."""
        identity = decoded.fingerprint.encode() + self.train.stacks.tobytes()
        if self.numbers or self.cohort.classes == "csv":
            identity += self.train.table.tobytes()
        return hashlib.blake2b(identity, digest_size=16).hexdigest()

    def __len__(self) -> int:
        """Number of training images."""
        return len(self.train)

    def part(self, name: str) -> SliceDataset:
        """One of "train", "validation" and "test": index it with an array to get images and labels."""
        if name not in PARTS:
            raise UserError(f"there is no part {name} of the data, only {', '.join(PARTS)}")
        self.read()
        return self.slices_of(self.rows_of(name))

    def rows_of(self, part: str) -> np.ndarray:
        """The rows of a part in `files`, after `read`."""
        return np.flatnonzero(np.array(self.split.parts) == part)

    def slices_of(self, rows: np.ndarray) -> SliceDataset:
        """The images of some rows, after `read`."""
        return SliceDataset(self.images, self.labels, self.stacks[rows], self.number_values)

    def shown(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) as they are shown and judged: of neighbouring slices the middle one."""
        return middle(images) if self.slices_as_channels else images

    def people_in(self, part: str) -> int:
        """How many people a part has; how many images if the people are unknown."""
        return len({self.subjects.subject[row] for row in self.rows_of(part)})

    def images_of_classes(self) -> np.ndarray:
        """Number of training images of each class (K,)."""
        known = self.train.labels[self.train.labels >= 0]
        return np.bincount(known, minlength=len(self.classes))

    def validation_images(self) -> tuple[SliceDataset, list[str]]:
        """The validation images, and training images in place of classes that have no validation person.

        Samples contain those classes too, so a distance to real images without them would be too large.

        Returns:
            the images, and the names of those classes.
        """
        unseen = self.rows_of("validation")
        lacking = sorted(set(self.train.labels) - set(self.slices_of(unseen).labels) - {-1})
        stand_ins = self.rows_of("train")[np.isin(self.train.labels, lacking)]
        found = self.slices_of(np.concatenate([unseen, stand_ins]))
        return found, [self.classes[label] for label in lacking]

    def write_tables(self, folder: Path) -> None:
        """Write `split.csv`, for `data.subjects=csv:FILE`, and `skipped.csv` if files were skipped."""
        write_split(folder / "split.csv", self.files, self.subjects, self.split.parts)
        if self.skipped:
            write_table(folder / "skipped.csv", ["file", "reason"], self.skipped)
            log.info(f"{len(self.skipped)} unreadable images skipped: {folder / 'skipped.csv'}")

    def describe(self) -> dict[str, Any]:
        """The folder's part of a run's record, as plain containers."""
        images = Counter(file.label for file in self.files)
        return {
            "root": str(self.root),
            "fingerprint": self.fingerprint,
            "images": len(self.files),
            "classes": {name: images[name] for name in self.classes},
            "conditions": self.quantiles,
            "conditions_of_classes": self.quantiles_of_classes,
            "people": self.people_trained_on(),
            "people_in_train": 0 if self.subjects.rule == "none" else self.people_in("train"),
            "subject_rule": self.subjects.rule,
            "notes": self.people.notes,
            "draw": DRAW,
            "subjects": len(set(self.subjects.subject)),
            "split": dict(Counter(self.split.parts)),
            "skipped": [list(item) for item in self.skipped],
        }

    def people_trained_on(self) -> dict[str, int]:
        """How many people of each class are in train; empty if the people are unknown."""
        if self.subjects.rule == "none":
            return {}
        train = self.rows_of("train")
        pairs = {(self.files[row].label, self.subjects.subject[row]) for row in train}
        return {name: sum(label == name for label, _ in pairs) for name in self.classes}
