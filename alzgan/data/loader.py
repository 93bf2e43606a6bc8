"""Batches from the decoded array; their order is a function of (seed, epoch) alone."""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from alzgan.device.precision import to_device
from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.people.splits import apportion

COPIED_AT_ONCE = 1024  # images copied to a device at a time


class SliceDataset(Dataset[tuple[Tensor, Tensor]]):
    """Whole batches of uint8 images (N, C, H, W), stored channels last, with their labels.

    Labels are class indices (N,), or a float32 table (N, 1 + m) if the images have numbers.

    Args:
        images: uint8 (M, H, W, C), may be memory-mapped.
        labels: (M,) class indices; -1: unknown.
        chosen: (K,) rows in the dataset; or (K, k): each item stacks the channels of k images
            (`alzgan.data.stacks`) and has the label of the middle one.
        numbers: (M, m) float32, see `alzgan.data.conditions`; NaN: unknown.

    Attributes:
        labels: (K,) class indices.
        table: the labels that batches carry: (K,) or (K, 1 + m); may be replaced.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        chosen: np.ndarray,
        numbers: np.ndarray | None = None,
    ):
        self.images = images
        self.stacks = chosen if chosen.ndim == 2 else chosen[:, None]
        middle = self.stacks[:, self.stacks.shape[1] // 2]
        self.table = self.labels = labels[middle]
        if numbers is not None and numbers.shape[1]:
            self.table = np.concatenate([self.labels[:, None].astype(np.float32), numbers[middle]], 1)

    def __len__(self) -> int:
        return len(self.stacks)

    def __getitem__(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """The batch at an array of indices (N,), each below K."""
        stacks = self.images[self.stacks[indices]]  # (N, k, H, W, C)
        count, slices, height, width, channels = stacks.shape
        images = np.ascontiguousarray(stacks.transpose(0, 2, 3, 1, 4)).reshape(
            count, height, width, slices * channels
        )
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(self.table[indices])


class ResidentSlices:
    """The same batches from a copy of the dataset in a device's memory; only indices are transferred.

    Args:
        dataset: the dataset to copy.
        device: where to copy it.
    """

    def __init__(self, dataset: SliceDataset, device: torch.device):
        blocks = np.array_split(np.arange(len(dataset)), -(-len(dataset) // COPIED_AT_ONCE))
        # Channels last, as stored, so that batches are channels last too.
        images = [dataset[block][0].permute(0, 2, 3, 1).to(device) for block in blocks]
        self.images = torch.cat(images)
        self.labels = torch.from_numpy(dataset.table).to(device)

    def __getitem__(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """The batch at an array of indices (N,)."""
        rows = to_device(indices, self.images.device)
        return self.images[rows].permute(0, 3, 1, 2), self.labels[rows]


@dataclass(eq=False)
class Batches:
    """A dataset's batches in a sampler's order, made in this process.

    A DataLoader without workers yields the same, but its overhead is as long as a small training step.

    Args:
        dataset: returns the batch at an array of indices.
        order: yields the arrays of indices.
        pin: copy each batch to pinned memory, from which a CUDA device copies without waiting.
    """

    dataset: SliceDataset | ResidentSlices
    order: "ShuffledBatches"
    pin: bool = False

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self.made():
            yield (images.pin_memory(), labels.pin_memory()) if self.pin else (images, labels)

    def made(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches, before they are pinned."""
        return map(self.dataset.__getitem__, self.order)


