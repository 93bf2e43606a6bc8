"""People drawn again from the known ones, with all their images: how a number varies between people."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alzgan.device.streams import stream

REDRAWS = 2000  # of people, for numbers that are sums over people: such draws cost next to nothing
DRAWS = 1000  # of people, for the numbers of copies
SINGLES = 20  # draws of one image of each person


class Redraws:
    """Draws of people with replacement.

    Args:
        people: (N,) who is in each image.
        count: people in a draw.
        seed: of the draws.

    Attributes:
        of_person: (N, P) 1 for the person in each image, else 0.
        counts: (D, P) how often each draw contains each person.
    """

    method = f"people are drawn {REDRAWS:,} times with replacement"

    def __init__(self, people: np.ndarray, count: int, seed: int):
        names, who = np.unique(people, return_inverse=True)
        self.of_person = F.one_hot(torch.from_numpy(who)).double()
        chances = np.full(len(names), 1 / len(names))
        draws = stream(seed, "evaluate/redrawn").multinomial(count, chances, size=REDRAWS)
        # With few people some draws contain a single person, whose images have no pairs.
        self.counts = torch.from_numpy(draws[(draws > 0).sum(1) > 1]).double()

    def mean(self, values: Tensor) -> Tensor:
        """The mean (D,) of the images' values (N,) in each draw."""
        return self.counts @ (self.of_person.T @ values) / (self.counts @ self.of_person.sum(0))

    def mean_of_pairs(self, values: Tensor, pairs: Tensor) -> Tensor:
        """The mean (D,) over pairs of images.

        Two copies of a person are never paired: their images are the same ones.

        Args:
            values: (N, N) of pairs, 0 for those that do not count.
            pairs: (N, N) how often each counts.
        """
        return self.over_pairs(values) / self.over_pairs(pairs)

    def over_pairs(self, table: Tensor) -> Tensor:
        """The sums (D,) of a table (N, N) over the pairs of each draw."""
        sums = self.of_person.T @ table @ self.of_person
        own = sums.diagonal()
        return ((self.counts @ (sums - own.diag())) * self.counts).sum(1) + self.counts @ own


class Groups(NamedTuple):
    """Groups of real people, each with a share of the samples, that are left out in turn.

    Attributes:
        real: (N, G) 1 for the group of each real image, else 0.
        fake: (M, G) likewise for the samples.
    """

    real: Tensor
    fake: Tensor

    def means(self, sums: Tensor, counts: Tensor) -> Tensor:
        """Means (1 + G,) over pairs of images: of all, then of all without each group.

        Args:
            sums: (G, G) over the pairs of two groups.
            counts: (G, G) how many pairs there are.
        """
        whole, count = (
            torch.cat([table.sum()[None], table.sum() - table.sum(0) - table.sum(1) + table.diagonal()])
            for table in (sums, counts)
        )
        return whole / count

    def covered(self, inside: Tensor) -> Tensor:
        """The share (1 + G,) of real images that samples cover: of all, then of all without each group.

        Args:
            inside: (N, M) which sample covers which image.
        """
        covering = inside.double() @ self.fake
        every = covering.sum(1, keepdim=True)
        kept = 1 - self.real
        without = ((every - covering > 0) * kept).sum(0) / kept.sum(0)
        return torch.cat([(every > 0).double().mean()[None], without])


def in_groups(who: np.ndarray, count: int) -> Tensor:
    """1 for the group of each image (N, G), else 0; people are assigned to `count` groups in turn."""
    return F.one_hot(torch.from_numpy(np.unique(who, return_inverse=True)[1] % count), count).double()


def resampled(
    people: np.ndarray | None,
    count: int,
    seed: int,
    purpose: str = "evaluate/resampled",
    drawn: int | None = None,
) -> list[Tensor]:
    """The rows of each draw, with replacement, of `drawn` people; None: as many as there are."""
    names, who = np.unique(np.arange(count) if people is None else people, return_inverse=True)
    rows_of = [np.flatnonzero(who == person) for person in range(len(names))]
    draws = stream(seed, purpose).integers(len(names), size=(DRAWS, drawn or len(names)))
    return [torch.from_numpy(np.concatenate([rows_of[person] for person in draw])) for draw in draws]


def halves(values: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The values (P,) of people, divided at random into two halves (D, P / 2), again and again."""
    first = permutations(len(values), seed, "evaluate/halves") < len(values) // 2
    drawn = np.broadcast_to(values, first.shape)
    return drawn[first].reshape(DRAWS, -1), drawn[~first].reshape(DRAWS, -1)


def permutations(count: int, seed: int, purpose: str) -> np.ndarray:
    """Orders (D, P) of P people."""
    return np.stack([stream(seed, purpose, draw).permutation(count) for draw in range(DRAWS)])


def one_of_each(people: np.ndarray, seed: int, draw: int) -> np.ndarray:
    """The row of a random image of each person."""
    order = stream(seed, "evaluate/one of each", draw).permutation(len(people))
    return order[np.unique(people[order], return_index=True)[1]]
