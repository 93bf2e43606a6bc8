"""Batches from the decoded array, in an order that is a function of (seed, epoch) alone."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from alzgan.runtime.streams import stream


class SliceDataset(Dataset[tuple[Tensor, Tensor]]):
    """Whole batches of uint8 images (N, C, H, W), stored channels last, with their labels (N,).

    Args:
        images: uint8 (M, H, W, C), may be memory-mapped.
        labels: (M,) class indices.
        chosen: (K,) which of them the dataset has, the training part say.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, chosen: np.ndarray):
        self.images = images
        self.labels = labels
        self.chosen = chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """The batch at an array of indices (N,), each below K."""
        rows = self.chosen[indices]
        images = torch.from_numpy(self.images[rows]).permute(0, 3, 1, 2)
        return images, torch.from_numpy(self.labels[rows])


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
        order = stream(self.seed, "batches", epoch).permutation(self.length)
        for batch in range(first, len(self)):
            start = (batch * self.world_size + self.rank) * self.batch_size
            yield order[start : start + self.batch_size]
