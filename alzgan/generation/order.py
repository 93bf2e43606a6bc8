"""What to generate: the seed, number, class and conditions of each image. No image depends on another."""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from alzgan.errors import UserError, at_least, one_of, seed_of_streams
from alzgan.people.subjects import FEW_PEOPLE
from alzgan.runs.load import SAMPLES_AT_ONCE, TrainedGenerator
from alzgan.text import printable

MOST_SEEDS = 1_000_000
UNCONDITIONAL = "synthetic"  # the class folder of an unconditional generator


class Item(NamedTuple):
    """One image.

    Attributes:
        seed: of its latent.
        number: of its latent.
        class_index: of its class; None if the generator is unconditional.
        place: slice in the stack of one person, from 1; 0 outside a stack.
        alone: whether it is the only image of its seed.
    """

    seed: int
    number: int
    class_index: int | None
    place: int = 0
    alone: bool = False


class Batch(NamedTuple):
    """N items that are generated together, with their latents (N, latent_dim), and labels if any."""

    items: list[Item]
    latents: Tensor
    labels: Tensor | None


@dataclass(frozen=True)
class Order:
    """The images to generate.

    Args:
        generator: see `alzgan.load`.
        n: number of images.
        first: number of the first image.
        seed: of the latents.
        seeds: replaces n, first and seed: a seed for each image, whose number is then 0.
        labels: "as_trained", "balanced", a class for all, or the number of images of each class.
        conditions: numbers by name, for all images; missing ones are drawn.
        truncation: factor of the latents.
        people: replaces n: number of people, each with a stack of slices; needs the condition "slice".
        slices: number of slices of each person, at equal steps from the lowest to the highest in training.

    Raises:
        UserError: a value is out of its range, or two of them exclude each other.
    """

    generator: TrainedGenerator
    n: int
    first: int = 0
    seed: int = 0
    seeds: Sequence[int] | None = None
    labels: str | Mapping[str, int] = "as_trained"
    conditions: Mapping[str, float] | None = None
    truncation: float = 1.0
    people: int | None = None
    slices: int = 32

    def __post_init__(self):
        at_least(0, first=self.first)
        at_least(1, n=self.n, people=self.people)
        at_least(2, slices=self.slices)
        seed_of_streams(seed=self.seed)
        if not 0 < self.truncation < float("inf"):
            raise UserError(f"truncation={self.truncation} must be above 0; 1 does not truncate")
        if self.people is not None and "slice" not in self.generator.conditions:
            raise UserError(
                "people= needs a generator with the condition slice: train one with model=cdcgan "
                "data.conditions=[class,slice]"
            )
        self.generator.labels(1, conditions=self.conditions)  # raises UserError for unknown ones
        if self.seeds is not None and self.people is not None:
            raise UserError("give seeds or people, not both")
        if self.labels != "as_trained" and not self.generator.classes:
            raise UserError("labels: this generator is unconditional: it has no classes to choose from")
        if isinstance(self.labels, str):
            one_of(("as_trained", "balanced", *self.generator.classes), labels=self.labels)
            return
        for name in self.labels:
            self.generator.index_of(name)  # raises UserError for an unknown one
        if self.seeds is not None:
            raise UserError("labels: counts of each class go with n, not with seeds")
        if min(self.labels.values(), default=0) < 0 or not any(self.labels.values()):
            raise UserError("labels: give how many images of each class, from 0 on, and not only 0")

    @property
    def names(self) -> list[str]:
        """The class folders."""
        return self.generator.classes or [UNCONDITIONAL]

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of images of each class, if `labels` gives it."""
        return {} if isinstance(self.labels, str) else self.labels

    def __len__(self) -> int:
        if self.people is not None:
            return self.people * self.slices
        return len(self.seeds) if self.seeds is not None else sum(self.counts.values()) or self.n

    def identity(self) -> dict[str, Any]:
        """The settings that all images of a set share."""
        return {
            "seed": None if self.seeds is not None else self.seed,
            "labels": self.labels,
            "conditions": dict(self.conditions or {}),
            "truncation": self.truncation,
            "slices": self.slices if self.people is not None else None,
        }

    def items(self) -> list[Item]:
        """Every image to generate, in order."""
        if self.seeds is not None:
            return [Item(seed, 0, self.class_indices(1, 0, seed)[0], alone=True) for seed in self.seeds]
        count = len(self) if self.people is None else self.people
        numbered = list(enumerate(self.class_indices(count, self.first, self.seed), self.first))
        if self.people is None:
            return [Item(self.seed, number, index) for number, index in numbered]
        places = range(1, self.slices + 1)
        return [Item(self.seed, number, index, place) for number, index in numbered for place in places]

    def class_indices(self, count: int, first: int, seed: int) -> list[int | None]:
        """The class of each image of a seed, from image number `first` on; None without classes."""
        classes = self.generator.classes
        if not classes:
            return [None] * count
        if self.labels == "as_trained":
            drawn = self.generator.class_indices(count, None, seed, first)
            return [] if drawn is None else drawn.tolist()
        if self.labels == "balanced":
            start = first if self.seeds is None else seed  # each image of `seeds` has number 0
            return [number % len(classes) for number in range(start, start + count)]
        if isinstance(self.labels, str):
            return [classes.index(self.labels)] * count
        edges = np.cumsum([self.counts.get(name, 0) for name in classes])
        places = (np.arange(first, first + count) - self.first) % edges[-1]
        return np.searchsorted(edges, places, side="right").tolist()

    def groups(self) -> list[list[Item]]:
        """The items in groups that are generated together: a person's stack, or a block."""

        def group_of(item: Item) -> int:
            return item.number if item.place else slot_of(item) // SAMPLES_AT_ONCE

        return [list(group) for _, group in itertools.groupby(self.items(), group_of)]

    def batch(self, items: list[Item]) -> Batch:
        """Latents and labels of items."""
        latents = torch.cat([self.generator.latents(1, item.seed, item.number) for item in items])
        return Batch(items, self.truncation * latents, self.labels_of(items))

    def images(self, batch: Batch) -> Tensor:
        """Images (N, C, H, W), floats in [-1, 1]."""
        return self.generator.floats(batch.latents, batch.labels, [slot_of(item) for item in batch.items])

    def labels_of(self, items: Sequence[Item]) -> Tensor | None:
        """Labels of images."""
        if not self.generator.conditions:
            return torch.tensor([item.class_index for item in items]) if self.generator.classes else None
        low, high = (self.generator.conditions.get("slice", [0, 0])[end] for end in (0, -1))
        found = []
        for item in items:
            conditions = dict(self.conditions or {})
            if item.place:
                conditions["slice"] = low + (item.place - 1) * (high - low) / (self.slices - 1)
            label = self.generator.labels(1, item.class_index, item.seed, item.number, conditions)
            found += [] if label is None else [label]
        return torch.cat(found)

    def classes(self) -> set[str]:
        """Names of the classes of the images."""
        return {self.names[item.class_index or 0] for item in self.items()}


