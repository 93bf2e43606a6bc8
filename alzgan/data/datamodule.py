"""The Lightning face of the data: a folder of slices becomes batches."""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule, Trainer
from torch import Tensor

from alzgan.data.conditions import conditions_of, with_unlabelled
from alzgan.data.loader import (
    Batches,
    ResidentSlices,
    ShuffledBatches,
    SliceDataset,
    WeightedBatches,
    WorkerBatches,
    fits_on_device,
)
from alzgan.data.sampling import Sampling, class_weights
from alzgan.data.stacks import neighbouring_slices
from alzgan.device.pixels import to_float
from alzgan.device.streams import stream
from alzgan.errors import SettingError, UserError, at_least, seed_of_streams
from alzgan.files import cache_folder, write_table
from alzgan.images.arrays import Preprocessing, decode
from alzgan.images.folder import ImageFile, class_names
from alzgan.people.cohort import Cohort
from alzgan.people.splits import DRAW, apportion, write_split
from alzgan.people.subjects import FEW_PEOPLE, PARTS
from alzgan.sources.phantom import write_phantom
from alzgan.text import counted

log = logging.getLogger(__name__)


class MRIDataModule(LightningDataModule):
    """A folder of images with a subfolder for each class, decoded once and served in shuffled batches.

    Usable by itself, in a notebook say::

        data = MRIDataModule(root="alzheimer", image_size=64)
        data.setup()
        images, labels = next(iter(data.train_dataloader()))  # uint8 (64, 3, 64, 64), int64 (64,)

        held_out = data.part("test")  # of people who are not in train; data.subjects says who is who
        images, labels = held_out[np.arange(len(held_out))]

    Under a Trainer the module receives float images in [-1, 1]: they cross to the device as uint8. There is
    no `val_dataloader`: nothing is fitted to the held-out people, `part` gives them to whoever measures.

    Args:
        root: the folder.
        image_size: height and width of the images, in pixels.
        channels: 1 (grey) or 3 (RGB); with `slices_as_channels` an odd number from 3 on.
        slices_as_channels: an image is a grey slice with its neighbours of the same person as channels
            ("2.5-D"); at the ends of a stack the last slice is repeated.
        batch_size: images in a batch of one device.
        num_workers: processes that make the batches. Decoded data needs none: with 0 this process takes
            them, on a CUDA device from a copy there.
        fit: how an image that is not square becomes so, "crop" or "pad".
        bad_files: "error" at the first unreadable image, or "skip" and list them.
        cache_dir: of the decoded images, see `alzgan.files.cache_folder`.
        subjects: who is in which slice, see `alzgan.people.subjects.identify`.
        classes: what a class is, see `alzgan.images.folder.survey`.
        exclude: a pattern, or several, of paths and names that are left out.
        fractions: of the people in train, validation and test; only train is trained on.
        split_seed: of the split; not `seed`, so that the runs of a sweep hold out the same people.
        sampling: how often each class is shown, "as_is", "balanced" or a weight for each,
            see `alzgan.data.sampling.class_weights`.
        conditions: what an image is labelled with: "class", "slice" (its place in the scan), or a column of
            numbers of the table that `subjects` names.
        seed: of the order of the batches.

    Raises:
        SettingError: a value is out of its range.
        UserError: `root` is not set.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        image_size: int = 64,
        channels: int = 3,
        slices_as_channels: bool = False,
        batch_size: int = 64,
        num_workers: int = 0,
        fit: str = "crop",
        bad_files: str = "error",
        cache_dir: str | Path | None = None,
        subjects: str = "auto",
        classes: str = "auto",
        exclude: str | Sequence[str] | None = None,
        fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
        split_seed: int = 0,
        sampling: Sampling = "as_is",
        conditions: Sequence[str] = ("class",),
        seed: int = 0,
    ):
        super().__init__()
        at_least(1, batch_size=batch_size)
        at_least(0, num_workers=num_workers)
        seed_of_streams(seed=seed)
        check_channels(channels, slices_as_channels)
        self.cohort = Cohort(
            root, subjects, classes, exclude, bad_files, tuple(fractions), split_seed, cache_dir
        )
        self.root = self.cohort.folder
        self.preprocessing = Preprocessing(image_size, 1 if slices_as_channels else channels, fit)
        self.channels = channels
        self.slices_as_channels = slices_as_channels
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.sampling = sampling
        self.conditions = (
            [conditions] if isinstance(conditions, str) else list(dict.fromkeys(conditions or []))
        )
        self.seed = seed
        self.dataset: SliceDataset | None = None
        self.kept_split: Path | None = None  # a table with people and parts of a run that goes on

    def prepare_folder(self) -> None:
        """Make the folder, where it is this module's to make."""

    @cached_property
    def found(self) -> list[ImageFile]:
        """What the folder holds, by names alone.

        Raises:
            UserError: it cannot be used.
        """
        self.prepare_folder()
        return self.cohort.scan()

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes; a label is an index of these.

        Raises:
            UserError: the folder cannot be used.
        """
        return class_names(self.found)

    @property
    def numbers(self) -> list[str]:
        """Names of the conditions that are numbers: the columns of a label behind its class."""
        return [name for name in self.conditions if name != "class"]

    @cached_property
    def weights(self) -> list[float] | None:
        """How often each class is shown, see `alzgan.data.sampling.class_weights`.

        Raises:
            UserError: `sampling` does not fit the classes.
        """
        return class_weights(self.sampling, self.classes)

    def setup(self, stage: str | None = None) -> None:
        """Scan and decode the folder, once.

        Raises:
            UserError: the folder cannot be used, or its train part has no batch; the message says why.
        """
        if self.dataset is not None:
            return
        _ = self.weights  # before the long work
        if self.kept_split is None:
            self.cohort.check_table(self.found)
        decoded = decode(
            self.root,
            self.found,
            self.preprocessing,
            bad_files=self.cohort.bad_files,
            cache_dir=self.cohort.cache_dir,
        )
        self.skipped = decoded.skipped
        self.people = self.cohort.people(
            decoded.files, decoded.constant, decoded.two_valued, decoded.thumbnails, self.kept_split
        )
        self.files, self.subjects, self.split = self.people.files, self.people.subjects, self.people.split
        for note in self.people.notes:
            log.info(note)
        self.images = decoded.images
        self.labels = np.array([self.index_of(file.label) for file in decoded.files])
        self.stacks = rows = self.people.rows
        trained_on = np.flatnonzero(np.array(self.split.parts) == "train")
        if len(trained_on) < self.batch_size:
            raise UserError(self.too_few(len(trained_on), "a batch", len(trained_on)))
        self.read_numbers(trained_on, rows)
        if self.slices_as_channels:
            parts = self.split.parts
            self.stacks = rows[neighbouring_slices(self.files, self.subjects, self.channels, parts)]
        self.dataset = self.slices_of(trained_on)
        # Of what is trained on: another split is another data set.
        identity = decoded.fingerprint.encode() + self.dataset.stacks.tobytes()
        if self.numbers or self.cohort.classes == "csv":  # what a table says, and no path
            identity += self.dataset.table.tobytes()
        self.fingerprint = hashlib.blake2b(identity, digest_size=16).hexdigest()
        self.mark_unlabelled()

    def read_numbers(self, trained_on: np.ndarray, rows: np.ndarray) -> None:
        """Read the conditions that are numbers, for all images of the folder.

        Args:
            trained_on: which of `files` are in train.
            rows: of the images of all `files`.
        """
        found = conditions_of(self.numbers, self.files, self.subjects, trained_on)
        self.number_values = np.zeros((len(self.labels), len(self.numbers)), np.float32)
        self.number_values[rows] = found.scaled()
        self.quantiles = found.quantiles(trained_on, self.subjects.subject)
        kinds = [trained_on[self.labels[rows[trained_on]] == kind] for kind in range(len(self.classes))]
        self.quantiles_of_classes = [  # those of few people would be their own numbers
            found.quantiles(each, self.subjects.subject, FEW_PEOPLE, self.quantiles) for each in kinds
        ]

    def index_of(self, label: str) -> int:
        """The index of a class; -1 where it is unknown."""
        return self.classes.index(label) if label else -1

    def mark_unlabelled(self) -> None:
        """Mark which of the labels to train on are unknown, see `with_unlabelled`.

        Raises:
            UserError: `sampling` weighs the classes, and some are unknown.
        """
        unknown = self.dataset.labels < 0
        if self.weights is not None and unknown.any():
            raise UserError(
                f"data.sampling={self.sampling}: {counted(int(unknown.sum()), 'image')} to train on have no "
                "class: fill in the column class, or leave data.sampling out"
            )
        labels = self.dataset.table.copy()
        if "class" not in self.conditions:  # the networks do not see it
            labels.reshape(len(labels), -1)[unknown, 0] = 0
        self.dataset.table = with_unlabelled(labels, self.seed)
        if self.unlabelled:
            log.info(
                f"{self.unlabelled} of {counted(len(self), 'image')} to train on lack "
                f"{' or '.join(self.conditions)}: they are trained without labels"
            )

    @property
    def unlabelled(self) -> int:
        """How many of the images to train on lack a condition."""
        marked = self.dataset.table.ndim == 2 and self.dataset.table.shape[1] > 1 + len(self.numbers)
        return int((self.dataset.table[:, -1] == 0).sum()) if marked else 0

    def part(self, name: str) -> SliceDataset:
        """One of "train", "validation" and "test": index it with an array to get images and labels.

        Raises:
            UserError: there is no such part, or the folder cannot be used.
        """
        if name not in PARTS:
            raise UserError(f"there is no part {name} of the data, only {', '.join(PARTS)}")
        self.setup()
        return self.slices_of(self.rows_of(name))

    def rows_of(self, part: str) -> np.ndarray:
        """The rows of a part in `files`, when all are decoded."""
        return np.flatnonzero(np.array(self.split.parts) == part)

    def slices_of(self, rows: np.ndarray) -> SliceDataset:
        """The images of some rows, when all are decoded."""
        return SliceDataset(self.images, self.labels, self.stacks[rows], self.number_values)

    def people_in(self, part: str) -> int:
        """How many people a part has; where nobody knows who is who, how many images."""
        return len({self.subjects.subject[row] for row in self.rows_of(part)})

    def validation_images(self) -> tuple[SliceDataset, list[str]]:
        """The images of the validation people, then those of training people of the classes without any.

        Samples have those classes too: beside real images without them they would be too far.

        Returns:
            the images, and the names of those classes.
        """
        unseen = self.rows_of("validation")
        lacking = sorted(set(self.dataset.labels) - set(self.slices_of(unseen).labels))
        stand_ins = self.rows_of("train")[np.isin(self.dataset.labels, lacking)]
        found = self.slices_of(np.concatenate([unseen, stand_ins]))
        return found, [self.classes[label] for label in lacking]

    def write_tables(self, folder: Path) -> None:
        """Write `split.csv`, which `data.subjects=csv:FILE` reads back, and `skipped.csv` if any file was."""
        write_split(folder / "split.csv", self.files, self.subjects, self.split.parts)
        if self.skipped:
            write_table(folder / "skipped.csv", ["file", "reason"], self.skipped)
            log.info(f"{len(self.skipped)} unreadable images skipped: {folder / 'skipped.csv'}")

    def describe(self) -> dict[str, Any]:
        """What the run's record says of the data: plain containers."""
        images = Counter(file.label for file in self.files)
        return {
            "root": str(self.root),
            "fingerprint": self.fingerprint,
            "images": len(self.files),
            "classes": {name: images[name] for name in self.classes},
            "conditions": self.quantiles,
            "conditions_of_classes": self.quantiles_of_classes,
            "unlabelled": self.unlabelled,
            "people": self.people_trained_on(),
            "people_in_train": len(self.trained_people()),
            "shares": self.class_shares().tolist(),
            "subject_rule": self.subjects.rule,
            "notes": self.people.notes,
            "draw": None if self.kept_split else DRAW,
            "subjects": len(set(self.subjects.subject)),
            "split": dict(Counter(self.split.parts)),
            "skipped": [list(item) for item in self.skipped],
        }

    def people_trained_on(self) -> dict[str, int]:
        """How many people of each class are in train; empty where nobody knows who is who."""
        if self.subjects.rule == "none":
            return {}
        rows = zip(self.files, self.subjects.subject, self.split.parts, strict=True)
        pairs = {(file.label, who) for file, who, part in rows if part == "train"}
        return {name: sum(label == name for label, _ in pairs) for name in self.classes}

    def trained_people(self) -> set[str]:
        """Who is in train; each once, in however many classes. Empty where nobody knows who is who."""
        if self.subjects.rule == "none":
            return set()
        pairs = zip(self.subjects.subject, self.split.parts, strict=True)
        return {who for who, part in pairs if part == "train"}

    def __len__(self) -> int:
        """Number of training images."""
        return len(self.dataset)

    def train_dataloader(self) -> Batches:
        """Batches of uint8 images (N, C, H, W) and labels (N,), continuing at the trainer's step.

        Raises:
            UserError: the folder cannot be used, or has no batch for each device.
        """
        self.setup()
        trainer = self.trainer
        course = {
            "batch_size": self.batch_size,
            "seed": self.seed,
            "step": lambda: trainer.global_step if trainer else 0,
            "rank": trainer.global_rank if trainer else 0,
            "world_size": trainer.world_size if trainer else 1,
        }
        if self.weights is None:
            batches = ShuffledBatches(len(self), **course)
        else:
            batches = WeightedBatches(self.dataset.labels, self.weights, **course)
        if len(batches) == 0:  # `setup` knows of no other device
            devices = course["world_size"]
            raise UserError(
                self.too_few(len(self), f"a batch for each of {devices} devices", len(self) // devices)
            )
        on_cuda = trainer is not None and trainer.strategy.root_device.type == "cuda"
        if self.num_workers > 0:
            return WorkerBatches(self.dataset, batches, self.num_workers, pin=on_cuda)
        source = self.served_from(trainer)
        return Batches(source, batches, pin=on_cuda and source is self.dataset)

    def too_few(self, images: int, wanted: str, largest: int) -> str:
        """The line for a train part that is too small."""
        advice = f"set data.batch_size to {largest} or less" if largest else "give more"
        return f"{self.root} has {counted(images, 'image')} to train on, fewer than {wanted}; {advice}"

    def served_from(self, trainer: Trainer | None) -> SliceDataset | ResidentSlices:
        """The training images where batches are fastest taken from: on a CUDA device, if there is room."""
        device = trainer.strategy.root_device if trainer else torch.device("cpu")
        return ResidentSlices(self.dataset, device) if fits_on_device(self.dataset, device) else self.dataset

    def on_after_batch_transfer(
        self, batch: tuple[Tensor, Tensor], dataloader_idx: int
    ) -> tuple[Tensor, Tensor]:
        """Turn the images into floats in [-1, 1], on the device, of the module's precision."""
        images, labels = batch
        return to_float(images).to(self.trainer.lightning_module.dtype), labels

    def sample_real(self, count: int) -> tuple[Tensor, Tensor]:
        """A random `count` of the training images, uint8 (N, C, H, W), with labels; the same for a seed."""
        count = min(count, len(self))
        return self.dataset[stream(self.seed, "real grid").choice(len(self), count, replace=False)]

    def images_of_classes(self) -> np.ndarray:
        """How many of the images to train on are of each class (K,)."""
        known = self.dataset.labels[self.dataset.labels >= 0]
        return np.bincount(known, minlength=len(self.classes))

    def class_shares(self) -> np.ndarray:
        """The share of each class (K,) among the images that training shows and whose class is known."""
        images = self.images_of_classes()
        shown = images if self.weights is None else np.array(self.weights) * (images > 0)
        return shown / shown.sum()

    def image_weights(self, images: SliceDataset) -> Tensor:
        """A weight of each image (N,) that gives each class its share of what is shown in training.

        Where not all have a class, each image has the same.
        """
        if (images.labels < 0).any():
            return torch.full((len(images),), 1 / len(images), dtype=torch.float64)
        counts = np.bincount(images.labels, minlength=len(self.classes))
        return torch.from_numpy((self.class_shares() / counts.clip(1))[images.labels])

    def draw_labels(self, count: int, purpose: str) -> Tensor:
        """Labels of so many images in random order; each class has its share of what is shown, exactly.

        Their numbers are those of images of the class.
        """
        labels = np.repeat(np.arange(len(self.classes)), apportion(count, self.class_shares()))
        draws = stream(self.seed, f"labels/{purpose}")
        labels = draws.permutation(labels)
        if not self.numbers:
            return torch.from_numpy(labels)
        images = np.empty(count, int)
        for label in np.unique(labels):
            members = np.flatnonzero(self.dataset.labels == label)
            images[labels == label] = draws.choice(members, np.count_nonzero(labels == label))
        return torch.from_numpy(self.dataset.table[images])


class PhantomDataModule(MRIDataModule):
    """Procedural brain slices, written as PNG files and then read like any scan.

    Args:
        root: where to write them; None: a folder in the cache.
        **options: as of `MRIDataModule`.
    """

    def __init__(self, root: str | Path | None = None, **options):
        super().__init__(root or cache_folder(options.get("cache_dir")) / "phantom", **options)

    def prepare_folder(self) -> None:
        """Write the phantom unless it is there."""
        write_phantom(self.root)


def check_channels(channels: int, slices_as_channels: bool) -> None:
    """Check that images can have so many channels.

    Raises:
        SettingError: they cannot.
    """
    if slices_as_channels and (channels < 3 or channels % 2 == 0):
        raise SettingError(
            f"channels={channels} must be an odd number from 3 on with data.slices_as_channels=true: "
            "a slice and as many neighbours on each side"
        )
    if not slices_as_channels and channels not in (1, 3):
        raise SettingError(
            f"channels={channels} must be 1 (grey) or 3 (RGB); neighbouring slices as channels need "
            "data.slices_as_channels=true"
        )
