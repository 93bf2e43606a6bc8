"""What to generate: each image's seed, number, class and conditions. No image depends on another."""

import hashlib
import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from alzgan.errors import UserError
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
        kind: index of its class; None if the generator is unconditional.
        person: number of the person whose stack it belongs to; None outside a stack.
        place: slice in the stack, from 1; 0 outside a stack.
        alone: whether it is the only image of its seed.
    """

    seed: int
    number: int
    kind: int | None
    person: int | None = None
    place: int = 0
    alone: bool = False


class Batch(NamedTuple):
    """N items generated together, their latents (N, latent_dim), and labels if there are any."""

    items: list[Item]
    latents: Tensor
    labels: Tensor | None


@dataclass(frozen=True)
class Order:
    """The images to generate.

    Args:
        generator: see `alzgan.load`.
        n: number of images.
        first: number of the first one.
        seed: of the latents.
        seeds: instead of these three: a seed for each image, whose number is 0.
        labels: "as_trained", "balanced", a class for all, or the number of images of each class.
        conditions: numbers by name, for all images; missing ones are drawn.
        truncation: factor of the latents.
        people: instead of n: number of people, each with a stack of slices; needs the condition "slice".
        slices: of each person, evenly from the lowest to the highest place in training.
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
        for name, least in (("n", 1), ("first", 0), ("seed", 0), ("slices", 2)):
            if getattr(self, name) < least:
                raise UserError(f"{name}={getattr(self, name)} must be at least {least}")
        if self.seed >= 2**63:
            raise UserError(f"seed={self.seed} must be a whole number from 0 to 2**63 - 1")
        if not 0 < self.truncation < float("inf"):
            raise UserError(f"truncation={self.truncation} must be above 0, 1 for the latents as they are")
        if self.people is not None and self.people < 1:
            raise UserError(f"people={self.people} must be at least 1")
        if self.people is not None and "slice" not in self.generator.conditions:
            raise UserError(
                "people= needs a generator with the condition slice: train one with model=cdcgan "
                "data.conditions=[class,slice]"
            )
        self.generator.labels(1, conditions=self.conditions)  # raises UserError for unknown ones
        if unknown := [name for name in self.counts if name not in self.names]:
            raise UserError(f"labels: there is no class {printable(unknown[0])}, only {self.known}")
        if self.seeds is not None and self.people is not None:
            raise UserError("give seeds or people, not both")
        if self.seeds is not None and not isinstance(self.labels, str):
            raise UserError("labels: counts of each class go with n, not with seeds")
        if not isinstance(self.labels, str) and not self.labels:
            raise UserError("labels={} asks for nothing: leave it out")
        word = isinstance(self.labels, str) and self.labels
        if word and word not in ("as_trained", "balanced", *self.generator.classes):
            raise UserError(f"labels={printable(word)} must be as_trained, balanced, or of {self.known}")
        if not self.generator.classes and self.labels != "as_trained":
            raise UserError("labels: this generator is unconditional: it has no classes to choose from")
        if self.counts and (min(self.counts.values()) < 0 or not any(self.counts.values())):
            raise UserError("labels: give how many images of each class, from 0 on, and not only 0")

    @property
    def names(self) -> list[str]:
        """The class folders."""
        return self.generator.classes or [UNCONDITIONAL]

    @property
    def known(self) -> str:
        """The classes, for an error."""
        return ", ".join(map(printable, self.generator.classes)) or "none, since it is unconditional"

    @property
    def counts(self) -> dict[str, int]:
        """The number of images of each class, if `labels` gives it."""
        return {} if isinstance(self.labels, str) else {str(k): v for k, v in self.labels.items()}

    def __len__(self) -> int:
        if self.people is not None:
            return self.people * self.slices
        return len(self.seeds) if self.seeds is not None else sum(self.counts.values()) or self.n

    def identity(self) -> dict[str, Any]:
        """The settings that all images of one set share, whatever their number."""
        return {
            "seed": None if self.seeds is not None else self.seed,
            "labels": self.labels if isinstance(self.labels, str) else self.counts,
            "conditions": dict(self.conditions or {}),
            "truncation": self.truncation,
            "slices": self.slices if self.people is not None else None,
        }

    def items(self) -> list[Item]:
        """Every image to generate, in order."""
        if self.seeds is not None:
            kinds = [self.kinds(1, 0, seed, seed)[0] for seed in self.seeds]
            return [Item(seed, 0, kind, alone=True) for seed, kind in zip(self.seeds, kinds, strict=True)]
        count = len(self) if self.people is None else self.people
        numbered = list(enumerate(self.kinds(count, self.first, self.seed, self.first), self.first))
        if self.people is None:
            return [Item(self.seed, number, kind) for number, kind in numbered]
        places = range(1, self.slices + 1)
        return [Item(self.seed, number, kind, number, place) for number, kind in numbered for place in places]

    def kinds(self, count: int, first: int, seed: int, place: int) -> list[int | None]:
        """The classes of a seed's images from number `first`, which has place `place` in the order."""
        classes = self.generator.classes
        if not classes:
            return [None] * count
        if self.labels == "as_trained":
            drawn = self.generator.kinds(count, None, seed, first)
            return [] if drawn is None else drawn.tolist()
        if self.labels == "balanced":
            return [index % len(classes) for index in range(place, place + count)]
        if isinstance(self.labels, str):
            return [classes.index(self.labels)] * count
        edges = np.cumsum([self.counts.get(name, 0) for name in classes])
        places = (np.arange(place, place + count) - self.first) % edges[-1]
        return np.searchsorted(edges, places, side="right").tolist()

    def groups(self) -> list[list[Item]]:
        """The items generated together: a person's stack, or a block."""

        def group_of(item: Item) -> int:
            return item.number if item.person is not None else slot_of(item) // SAMPLES_AT_ONCE

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
            return torch.tensor([item.kind for item in items]) if self.generator.classes else None
        low, high = (self.generator.conditions.get("slice", [0, 0])[end] for end in (0, -1))
        found = []
        for item in items:
            conditions = dict(self.conditions or {})
            if item.place:
                conditions["slice"] = low + (item.place - 1) * (high - low) / (self.slices - 1)
            label = self.generator.labels(1, item.kind, item.seed, item.number, conditions)
            found += [] if label is None else [label]
        return torch.cat(found)

    def classes(self) -> set[str]:
        """Names of the classes of the images."""
        return {self.names[item.kind or 0] for item in self.items()}


