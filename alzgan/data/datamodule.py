"""The Lightning face of the data: a folder of slices becomes batches."""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from alzgan.data.arrays import cache_folder, decode
from alzgan.data.folder import class_names
from alzgan.data.loader import ShuffledBatches, SliceDataset
from alzgan.data.phantom import write_phantom
from alzgan.data.splits import make_split, write_split
from alzgan.data.subjects import identify
from alzgan.runtime.errors import UserError
from alzgan.runtime.images import to_float
from alzgan.runtime.streams import stream

log = logging.getLogger(__name__)


class MRIDataModule(LightningDataModule):
    """A folder of images with a subfolder for each class, decoded once and served in shuffled batches.

    Usable by itself, in a notebook say::

        data = MRIDataModule(root="alzheimer", image_size=64)
        data.setup()
        images, labels = next(iter(data.train_dataloader()))  # uint8 (64, 3, 64, 64), int64 (64,)

    Under a Trainer the module receives float images in [-1, 1]: they cross to the device as uint8.

    Args:
        root: the folder.
        image_size: height and width of the images, in pixels.
        channels: 1 (grey) or 3 (RGB).
        batch_size: images in a batch of one device.
        num_workers: of the DataLoader; decoded data does not need any.
        fit: how an image that is not square becomes so, "crop" or "pad".
        bad_files: "error" at the first unreadable image, or "skip" and list them.
        cache_dir: of the decoded images; None: $ALZGAN_CACHE, else ~/.cache/alzgan.
        subjects: who is in which slice, see `alzgan.data.subjects.identify`.
        fractions: of the people in train, validation and test; only train is trained on.
        split_seed: of the split; not `seed`, so that the runs of a sweep hold out the same people.
        seed: of the order of the batches.
    """

    def __init__(
        self,
        root: str | Path,
        image_size: int = 64,
        channels: int = 3,
        batch_size: int = 64,
        num_workers: int = 0,
        fit: str = "crop",
        bad_files: str = "error",
        cache_dir: str | Path | None = None,
        subjects: str = "auto",
        fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
        split_seed: int = 0,
        seed: int = 0,
    ):
        super().__init__()
        self.root = Path(root).expanduser()
        self.image_size = image_size
        self.channels = channels
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.fit = fit
        self.bad_files = bad_files
        self.cache_dir = cache_folder(cache_dir)
        self.subject_rule = subjects
        self.fractions = fractions
        self.split_seed = split_seed
        self.seed = seed
        self.dataset: SliceDataset | None = None

    def setup(self, stage: str | None = None) -> None:
        """Scan and decode the folder, once.

        Raises:
            UserError: the folder cannot be used; the message says why.
        """
        if self.dataset is not None:
            return
        decoded = decode(
            self.root,
            image_size=self.image_size,
            channels=self.channels,
            fit=self.fit,
            bad_files=self.bad_files,
            cache_dir=self.cache_dir,
        )
        self.fingerprint = decoded.fingerprint
        self.files, self.skipped = decoded.files, decoded.skipped
        self.classes = class_names(self.files)
        names = [file.label for file in self.files]
        self.subjects = identify(self.root, self.files, self.subject_rule)
        self.split = make_split(names, self.subjects, self.fractions, self.split_seed)
        for note in (*self.subjects.notes, *self.split.notes):
            log.info(note)
        train = np.flatnonzero(np.array(self.split.parts) == "train")
        self.dataset = SliceDataset(decoded.images, np.array([self.classes.index(n) for n in names]), train)

    def write_split(self, path: Path) -> None:
        """Write who is in which part as a CSV that `data.subjects=csv:FILE` reads back."""
        write_split(path, self.files, self.subjects, self.split.parts)

    def describe(self) -> dict[str, Any]:
        """What the run's record says of the data: plain containers."""
        return {
            "root": str(self.root),
            "fingerprint": self.fingerprint,
            "images": len(self.files),
            "classes": dict(Counter(file.label for file in self.files)),
            "subject_rule": self.subjects.rule,
            "subjects": len(set(self.subjects.subject)),
            "split": dict(Counter(self.split.parts)),
            "skipped": [list(item) for item in self.skipped],
        }

    def __len__(self) -> int:
        """Number of training images."""
        return len(self.dataset)

    def train_dataloader(self) -> DataLoader:
        """Batches of uint8 images (N, C, H, W) and labels (N,), continuing at the trainer's step."""
        trainer = self.trainer
        batches = ShuffledBatches(
            len(self.dataset),
            self.batch_size,
            self.seed,
            step=lambda: trainer.global_step if trainer else 0,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
        )
        if len(batches) == 0:
            raise UserError(
                f"{self.root} has {len(self)} images to train on, fewer than a batch; "
                f"set data.batch_size to {len(self)} or less"
            )
        return DataLoader(
            self.dataset,
            sampler=batches,
            batch_size=None,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def on_after_batch_transfer(
        self, batch: tuple[Tensor, Tensor], dataloader_idx: int
    ) -> tuple[Tensor, Tensor]:
        """Turn the images into floats in [-1, 1], on the device."""
        images, labels = batch
        return to_float(images), labels

    def real_batches(self, batch_size: int) -> Iterator[Tensor]:
        """All training images, uint8 (N, C, H, W), in order."""
        for start in range(0, len(self), batch_size):
            yield self.dataset[np.arange(start, min(start + batch_size, len(self)))][0]

    def sample_real(self, count: int) -> tuple[Tensor, Tensor]:
        """A random `count` of the training images, uint8 (N, C, H, W), with labels; the same for a seed."""
        count = min(count, len(self))
        return self.dataset[stream(self.seed, "real grid").choice(len(self), count, replace=False)]


class PhantomDataModule(MRIDataModule):
    """Procedural brain slices, written as PNG files and then read like any scan.

    Args:
        root: where to write them; None: a folder in the cache.
        **options: as of `MRIDataModule`.
    """

    def __init__(self, root: str | Path | None = None, **options):
        super().__init__(root or cache_folder(options.get("cache_dir")) / "phantom", **options)

    def setup(self, stage: str | None = None) -> None:
        """Write the phantom unless it is there, then read it."""
        write_phantom(self.root)
        super().setup(stage)
