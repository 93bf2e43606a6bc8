import errno
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from alzgan.data.loader import Batches, ShuffledBatches, SliceDataset, WeightedBatches, WorkerBatches
from alzgan.errors import UserError


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


LABELS = np.repeat([0, 1, 2], [13, 7, 3])  # 23 images of three classes, 20 of them in an epoch


def weighted(weights: list[float], step: int = 0, **options) -> list[list[int]]:
    settings = {"batch_size": 4, "seed": 0} | options
    sampler = WeightedBatches(LABELS, weights, step=lambda: step, **settings)
    return [batch.tolist() for batch in sampler]


def shown(weights: list[float], epochs: int, **options) -> Counter:
    return Counter(
        index for epoch in range(epochs) for index in chain(*weighted(weights, 5 * epoch, **options))
    )


@pytest.mark.parametrize(
    ("weights", "counts"),
    [([1, 1, 1], [7, 7, 6]), ([1, 0, 1], [10, 0, 10]), ([1, 2, 4], [3, 6, 11]), ([0.01, 0, 0], [20, 0, 0])],
)
def test_each_class_has_its_exact_share_of_every_epoch(weights: list[float], counts: list[int]):
    for epoch in range(4):
        classes = LABELS[list(chain(*weighted(weights, step=5 * epoch)))]
        assert np.bincount(classes, minlength=3).tolist() == counts


def test_no_image_comes_again_before_all_of_its_class_have():
    for epochs in range(1, 8):
        counts = shown([1, 1, 1], epochs)
        for label in range(3):
            of_class = [counts[index] for index in np.flatnonzero(label == LABELS)]
            assert max(of_class) - min(of_class) <= 1
            assert sum(of_class) == epochs * [7, 7, 6][label]


def test_a_class_is_dealt_in_packs_that_are_shuffled_anew():
    sampler = WeightedBatches(LABELS, [1, 1, 1], batch_size=4, seed=0, step=lambda: 0)
    packs = [sampler.deal(0, 13 * pack, 13).tolist() for pack in range(3)]
    assert [sorted(pack) for pack in packs] == [list(range(13))] * 3
    assert len({tuple(pack) for pack in packs}) == 3
    assert sampler.deal(0, 10, 20).tolist() == (packs[0] + packs[1] + packs[2])[10:30]


@pytest.mark.parametrize("step", range(5))
def test_a_resumed_weighted_epoch_continues_with_the_batches_that_were_left(step: int):
    assert weighted([1, 1, 1], step=5 + step) == weighted([1, 1, 1], step=5)[step:]


def test_weighted_epochs_and_seeds_differ_and_classes_are_mixed():
    assert weighted([1, 1, 1], step=0) != weighted([1, 1, 1], step=5)
    assert weighted([1, 1, 1], seed=0) != weighted([1, 1, 1], seed=1)
    labels = LABELS[list(chain(*weighted([1, 1, 1])))].tolist()
    assert labels != sorted(labels)


def test_ranks_share_a_weighted_epoch_out():
    parts = [list(chain(*weighted([1, 1, 1], batch_size=2, rank=rank, world_size=2))) for rank in (0, 1)]
    assert len(parts[0]) == len(parts[1]) == 10
    assert Counter(parts[0] + parts[1]) == shown([1, 1, 1], 1)


def test_a_class_without_images_has_no_share():
    assert set(LABELS[list(chain(*weighted([1, 1, 0, 5])))]) == {0, 1}
    with pytest.raises(UserError, match="leaves nothing"):
        weighted([0, 0, 0, 5])


def test_slices_become_channels_with_the_label_of_the_middle_one():
    images = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 1), dtype=np.uint8)
    stacks = np.array([[0, 0, 1], [2, 3, 4]])
    batch, labels = SliceDataset(images, np.arange(6) * 10, stacks)[np.array([1, 0])]
    assert batch.shape == (2, 3, 5, 4)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(batch[0].numpy(), images[[2, 3, 4], :, :, 0])
    assert np.array_equal(batch[1].numpy(), images[[0, 0, 1], :, :, 0])
    assert labels.tolist() == [30, 0]


def in_order() -> tuple[SliceDataset, ShuffledBatches]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (23, 5, 4, 3), dtype=np.uint8)
    numbers = rng.random((23, 2), np.float32)
    return SliceDataset(images, LABELS, np.arange(23), numbers), ShuffledBatches(23, 4, 0, step=lambda: 2)


def test_workers_make_the_batches_that_this_process_makes():
    expected, made = list(Batches(*in_order())), list(WorkerBatches(*in_order(), workers=2))
    assert len(made) == len(expected) == 3
    for batch, same in zip(made, expected, strict=True):
        for tensor, other in zip(batch, same, strict=True):
            assert torch.equal(tensor, other)
            assert (tensor.dtype, tensor.stride()) == (other.dtype, other.stride())
            assert not tensor.is_shared()  # /dev/shm may be too small


def test_workers_that_find_no_room_for_semaphores_are_told_of(monkeypatch: pytest.MonkeyPatch):
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(DataLoader, "__iter__", full)
    told = r"^data\.num_workers=2 cannot be started: No space left on device; .*=0, .*--shm-size"
    with pytest.raises(UserError, match=told):
        next(iter(WorkerBatches(*in_order(), workers=2)))
