"""The real side of an evaluation: who was trained on, who was not, and groups of people drawn from either."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from alzgan.data.datamodule import MRIDataModule
from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.people.splits import HOLD_OUT_MORE, NEEDED_PEOPLE
from alzgan.people.subjects import PARTS
from alzgan.text import counted, printable

# Of test, who then judge alone. Of 20 sets with 15 % noise, 20 such people notice 20, and 10 people 4.
ENOUGH_PEOPLE = 20
TRAIN, VALIDATION, TEST = PARTS
JUDGES = ("auto", "test", "both")  # people who were held out: who of them judges


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

    def of_classes(self, count: int) -> np.ndarray:
        """The number (count,) of images of each class."""
        known = self.labelled().labels
        return np.zeros(count, int) if known is None else np.bincount(known, minlength=count)

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
    """Real images: of people who were trained on, and of people who were not.

    Attributes:
        train: of those who were.
        held_out: of those who were not.
        classes: their names.
        parts: of the data, of whose people `held_out` is.
    """

    train: Images
    held_out: Images
    classes: list[str]
    parts: tuple[str, ...] = (VALIDATION, TEST)

    def of_class(self, label: int) -> "Reference":
        """Those of a class."""
        return replace(self, train=self.train.of_class(label), held_out=self.held_out.of_class(label))


def reference_of(data: MRIDataModule, held_out: str = "both") -> Reference:
    """All images of the people who were trained on, and of those who judge.

    Runs are chosen by validation people (`alzgan.callbacks.quality`), who are then no strangers to them.

    Args:
        data: whose images.
        held_out: who judges: "test", "both" (validation and test people), or "auto" (test people where there
            are `ENOUGH_PEOPLE`, else both).

    Raises:
        UserError: there are too few of them for an interval over people.
    """
    data.read()
    alone = held_out == "test" or (held_out == "auto" and data.people_in(TEST) >= ENOUGH_PEOPLE)
    parts = (TEST,) if alone else (VALIDATION, TEST)
    train, unseen = images_of(data, [TRAIN]), images_of(data, parts)
    if (people := unseen.person_count()) < NEEDED_PEOPLE:
        advice = f"give held_out=both, or {HOLD_OUT_MORE}" if held_out == "test" else HOLD_OUT_MORE
        raise UserError(
            f"{printable(data.root)}: {counted(people, 'person', 'people')} held out"
            f"{' in test' if alone else ''}, an interval over people needs {NEEDED_PEOPLE}: {advice}"
        )
    return Reference(train, unseen, data.classes, parts)


def images_of(data: MRIDataModule, parts: Sequence[str]) -> Images:
    """All images of some parts of the data."""
    rows = np.concatenate([data.rows_of(part) for part in parts])
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
    names, who = np.unique(who_of(images), return_inverse=True)
    place = stream(seed, f"evaluate/{purpose}", step).permutation(len(names))
    return np.argsort(place[who], kind="stable")[:size]


def who_of(images: Images) -> np.ndarray:
    """Who is in each image (N,); where nobody knows, each is somebody of its own."""
    return np.arange(len(images)) if images.people is None else images.people


def widening(people: int, drawn: int, with_replacement: bool = False) -> float:
    """By how much groups of new people vary more than groups drawn from the same few people.

    Groups that are drawn from the same people vary less than groups of new people would, so their deviation
    is widened. With s² the variance between people, the variance of the mean of m people is s² (1 / m - 1 /
    M) between groups drawn from M people without replacement, and s² / m with replacement. For groups of new
    people it is s² (1 / m + 1 / M) about the mean of the M people.
    """
    return (1 + drawn / people) ** 0.5 if with_replacement else ((people + drawn) / (people - drawn)) ** 0.5