def refuse_portraits(generator: TrainedGenerator, wanted: Collection[str], allowed: bool) -> list[str]:
    """Refuse classes, by name, of few people; returns notes.

    Raises:
        UserError: a class has fewer than `FEW_PEOPLE` training people, and that is not allowed.
    """
    if not generator.people:
        return ["the checkpoint does not say how many people of each class it was trained on"]
    counts = generator.people if generator.classes else {UNCONDITIONAL: generator.people_in_train}
    few = {name: counts[name] for name in sorted(wanted) if counts.get(name, 0) < FEW_PEOPLE}
    if few and not allowed:
        told = ", ".join(f"{printable(name)} ({count})" for name, count in few.items())
        where = f"in {told}" if generator.classes else f"({generator.people_in_train})"
        leave_out = "leave the class out with 'labels={NAME: COUNT}', or " if generator.classes else ""
        raise UserError(
            f"fewer than {FEW_PEOPLE} people to train on {where}: samples would be portraits of them; "
            f"{leave_out}set rare_classes=allow"
        )
    return [
        f"{printable(name)}: {count} people to train on, samples are portraits" for name, count in few.items()
    ]


def slot_of(item: Item) -> int:
    """The number that gives an image its place in a block."""
    if item.person is not None:
        return item.place - 1
    return item.seed if item.alone else item.number


def parsed_seeds(text: str | int | Sequence[int] | None) -> list[int] | None:
    """Parse seeds: "0-63", "1,5,8-10", a list of numbers, or None.

    Raises:
        UserError: the text is none of these, or a seed is out of range.
    """
    if text is None:
        return None
    found: list[int] = []
    for part in text if isinstance(text, Sequence) and not isinstance(text, str) else str(text).split(","):
        ends = re.fullmatch(r"\s*([0-9]{1,19})(?:-([0-9]{1,19}))?\s*", str(part), re.ASCII)
        if ends is None:
            raise UserError(f"seeds={printable(str(text))} must be like 0-63, or [1,5,8]")
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if not first <= last < 2**63 or last - first >= MOST_SEEDS:
            raise UserError(
                f"seeds={printable(str(text))} must rise, lie below 2**63, and be {MOST_SEEDS:,} at most"
            )
        found += range(first, last + 1)
    return list(dict.fromkeys(found))


def latent_hash(latent: Tensor) -> str:
    """A digest of a latent vector (latent_dim,): 16 hexadecimal digits."""
    return hashlib.blake2b(latent.numpy().tobytes(), digest_size=8).hexdigest()
