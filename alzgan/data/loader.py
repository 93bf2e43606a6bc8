"""Batches from the decoded array, in an order that is a function of (seed, epoch) alone."""

import signal
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from alzgan.device.precision import to_device
from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.people.splits import apportion

COPIED_AT_ONCE = 1024  # images that are copied to a device at a time


class SliceDataset(Dataset[tuple[Tensor, Tensor]]):
    """Whole batches of uint8 images (N, C, H, W), stored channels last, with their labels.

    Labels are class indices (N,), or with numbers of each image a table (N, 1 + m), float32.

    Args:
        images: uint8 (M, H, W, C), may be memory-mapped.
        labels: (M,) class indices; -1: unknown.
        chosen: (K,) which of them the dataset has, the training part say; or (K, k), then an item has the
            channels of k images (`alzgan.data.stacks`) and the label of the middle one.
        numbers: (M, m) float32, other conditions than the class, see `alzgan.data.conditions`; NaN: unknown.

    Attributes:
        labels: (K,) class indices.
        table: what a batch has as labels: the same, or (K, 1 + m), or what is put in its place.
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
    """The same batches from a copy of the data set in a device's memory: only the indices travel.

    Args:
        dataset: what to copy.
        device: where to.
    """

    def __init__(self, dataset: SliceDataset, device: torch.device):
        blocks = np.array_split(np.arange(len(dataset)), -(-len(dataset) // COPIED_AT_ONCE))
        # As it is stored, channels last, so that a batch is too.
        images = [dataset[block][0].permute(0, 2, 3, 1).to(device) for block in blocks]
        self.images = torch.cat(images)
        self.labels = torch.from_numpy(dataset.table).to(device)

    def __getitem__(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """The batch at an array of indices (N,)."""
        rows = to_device(indices, self.images.device)
        return self.images[rows].permute(0, 3, 1, 2), self.labels[rows]


class Batches:
    """A data set's batches in a sampler's order, made in this process.

    What a DataLoader without workers gives; its own work would be as long as that of a small step.

    Args:
        dataset: gives the batch at an array of indices.
        order: the arrays of indices.
        pin: copy each batch to pinned memory, from which a CUDA device takes it without a wait.
    """

    def __init__(self, dataset: SliceDataset | ResidentSlices, order: "ShuffledBatches", pin: bool = False):
        self.dataset = dataset
        self.order = order
        self.pin = pin

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return map(pinned, self.made()) if self.pin else self.made()

    def made(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches, before they are pinned."""
        return map(self.dataset.__getitem__, self.order)


