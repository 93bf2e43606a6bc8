"""Draws of people with all their images, which show how a number varies between people."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alzgan.device.streams import stream
from alzgan.metrics.sets import People, numbered

CPU = torch.device("cpu")

REDRAWS = 2000  # draws of people for numbers that are sums over people, and therefore fast
COPY_DRAWS = 1000  # draws of people for the numbers of copies
SINGLES = 20  # draws of one image of each person


class Redraws:
    """Draws of people with replacement.

    Args:
        people: the person in each image (N,).
        count: the number of people in a draw.
        seed: the seed of the draws.

    Attributes:
        who: the number of the person in each image (N,).
        images: the number of images of each person (P,).
        counts: how often each draw contains each person (D, P).
    """

    method = f"people are drawn {REDRAWS:,} times with replacement"

    def __init__(self, people: np.ndarray, count: int, seed: int):
        self.who = numbered(people, len(people), CPU)
        self.images = self.who.bincount().double()
        chances = np.full(len(self.images), 1 / len(self.images))
        draws = stream(seed, "evaluate/redrawn").multinomial(count, chances, size=REDRAWS)
        # A draw of few people can repeat a single person. It has no pairs of people, and is left out.
        self.counts = torch.from_numpy(draws[(draws > 0).sum(1) > 1]).double()

    def mean(self, values: Tensor) -> Tensor:
        """The mean (D,) of the images' values (N,) in each draw."""
        return self.counts @ self.by_person(values) / (self.counts @ self.images)

    def mean_of_pairs(self, table: Tensor, people: People | None) -> Tensor:
        """The mean (D,) over pairs of images of two people.

        A draw can contain a person several times. These repetitions are not paired with each other.

        Args:
            table: the value of each pair of images (N, N), 0 within a person.
            people: the person in each image (N,); None if each image counts as another person.
        """
        sums = self.by_person(self.by_person(table).T)
        own = sums.diagonal()
        total = ((self.counts @ (sums - own.diag())) * self.counts).sum(1) + self.counts @ own
        return total / self.pair_count(people)

    def pair_count(self, people: People | None) -> Tensor:
        """The number (D,) of pairs of images of two people in each draw."""
        shared = self.by_person(F.one_hot(numbered(people, len(self.who), CPU)).double())
        own = self.images.square() - shared.square().sum(1)
        every = (self.counts @ self.images).square() - (self.counts @ shared).square().sum(1)
        return every - self.counts.square() @ own + self.counts @ own

    def by_person(self, values: Tensor) -> Tensor:
        """The sums (P, ...) of values (N, ...) over the images of each person."""
        return values.new_zeros(len(self.images), *values.shape[1:]).index_add_(0, self.who, values)


class Groups(NamedTuple):
    """Groups of real people, each with a share of the samples. Each group is left out in turn.

    Attributes:
        real: 1 for the group of each real image, else 0 (N, G).
        fake: 1 for the group of each sample, else 0 (M, G).
    """

    real: Tensor
    fake: Tensor

    def means(self, sums: Tensor, counts: Tensor) -> Tensor:
        """Means (1 + G,) over pairs of images: of all images, then without each group.

        Args:
            sums: the sum over the pairs of each two groups (G, G).
            counts: the number of these pairs (G, G).
        """
        whole, count = (
            torch.cat([table.sum()[None], table.sum() - table.sum(0) - table.sum(1) + table.diagonal()])
            for table in (sums, counts)
        )
        return whole / count

    def covered(self, inside: Tensor) -> Tensor:
        """The share (1 + G,) of real images that samples cover: of all images, then without each group.

        Args:
            inside: whether each sample covers each real image, bool (N, M).
        """
        covering = inside.double() @ self.fake
        every = covering.sum(1, keepdim=True)
        kept = 1 - self.real
        without = ((every - covering > 0) * kept).sum(0) / kept.sum(0)
        return torch.cat([(every > 0).double().mean()[None], without])


def in_groups(who: np.ndarray, count: int) -> Tensor:
    """1 for the group of each image, else 0 (N, G); people are dealt to `count` groups in turn."""
    return F.one_hot(torch.from_numpy(np.unique(who, return_inverse=True)[1] % count), count).double()


def resampled(
    people: np.ndarray | None,
    count: int,
    seed: int,
    purpose: str = "evaluate/resampled",
    drawn: int | None = None,
) -> list[Tensor]:
    """The rows of each of `COPY_DRAWS` draws of `drawn` people, or of all if None, with replacement."""
    names, who = np.unique(np.arange(count) if people is None else people, return_inverse=True)
    rows_of = [np.flatnonzero(who == person) for person in range(len(names))]
    draws = stream(seed, purpose).integers(len(names), size=(COPY_DRAWS, drawn or len(names)))
    return [torch.from_numpy(np.concatenate([rows_of[person] for person in draw])) for draw in draws]


def halves(values: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`COPY_DRAWS` random divisions of the values (P,) of people into two halves, each (D, P / 2)."""
    first = permutations(len(values), seed, "evaluate/halves") < len(values) // 2
    drawn = np.broadcast_to(values, first.shape)
    return drawn[first].reshape(COPY_DRAWS, -1), drawn[~first].reshape(COPY_DRAWS, -1)


def permutations(count: int, seed: int, purpose: str) -> np.ndarray:
    """`COPY_DRAWS` random orders (D, P) of P people."""
    return np.stack([stream(seed, purpose, draw).permutation(count) for draw in range(COPY_DRAWS)])


def one_of_each(people: np.ndarray, seed: int, draw: int) -> np.ndarray:
    """The row of a random image of each person."""
    order = stream(seed, "evaluate/one of each", draw).permutation(len(people))
    return order[np.unique(people[order], return_index=True)[1]]
