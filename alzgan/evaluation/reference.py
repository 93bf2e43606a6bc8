"""The real side of an evaluation: who was trained on, who was not, and groups of people drawn from either."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alzgan.data.datamodule import MRIDataModule
from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.people.splits import HOLD_OUT_MORE, NEEDED_PEOPLE
from alzgan.people.subjects import PARTS
from alzgan.text import counted, printable


@dataclass(frozen=True)
class Images:
    """Images with what is known of each.

    Attributes:
        pixels: uint8 (N, C, H, W).
        labels: (N,) indices of classes, -1 where one is unknown; None where nobody knows.
        people: (N,) names; None where each image is somebody of its own.
        files: N paths; None where there are no files.
    """

    pixels: Tensor
    labels: np.ndarray | None = None
    people: np.ndarray | None = None
    files: list[str] | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def of(self, rows: np.ndarray) -> "Images":
        """Some of them."""
        return Images(
            self.pixels[torch.from_numpy(rows)],
            None if self.labels is None else self.labels[rows],
            None if self.people is None else self.people[rows],
            self.files and [self.files[row] for row in rows],
        )

    def of_class(self, label: int) -> "Images":
        """Those of a class."""
        return self.of(np.flatnonzero(self.labels == label))

    def labelled(self) -> "Images":
        """Those whose class is known."""
        return self if self.labels is None else self.of(np.flatnonzero(self.labels >= 0))

    def at_most(self, count: int, seed: int, purpose: str) -> "Images":
        """So many of them, of whole people drawn; the last person may be cut."""
        return self if len(self) <= count else self.of(np.sort(draw_group(self, count, seed, purpose)))

    def person_count(self) -> int:
        """How many people there are."""
        return len(self) if self.people is None else len(np.unique(self.people))

    def others(self) -> int:
        """How many images of other people there are beside each image, at least."""
        if self.people is None:
            return len(self) - 1
        return len(self) - max(Counter(self.people.tolist()).values(), default=0)


@dataclass(frozen=True)
class Reference:
    """Real images: of people who were trained on, and of people who were not."""

    train: Images
    held_out: Images
    classes: list[str]

    def of_class(self, label: int) -> "Reference":
        """Those of a class."""
        return Reference(self.train.of_class(label), self.held_out.of_class(label), self.classes)


def reference_of(data: MRIDataModule) -> Reference:
    """All images of the data; validation and test, to which nothing is fitted, are held out together.

    Raises:
        UserError: too few people are held out for an interval over people.
    """
    train, *unseen = PARTS
    sides = [images_of(data, [train]), images_of(data, unseen)]
    if (people := sides[1].person_count()) < NEEDED_PEOPLE:
        raise UserError(
            f"{printable(data.root)}: {counted(people, 'person', 'people')} held out, an interval over "
            f"people needs {NEEDED_PEOPLE}: {HOLD_OUT_MORE}"
        )
    return Reference(*sides, data.classes)


def images_of(data: MRIDataModule, parts: list[str]) -> Images:
    """All images of some parts of the data."""
    rows = np.concatenate([np.flatnonzero(np.array(data.split.parts) == part) for part in parts])
    sets = [part for part in map(data.part, parts) if len(part)]
    if not sets:
        return Images(torch.empty(0, dtype=torch.uint8), np.empty(0, int), np.empty(0, str), [])
    pixels = torch.cat([part[np.arange(len(part))][0] for part in sets])
    if data.slices_as_channels:
        pixels = middle(pixels)
    return Images(
        pixels,
        np.concatenate([part.labels for part in sets]),
        None if data.subjects.rule == "none" else np.array(data.subjects.subject)[rows],
        [data.files[row].path for row in rows],
    )


def middle(pixels: Tensor) -> Tensor:
    """Of neighbouring slices as channels (N, C, H, W) the one in the middle (N, 1, H, W), which is judged."""
    return pixels[:, pixels.shape[1] // 2, None]


def draw_group(images: Images, size: int, seed: int, purpose: str, step: int = 0) -> np.ndarray:
    """Rows of randomly drawn people, whole and one after the other, until there are `size` images.

    The last person may be cut. A beginning of the rows is a smaller group.
    """
    people = np.arange(len(images)) if images.people is None else images.people
    names, who = np.unique(people, return_inverse=True)
    place = stream(seed, f"evaluate/{purpose}", step).permutation(len(names))
    return np.argsort(place[who], kind="stable")[:size]


def widening(people: int, drawn: int) -> float:
    """By how much groups of people drawn anew vary more than groups drawn from the same few people.

    The variance of a mean over m people is s^2 (1 / m - 1 / M) among groups from M people, and about the
    mean of those s^2 (1 / m + 1 / M) where the m are others.
    """
    return ((people + drawn) / (people - drawn)) ** 0.5