class WorkerBatches(Batches):
    """The same batches, made by other processes.

    The processes send arrays through pipes. Tensors would go through `/dev/shm`: a Docker container has
    64 MB of it, and torch waits for ever when it is full.

    Args:
        dataset: as of `Batches`, and so are `order` and `pin`.
        order: see there.
        workers: number of processes.
        pin: see there.
    """

    def __init__(self, dataset: SliceDataset, order: "ShuffledBatches", workers: int, pin: bool = False):
        super().__init__(dataset, order, pin)
        self.loader = DataLoader(
            dataset,
            sampler=order,
            batch_size=None,
            num_workers=workers,
            collate_fn=as_arrays,
            worker_init_fn=leave_signals_to_the_run,
        )

    def made(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches, before they are pinned.

        Raises:
            UserError: the workers cannot be started.
        """
        try:
            return map(as_tensors, iter(self.loader))
        except OSError as error:  # the queues' semaphores are files of /dev/shm
            raise UserError(
                f"data.num_workers={self.loader.num_workers} cannot be started: {error.strerror}; set "
                "data.num_workers=0, or give /dev/shm more room (docker run --shm-size=1g)"
            ) from None


def as_arrays(batch: tuple[Tensor, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """A batch as arrays without gaps, images channels last."""
    images, labels = batch
    return images.permute(0, 2, 3, 1).numpy(), labels.numpy()


def as_tensors(batch: tuple[np.ndarray, np.ndarray]) -> tuple[Tensor, Tensor]:
    """Undo `as_arrays`."""
    images, labels = batch
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)


def leave_signals_to_the_run(worker: int) -> None:
    """Let a loader's worker live on where its whole process group is told to stop: the run still needs it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def pinned(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The batch in pinned memory."""
    images, labels = batch
    return images.pin_memory(), labels.pin_memory()


def fits_on_device(dataset: SliceDataset, device: torch.device) -> bool:
    """Whether the device is a CUDA one with room for the data set: a quarter of what is free."""
    if device.type != "cuda" or len(dataset) == 0:
        return False
    return len(dataset) * dataset[np.arange(1)][0].numel() <= torch.cuda.mem_get_info(device)[0] // 4


class ShuffledBatches(Sampler[np.ndarray]):
    """Index arrays (batch_size,), a new permutation each epoch, without the last incomplete batch.

    The position is not kept here: it is read from `step` whenever iteration starts, so a resumed run
    continues inside its epoch with the batch that would have come next.

    Args:
        length: number of images.
        batch_size: images in a batch of one rank.
        seed: of the permutations.
        step: returns the number of batches that the run has already consumed.
        rank: which of the `world_size` processes this is; they share each epoch's permutation.
        world_size: number of processes.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        step: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
    ):
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.step = step
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return self.length // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        epoch, first = divmod(self.step(), len(self))
        order = self.order(epoch)
        for batch in range(first, len(self)):
            start = (batch * self.world_size + self.rank) * self.batch_size
            yield order[start : start + self.batch_size]

    def order(self, epoch: int) -> np.ndarray:
        """The images of an epoch for all ranks, in the order they are shown."""
        return stream(self.seed, "batches", epoch).permutation(self.length)


class WeightedBatches(ShuffledBatches):
    """The same number of batches, of which each class has its exact share.

    How many images of a class an epoch shows is its weight by largest remainder. Each class is dealt like a
    pack of cards, epoch after epoch: no image comes again before all of its class have, then the pack is
    shuffled anew. So after any number of epochs two images of a class differ by one showing at most.

    Args:
        labels: (K,) class index of each image.
        weights: of each class, see `alzgan.data.sampling.class_weights`; a class without images has none.
        batch_size: as of `ShuffledBatches`, and so are the rest.
        seed: see there.
        step: see there.
        rank: see there.
        world_size: see there.

    Raises:
        UserError: no image is left to be shown.
    """

    def __init__(
        self,
        labels: np.ndarray,
        weights: Sequence[float],
        batch_size: int,
        seed: int,
        step: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
    ):
        super().__init__(len(labels), batch_size, seed, step, rank, world_size)
        self.members = [np.flatnonzero(labels == label) for label in range(len(weights))]
        self.weights = [w * (len(images) > 0) for w, images in zip(weights, self.members, strict=True)]
        if not any(self.weights):
            raise UserError("data.sampling leaves nothing: no class with a weight has an image to train on")

    def order(self, epoch: int) -> np.ndarray:
        """The images of an epoch for all ranks: each class's next ones, mixed."""
        shares = apportion(len(self) * self.batch_size * self.world_size, self.weights)
        dealt = [self.deal(label, epoch * share, share) for label, share in enumerate(shares) if share]
        return stream(self.seed, "batches", epoch).permutation(np.concatenate(dealt))

    def deal(self, label: int, start: int, count: int) -> np.ndarray:
        """Images number `start` to `start + count` of the class's endless row of shuffled packs."""
        images = self.members[label]
        first, last = start // len(images), (start + count - 1) // len(images)
        packs = [
            stream(self.seed, "class order", pack, label).permutation(images)
            for pack in range(first, last + 1)
        ]
        offset = start - first * len(images)
        return np.concatenate(packs)[offset : offset + count]