class WorkerBatches(Batches):
    """The same batches, made by other processes.

    The processes send arrays through pipes. Tensors would go through `/dev/shm`, of which a Docker container
    has 64 MB; torch hangs when it is full.

    `workers` is the number of processes; the other arguments are those of `Batches`.
    """

    def __init__(self, dataset: SliceDataset, order: "ShuffledBatches", workers: int, pin: bool = False):
        super().__init__(dataset, order, pin)
        self.loader = DataLoader(
            dataset,
            sampler=order,
            batch_size=None,
            num_workers=workers,
            collate_fn=as_arrays,  # type: ignore[arg-type]  # with batch_size=None it gets one batch, no list
            worker_init_fn=leave_signals_to_the_run,
        )

    def made(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches, before they are pinned.

        Raises:
            UserError: the workers cannot be started.
        """
        try:
            return map(as_tensors, iter(self.loader))
        except OSError as error:  # the queues' semaphores are files in /dev/shm
            raise UserError(
                f"data.num_workers={self.loader.num_workers} cannot be started: {error.strerror}; set "
                "data.num_workers=0, or give /dev/shm more room (docker run --shm-size=1g)"
            ) from None


def as_arrays(batch: tuple[Tensor, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """A batch as contiguous arrays, images channels last."""
    images, labels = batch
    return images.permute(0, 2, 3, 1).numpy(), labels.numpy()


def as_tensors(batch: tuple[np.ndarray, np.ndarray]) -> tuple[Tensor, Tensor]:
    """Undo `as_arrays`."""
    images, labels = batch
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)


def leave_signals_to_the_run(worker: int) -> None:
    """Keep a worker alive when its whole process group is told to stop: the run still needs it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def fits_on_device(dataset: SliceDataset, device: torch.device) -> bool:
    """Whether the dataset fits into a quarter of the free memory of a CUDA device."""
    if device.type != "cuda" or len(dataset) == 0:
        return False
    return len(dataset) * dataset[np.arange(1)][0].numel() <= torch.cuda.mem_get_info(device)[0] // 4


@dataclass(eq=False)
class ShuffledBatches(Sampler[np.ndarray]):
    """Index arrays (batch_size,), a new permutation each epoch, without the last incomplete batch.

    Each iteration reads its position from `step`, so a resumed run continues inside its epoch with the next
    batch.

    Args:
        length: number of images.
        batch_size: images in a batch of one rank.
        seed: seeds the permutations.
        step: returns the number of batches that the run has already consumed.
        rank: of this process; all ranks share each epoch's permutation.
        world_size: number of processes.
    """

    length: int
    batch_size: int
    seed: int
    step: Callable[[], int]
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        return self.length // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        epoch, first = divmod(self.step(), len(self))
        order = self.order(epoch)
        for batch in range(first, len(self)):
            start = (batch * self.world_size + self.rank) * self.batch_size
            yield order[start : start + self.batch_size]

    def order(self, epoch: int) -> np.ndarray:
        """The images of an epoch for all ranks, in order."""
        return stream(self.seed, "batches", epoch).permutation(self.length)


class WeightedBatches(ShuffledBatches):
    """The same number of batches, in which each class has its exact share.

    Largest remainder turns the weights into numbers of images an epoch. Each class is dealt like a pack of
    cards: no image is repeated before all of its class were shown, then the pack is shuffled again. So at any
    time each image of a class was shown k or k + 1 times.

    Args:
        labels: (K,) class index of each image.
        weights: of each class, see `alzgan.data.sampling.class_weights`; a class without images gets 0.
        **course: as in `ShuffledBatches`, without the length.

    Raises:
        UserError: no class with a weight has an image.
    """

    def __init__(self, labels: np.ndarray, weights: Sequence[float], **course: Any):
        super().__init__(len(labels), **course)
        self.members = [np.flatnonzero(labels == label) for label in range(len(weights))]
        self.weights = [w * (len(images) > 0) for w, images in zip(weights, self.members, strict=True)]
        if not any(self.weights):
            raise UserError("data.sampling leaves nothing: no class with a weight has a training image")

    def order(self, epoch: int) -> np.ndarray:
        """The images of an epoch for all ranks: the next ones of each class, shuffled together."""
        shares = apportion(len(self) * self.batch_size * self.world_size, self.weights)
        dealt = [self.deal(label, epoch * share, share) for label, share in enumerate(shares) if share]
        return stream(self.seed, "batches", epoch).permutation(np.concatenate(dealt))

    def deal(self, label: int, start: int, count: int) -> np.ndarray:
        """Images `start` to `start + count` of the endless sequence of a class's shuffled packs."""
        images = self.members[label]
        first, last = start // len(images), (start + count - 1) // len(images)
        packs = [
            stream(self.seed, "class order", pack, label).permutation(images)
            for pack in range(first, last + 1)
        ]
        offset = start - first * len(images)
        return np.concatenate(packs)[offset : offset + count]
