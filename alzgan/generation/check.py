"""Is a synthetic image a copy of a training image: as `alzgan.evaluate` judges, for each image by itself.

The threshold is of all images of unseen people, where an evaluation draws as many as its preset says.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from alzgan.evaluation.copies import cached_nearest
from alzgan.evaluation.reference import middle, reference_of
from alzgan.images.likeness import Search
from alzgan.metrics.memorisation import QUANTILE, copies_of
from alzgan.runs.data import data_of_run, run_and_data


class Judgement(NamedTuple):
    """What is said of one image.

    Attributes:
        file: the training image that is most alike.
        person: who is in it; empty where nobody knows.
        similarity: of `alzgan.images.likeness`, from 0 to 1.
        copy: whether that is more alike than 99 of 100 images of unseen people are to any training image; of
            an image of a stack, whether the most alike of the stack is so beside unseen people's stacks.
    """

    file: str
    person: str
    similarity: float
    copy: bool


class CopyCheck:
    """Judges images by the data that the run was trained on.

    Args:
        path: of the checkpoint.
        settings: of the verb, whose `data` may say where the images are now.
        overrides: of the command line.
        cache: for what is known of the real images.

    Raises:
        UserError: the images are gone, or others.
    """

    def __init__(self, path: Path, settings: DictConfig, overrides: Sequence[str], cache: Path):
        data = data_of_run(*run_and_data(path, settings, overrides))
        self.reference = reference_of(data)
        train, unseen = self.reference.train, self.reference.held_out
        theirs = cached_nearest(unseen.pixels, train.pixels, cache)
        self.search = Search(train.pixels)
        self.threshold = copies_of(theirs, theirs).threshold
        # A stack is as near as its nearest image, which is nearer the more there are.
        nearest = [theirs.similarity[rows].max() for rows in rows_of(unseen.people)]
        self.threshold_of_stacks = (
            float(torch.stack(nearest).double().quantile(QUANTILE)) if nearest else self.threshold
        )
        self.see = middle if data.slices_as_channels else torch.Tensor.contiguous

    def judge(self, images: Tensor) -> list[Judgement]:
        """Judge uint8 images (N, C, H, W)."""
        train = self.reference.train
        found = self.search.nearest(self.see(images))
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
        """Judge the uint8 images (N, C, H, W) of one person: each has its nearest, all are copies or none."""
        judged = self.judge(images)
        copy = max(each.similarity for each in judged) > self.threshold_of_stacks
        return [each._replace(copy=copy) for each in judged]


def rows_of(people: np.ndarray | None) -> list[np.ndarray]:
    """The rows of each person; none where nobody knows who is who."""
    names = [] if people is None else np.unique(people)
    return [np.flatnonzero(people == name) for name in names]
