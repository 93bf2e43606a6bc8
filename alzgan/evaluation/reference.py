"""The real images of an evaluation: training people, held-out people, and groups drawn from them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from alzgan.data.datamodule import MRIDataModule
from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.files import digest_of
from alzgan.people.splits import HOLD_OUT_MORE, NEEDED_PEOPLE
from alzgan.people.subjects import PARTS
from alzgan.text import counted, printable

# So many test people are enough without validation people. Of 20 sets with 15 % noise, 20 people reveal all,
# 10 people 4.
ENOUGH_PEOPLE = 20
TRAIN, VALIDATION, TEST = PARTS
JUDGES = ("auto", "test", "both")  # values of the setting `held_out`


@dataclass(frozen=True)
class Images:
    """Images with their classes, people and files.

    Attributes:
        pixels: uint8 (N, C, H, W).
        labels: indices of classes (N,), -1 for an unknown one; None if all are unknown.
        people: names of people (N,); None if each image counts as another person.
        files: the path of each image; None if the images are not from files.
    """

    pixels: Tensor
    labels: np.ndarray | None = None
    people: np.ndarray | None = None
    files: list[str] | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def of(self, rows: np.ndarray) -> "Images":
        """The images in these rows."""
        return Images(
            self.pixels[torch.from_numpy(rows)],
            None if self.labels is None else self.labels[rows],
            None if self.people is None else self.people[rows],
            self.files and [self.files[row] for row in rows],
        )

    def of_class(self, label: int) -> "Images":
        """The images of a class."""
        return self.of(np.flatnonzero(self.labels == label))

    def of_classes(self, count: int) -> np.ndarray:
        """The number (count,) of images of each class."""
        known = self.labelled().labels
        return np.zeros(count, int) if known is None else np.bincount(known, minlength=count)

    def labelled(self) -> "Images":
        """The images of known class."""
        return self if self.labels is None else self.of(np.flatnonzero(self.labels >= 0))

    def at_most(self, count: int, seed: int, purpose: str) -> "Images":
        """All images, or `count` images of people drawn at random; the last person may lack some images."""
        return self if len(self) <= count else self.of(np.sort(draw_group(self, count, seed, purpose)))

    def person_count(self) -> int:
        """The number of people."""
        return len(self) if self.people is None else len(np.unique(self.people))

    def others(self) -> int:
        """For the person with the most images: the number of images of everybody else."""
        if self.people is None:
            return len(self) - 1
        return len(self) - max(Counter(self.people.tolist()).values(), default=0)


@dataclass(frozen=True)
class Reference:
    """The real images that samples are compared with.

    Attributes:
        train: images of training people.
        held_out: images of held-out people.
        classes: the names of the classes.
        parts: the parts of the data that `held_out` comes from.
    """

    train: Images
    held_out: Images
    classes: list[str]
    parts: tuple[str, ...] = (VALIDATION, TEST)

    def of_class(self, label: int) -> "Reference":
        """The real images of a class."""
        return replace(self, train=self.train.of_class(label), held_out=self.held_out.of_class(label))


def reference_of(data: MRIDataModule, held_out: str = "both") -> Reference:
    """The images of all training people and of held-out people.

    Test people are the better judges, because a run can be chosen by its quality on validation people.

    Args:
        data: the data.
        held_out: "test"; "both" for validation and test people; or "auto" for test people alone if there are
            `ENOUGH_PEOPLE` of them, else both.

    Raises:
        UserError: there are too few held-out people for an interval over people.
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
    return Images(
        data.shown(pixels),
        np.concatenate([part.labels for part in sets]),
        None if data.subjects.rule == "none" else np.array(data.subjects.subject)[rows],
        [data.files[row].path for row in rows],
    )


class OncePerImage:
    """A function of images that is computed once for each image, however many sets contain it.

    Args:
        compute: maps images uint8 (N, C, H, W) to values (N, F); each row depends on one image alone.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor]):
        self.compute = compute
        self.known: dict[str, Tensor] = {}  # by the digest of the image

    def __call__(self, pixels: Tensor) -> Tensor:
        """The values (N, F) of images (N, C, H, W)."""
        digests = [digest_of(image[None]) for image in pixels]
        rows = {digest: row for row, digest in enumerate(digests) if digest not in self.known}
        if rows:
            self.known |= zip(rows, self.compute(pixels[list(rows.values())]), strict=True)
        return torch.stack([self.known[digest] for digest in digests])


def draw_group(images: Images, size: int, seed: int, purpose: str, step: int = 0) -> np.ndarray:
    """Rows of all images of one random person after the other, up to `size` rows.

    The last person may lack some images. The first rows alone are a smaller group.
    """
    names, who = np.unique(who_of(images), return_inverse=True)
    place = stream(seed, f"evaluate/{purpose}", step).permutation(len(names))
    return np.argsort(place[who], kind="stable")[:size]


def who_of(images: Images) -> np.ndarray:
    """The person in each image (N,); if people are unknown, each image gets a number of its own."""
    return np.arange(len(images)) if images.people is None else images.people


def widening(people: int, drawn: int, with_replacement: bool = False) -> float:
    """The deviation of groups of new people over that of groups drawn from the same few people.

    Groups that are drawn from the same people vary less than groups of new people would, so their deviation
    is widened. With s² the variance between people, the variance of the mean of m people is s² (1 / m - 1 /
    M) between groups drawn from M people without replacement, and s² / m with replacement. For groups of new
    people it is s² (1 / m + 1 / M) about the mean of the M people.
    """
    return (1 + drawn / people) ** 0.5 if with_replacement else ((people + drawn) / (people - drawn)) ** 0.5
