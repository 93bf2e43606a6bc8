"""The LightningDataModule: a folder of slices becomes batches."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule, Trainer
from torch import Tensor

from alzgan.data.conditions import with_unlabelled
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
from alzgan.data.slices import SliceFolder
from alzgan.device.pixels import to_float
from alzgan.device.streams import stream
from alzgan.errors import UserError, at_least, seed_of_streams
from alzgan.files import cache_folder
from alzgan.images.arrays import Preprocessing
from alzgan.people.cohort import Cohort
from alzgan.people.splits import apportion
from alzgan.sources.phantom import write_phantom
from alzgan.text import counted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batching:
    """How a batch is made.

    Args:
        batch_size: images in a batch of one device.
        num_workers: processes that make the batches. 0 is enough for decoded data: this process makes them,
            on a CUDA device from a copy in its memory.
        sampling: how often each class is shown, see `alzgan.data.sampling.class_weights`.
        conditions: the labels of an image, see `alzgan.data.slices.SliceFolder`.
        seed: seeds the order of the images.

    Raises:
        SettingError: a value is out of its range.
    """

    batch_size: int = 64
    num_workers: int = 0
    sampling: Sampling = "as_is"
    conditions: Sequence[str] = ("class",)
    seed: int = 0

    def __post_init__(self):
        at_least(1, batch_size=self.batch_size)
        at_least(0, num_workers=self.num_workers)
        seed_of_streams(seed=self.seed)


class MRIDataModule(SliceFolder, LightningDataModule):
    """A folder of images with a subfolder for each class, decoded once and served in shuffled batches.

    It works without a Trainer::

        data = MRIDataModule(root="alzheimer", image_size=64)
        data.setup()
        images, labels = next(iter(data.train_dataloader()))  # uint8 (64, 3, 64, 64), int64 (64,)

        held_out = data.part("test")  # of people who are not in train; see data.subjects
        images, labels = held_out[np.arange(len(held_out))]

    Under a Trainer the module receives float images in [-1, 1]; they are transferred as uint8. There is no
    `val_dataloader`, since nothing is fitted to the held-out people; metrics get them from `part`.

    Args:
        root: the folder.
        **settings: of `Cohort`, `Preprocessing` and `Batching`, each by its own name.

    Attributes:
        dataset: the training images, after `setup`.

    Raises:
        SettingError: a value is out of its range.
        UserError: `root` is not set.
    """

    shared_out_to = Cohort, Preprocessing, Batching

    def __init__(self, root: str | Path | None = None, **settings: Any):
        LightningDataModule.__init__(self)
        settings["root"] = root
        names = [{field.name for field in fields(kind)} for kind in self.shared_out_to]
        if unknown := settings.keys() - set().union(*names):
            raise TypeError(f"{type(self).__name__} has no setting {min(unknown)}")
        cohort, preprocessing, self.batching = (
            kind(**{name: settings[name] for name in own & settings.keys()})
            for kind, own in zip(self.shared_out_to, names, strict=True)
        )
        SliceFolder.__init__(self, cohort, preprocessing, self.batching.conditions)
        self.batch_size, self.sampling = self.batching.batch_size, self.batching.sampling

    @cached_property
    def dataset(self) -> SliceDataset:
        """The training images, labelled as training shows them; UserError if there is no batch of them."""
        _ = self.weights  # before the long work
        self.read()
        for note in self.people.notes:
            log.info(note)
        self.check_size()
        self.mark_unlabelled()
        return self.train

    @cached_property
    def weights(self) -> list[float] | None:
        """How often each class is shown, see `alzgan.data.sampling.class_weights`."""
        return class_weights(self.sampling, self.classes)

    def setup(self, stage: str | None = None) -> None:
        """Read the folder, once, for training; UserError if it has no batch to train on."""
        _ = self.dataset

    def describe(self) -> dict[str, Any]:
        """The data's part of a run's record, as plain containers."""
        return {**super().describe(), "unlabelled": self.unlabelled, "shares": self.class_shares().tolist()}

    def mark_unlabelled(self) -> None:
        """Mark the unknown labels of the training images, see `with_unlabelled`.

        Raises:
            UserError: `sampling` weighs the classes, and some are unknown.
        """
        unknown = self.train.labels < 0
        if self.weights is not None and unknown.any():
            raise UserError(
                f"data.sampling={self.sampling}: {counted(int(unknown.sum()), 'training image')} without a "
                "class: fill in the column class, or leave data.sampling out"
            )
        labels = self.train.table.copy()
        if "class" not in self.conditions:  # the networks do not see it
            labels.reshape(len(labels), -1)[unknown, 0] = 0
        self.train.table = with_unlabelled(labels, self.batching.seed)
        if self.unlabelled:
            log.info(
                f"{self.unlabelled} of {counted(len(self), 'training image')} lack "
                f"{' or '.join(self.conditions)}: they are trained on without labels"
            )

    @property
    def unlabelled(self) -> int:
        """How many training images lack a condition."""
        marked = self.train.table.ndim == 2 and self.train.table.shape[1] > 1 + len(self.numbers)
        return int((self.train.table[:, -1] == 0).sum()) if marked else 0

    def train_dataloader(self) -> Batches:
        """Batches of uint8 images (N, C, H, W) and labels (N,), continuing at the trainer's step.

        Raises:
            UserError: there is no batch for each device.
        """
        self.setup()
        trainer = self.trainer
        self.check_size(trainer.world_size if trainer else 1)  # `setup` does not know the number of devices
        course: dict[str, Any] = {
            "batch_size": self.batch_size,
            "seed": self.batching.seed,
            "step": lambda: trainer.global_step if trainer else 0,
            "rank": trainer.global_rank if trainer else 0,
            "world_size": trainer.world_size if trainer else 1,
        }
        batches = (
            ShuffledBatches(len(self), **course)
            if self.weights is None
            else WeightedBatches(self.train.labels, self.weights, **course)
        )
        on_cuda = trainer is not None and trainer.strategy.root_device.type == "cuda"
        if self.batching.num_workers > 0:
            return WorkerBatches(self.dataset, batches, self.batching.num_workers, pin=on_cuda)
        source = self.served_from(trainer)
        return Batches(source, batches, pin=on_cuda and source is self.dataset)

    def check_size(self, devices: int = 1) -> None:
        """Raise UserError if there are too few training images for a batch on each device."""
        largest = len(self) // devices
        if largest < self.batch_size:
            wanted = "a batch" if devices == 1 else f"a batch for each of {devices} devices"
            advice = f"set data.batch_size to {largest} or less" if largest else "give more"
            images = counted(len(self), "training image")
            raise UserError(f"{self.root} has {images}, fewer than {wanted}; {advice}")

    def served_from(self, trainer: Trainer | None) -> SliceDataset | ResidentSlices:
        """The training images where batches are fastest to take: on a CUDA device, if they fit."""
        device = trainer.strategy.root_device if trainer else torch.device("cpu")
        return ResidentSlices(self.dataset, device) if fits_on_device(self.dataset, device) else self.dataset

    def on_after_batch_transfer(
        self, batch: tuple[Tensor, Tensor], dataloader_idx: int
    ) -> tuple[Tensor, Tensor]:
        """Convert the images to floats in [-1, 1], on the device, in the module's precision."""
        images, labels = batch
        assert self.trainer is not None, "Lightning calls this hook under a trainer"
        return to_float(images).to(self.trainer.lightning_module.dtype), labels

    def sample_real(self, count: int) -> tuple[Tensor, Tensor]:
        """Up to `count` random training images, uint8 (N, C, H, W), with labels; a function of the seed."""
        count = min(count, len(self))
        return self.dataset[stream(self.batching.seed, "real grid").choice(len(self), count, replace=False)]

    def class_shares(self) -> np.ndarray:
        """The share of each class (K,) in training, among the images with a known class."""
        images = self.images_of_classes()
        shown = images if self.weights is None else np.array(self.weights) * (images > 0)
        return shown / shown.sum()

    def image_weights(self, images: SliceDataset) -> Tensor:
        """A weight of each image (N,), so that each class has the share that it has in training.

        If an image has no class, all weights are equal.
        """
        if (images.labels < 0).any():
            return torch.full((len(images),), 1 / len(images), dtype=torch.float64)
        counts = np.bincount(images.labels, minlength=len(self.classes))
        return torch.from_numpy((self.class_shares() / counts.clip(1))[images.labels])

    def draw_labels(self, count: int, purpose: str) -> Tensor:
        """Labels of `count` images in random order; each class has exactly its share in training.

        Numbers are taken from random images of the class.
        """
        labels = np.repeat(np.arange(len(self.classes)), apportion(count, self.class_shares()))
        draws = stream(self.batching.seed, f"labels/{purpose}")
        labels = draws.permutation(labels)
        if not self.numbers:
            return torch.from_numpy(labels)
        images = np.empty(count, int)
        for label in np.unique(labels):
            members = np.flatnonzero(self.train.labels == label)
            images[labels == label] = draws.choice(members, np.count_nonzero(labels == label))
        return torch.from_numpy(self.train.table[images])


class PhantomDataModule(MRIDataModule):
    """Procedural brain slices, written as PNG files and then read like any scan.

    Args:
        root: where to write them; None: a folder in the cache.
        **settings: as in `MRIDataModule`.
    """

    def __init__(self, root: str | Path | None = None, **settings: Any):
        super().__init__(root or cache_folder(settings.get("cache_dir")) / "phantom", **settings)

    def prepare_folder(self) -> None:
        """Write the phantom unless it exists."""
        write_phantom(self.root)
