"""Check whether a synthetic image is a copy of a training image, as `alzgan.evaluate` does for a set.

The threshold comes from all images of unseen people; an evaluation uses as many as its preset says.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from alzgan.evaluation.copies import cached_nearest
from alzgan.evaluation.reference import reference_of
from alzgan.images.likeness import Search
from alzgan.metrics.memorisation import QUANTILE, copies_of
from alzgan.runs.data import data_of_run, run_and_data


class Judgement(NamedTuple):
    """The nearest training image of one image.

    Attributes:
        file: of the nearest training image.
        person: whom it shows; empty if unknown.
        similarity: see `alzgan.images.likeness`, from 0 to 1.
        copy: whether the similarity exceeds that of 99 of 100 images of unseen people; for an image of a
            stack, whether the stack's highest similarity exceeds that of 99 of 100 stacks of as many images
            of unseen people.
    """

    file: str
    person: str
    similarity: float
    copy: bool


class CopyCheck:
    """Compares images with the run's training images.

    Args:
        path: of the checkpoint.
        settings: of the verb; `data.root` may give the new folder of the training images.
        overrides: of the command line.
        cache: folder for results about the real images.

    Raises:
        UserError: the training images are missing or have changed.
    """

    def __init__(self, path: Path, settings: DictConfig, overrides: Sequence[str], cache: Path):
        data = data_of_run(*run_and_data(path, settings, overrides))
        self.reference = reference_of(data)
        train, unseen = self.reference.train, self.reference.held_out
        theirs = cached_nearest(unseen.pixels, train.pixels, cache)
        self.search = Search(train.pixels)
        self.threshold = copies_of(theirs, theirs).threshold
        self.of_people = [theirs.similarity[rows] for rows in rows_of(unseen.people)]

    def threshold_of_stacks(self, size: int) -> float:
        """The highest similarity that 99 of 100 stacks of this size of unseen people do not exceed.

        A stack is as near as its nearest image, so it has a threshold of its own. A person gives one stack,
        of images at equal distances in the order of their files, or of all images if there are fewer.
        """
        nearest = [each[evenly(len(each), size)].max() for each in self.of_people]
        return float(torch.stack(nearest).double().quantile(QUANTILE)) if nearest else self.threshold

    def judge(self, images: Tensor) -> list[Judgement]:
        """Judge uint8 images (N, C, H, W) as they are shown."""
        train = self.reference.train
        found = self.search.nearest(images.contiguous())
        return [
            Judgement(
                train.files[index] if train.files else "",
                "" if train.people is None else str(train.people[index]),
                similarity,
                similarity > self.threshold,
            )
            for similarity, index in zip(found.similarity.tolist(), found.index.tolist(), strict=True)
        ]

    def judge_stack(self, images: Tensor) -> list[Judgement]:
        """Judge the uint8 images (N, C, H, W) of one person: all of them are copies, or none."""
        judged = self.judge(images)
        copy = max(each.similarity for each in judged) > self.threshold_of_stacks(len(images))
        return [each._replace(copy=copy) for each in judged]


def evenly(count: int, size: int) -> np.ndarray:
    """The middle row of each of `size` equal parts of `count` rows; all rows if there are fewer."""
    return ((np.arange(size) + 0.5) * count / size).astype(int) if size < count else np.arange(count)


def rows_of(people: np.ndarray | None) -> list[np.ndarray]:
    """The rows of each person; none if the people are unknown."""
    return [] if people is None else [np.flatnonzero(people == name) for name in np.unique(people)]