def refuse_portraits(generator: TrainedGenerator, wanted: Collection[str], allowed: bool) -> list[str]:
    """Refuse classes with few people, or return a note on each if they are allowed.

    Args:
        generator: its training people are counted.
        wanted: names of classes.
        allowed: whether classes with fewer than `FEW_PEOPLE` training people may be generated.

    Raises:
        UserError: there is such a class, and it is not allowed.
    """
    if not generator.people:
        return ["the checkpoint has no record of the number of training people of each class"]
    counts = generator.people if generator.classes else {UNCONDITIONAL: generator.people_in_train}
    few = {name: counts[name] for name in sorted(wanted) if counts.get(name, 0) < FEW_PEOPLE}
    if few and not allowed:
        told = ", ".join(f"{printable(name)} ({count})" for name, count in few.items())
        where = f"in {told}" if generator.classes else f"({generator.people_in_train})"
        leave_out = "leave the class out with 'labels={NAME: COUNT}', or " if generator.classes else ""
        raise UserError(
            f"fewer than {FEW_PEOPLE} training people {where}: samples would be portraits of them; "
            f"{leave_out}set rare_classes=allow"
        )
    return [
        f"{printable(name)}: {count} training people, samples are portraits" for name, count in few.items()
    ]


def slot_of(item: Item) -> int:
    """The number that determines an image's place in a block."""
    if item.place:
        return item.place - 1
    return item.seed if item.alone else item.number


def parsed_seeds(text: str | int | Sequence[int] | None) -> list[int] | None:
    """Parse seeds: "0-63", "1,5,8-10", a list of numbers, or None.

    Raises:
        UserError: the text has another form, or a seed is out of range.
    """
    if text is None:
        return None
    found: list[int] = []
    for part in text if isinstance(text, Sequence) and not isinstance(text, str) else str(text).split(","):
        ends = re.fullmatch(r"\s*([0-9]{1,19})(?:-([0-9]{1,19}))?\s*", str(part), re.ASCII)
        if ends is None:
            raise UserError(f"seeds={printable(str(text))} must be like 0-63 or [1,5,8]")
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if not first <= last < 2**63 or last - first >= MOST_SEEDS:
            raise UserError(
                f"seeds={printable(str(text))}: seeds must rise and lie below 2**63, and a range may have "
                f"at most {MOST_SEEDS:,} of them"
            )
        found += range(first, last + 1)
    return list(dict.fromkeys(found))
