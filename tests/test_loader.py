from itertools import chain

import numpy as np
import pytest
import torch

from alzgan.data.loader import ShuffledBatches, SliceDataset


def batches(step: int = 0, **options) -> list[list[int]]:
    settings = {"length": 23, "batch_size": 4, "seed": 0} | options
    return [batch.tolist() for batch in ShuffledBatches(step=lambda: step, **settings)]


def test_an_epoch_shows_each_image_at_most_once():
    indices = list(chain(*batches()))
    assert len(indices) == len(set(indices)) == 20


def test_epochs_and_seeds_differ():
    assert batches(step=0) != batches(step=5)
    assert batches(seed=0) != batches(seed=1)


@pytest.mark.parametrize("step", range(5))
def test_a_resumed_epoch_continues_with_the_batches_that_were_left(step: int):
    assert batches(step=5 + step) == batches(step=5)[step:]


def test_the_position_is_read_when_iteration_starts():
    step = 0
    sampler = ShuffledBatches(23, 4, 0, step=lambda: step)
    step = 3
    assert len(list(sampler)) == 2


def test_ranks_share_an_epoch_without_overlap():
    parts = [list(chain(*batches(rank=rank, world_size=2))) for rank in (0, 1)]
    assert len(parts[0]) == len(parts[1]) == 8
    assert not set(parts[0]) & set(parts[1])


def test_a_batch_is_what_the_array_holds():
    images = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    batch, labels = SliceDataset(images, np.arange(6) * 10, np.array([5, 2, 4]))[np.array([2, 1])]
    assert batch.shape == (2, 3, 5, 4)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(batch[0].permute(1, 2, 0).numpy(), images[4])
    assert np.array_equal(batch[1].permute(1, 2, 0).numpy(), images[2])
    assert labels.tolist() == [40, 20]
