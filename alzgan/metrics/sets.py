"""Sets of features with people, alone and in pairs, with what several metrics need computed once."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from alzgan.metrics.features import FeatureExtractor

Found = TypeVar("Found")
People = Sequence[str] | np.ndarray  # (N,) the name or number of the person in each image


def numbered(people: People | None, count: int, device: torch.device) -> Tensor:
    """The number of the person in each image (N,); without people each image has its own."""
    who = np.arange(count) if people is None else np.unique(np.asarray(people), return_inverse=True)[1]
    return torch.from_numpy(who).to(device)


class Keeping:
    """Keeps the results of functions of itself."""

    def __init__(self):
        self.found: dict[tuple[Any, ...], Any] = {}

    def once(self, find: Callable[..., Found], *options: Any) -> Found:
        """The result of a function of this object and options; computed once."""
        key = find, *options
        if key not in self.found:
            self.found[key] = find(self, *options)
        return self.found[key]


class Features(Keeping):
    """Features (N, F) of one extractor, with people.

    Args:
        values: (N, F).
        people: (N,) or None if each image counts as another person.
        extractor: of the features, if it is known.
        part_of: a larger set, whose tables of all pairs are reused, and the rows of it that these are.
    """

    def __init__(
        self,
        values: Tensor,
        people: People | None = None,
        extractor: FeatureExtractor | None = None,
        part_of: "tuple[Features, Tensor] | None" = None,
    ):
        super().__init__()
        self.values, self.extractor, self.part_of = values.double(), extractor, part_of
        self.people = None if people is None else np.asarray(people)

    def __len__(self) -> int:
        return len(self.values)

    def of(self, rows: np.ndarray) -> "Features":
        """Some of them."""
        chosen = torch.from_numpy(rows)
        people = None if self.people is None else self.people[rows]
        return Features(self.values[chosen], people, self.extractor, (self, chosen))

    def first(self, count: int) -> "Features":
        """The first of them."""
        return self.of(np.arange(count))

    def without_names(self) -> "Features":
        """The same features without people."""
        return Features(self.values, None, self.extractor)

    def with_others(self, extra: Tensor) -> "Features":
        """These and other features (M, F), each of another person."""
        people = None
        if self.people is not None:
            names = np.unique(self.people, return_inverse=True)[1]
            people = np.concatenate([names, names.max() + 1 + np.arange(len(extra))])
        return Features(torch.cat([self.values, extra.double()]), people, self.extractor)

    def pairs(self) -> Tensor:
        """Which pairs (N, N) are of two people, bool."""
        who = numbered(self.people, len(self), self.values.device)
        return who[:, None] != who

    def table(self, find: Callable[["Features"], Tensor]) -> Tensor:
        """A function's table of all pairs (N, N); for a part, rows and columns of the whole set's table."""
        if self.part_of is not None and (find,) not in self.found:
            whole, rows = self.part_of
            self.found[find,] = whole.table(find)[rows[:, None], rows]
        return self.once(find)

    def sum_of(self, find: Callable[["Features"], Tensor]) -> float:
        """The sum of a table that is 0 within a person, without making the table of a part."""
        if self.part_of is None:
            return float(self.table(find).sum())
        whole, rows = self.part_of
        often = torch.bincount(rows, minlength=len(whole)).double()
        return float(often @ (whole.table(find) @ often))


class Pair(Keeping):
    """A real set of features and a fake one, which is judged by it.

    Args:
        real: (N, F).
        fake: (M, F).
        part_of: a pair with a larger fake set, and the rows of it that these are.
    """

    def __init__(self, real: Features, fake: Features, part_of: "tuple[Pair, Tensor] | None" = None):
        super().__init__()
        self.real, self.fake, self.part_of = real, fake, part_of

    def with_rows(self, rows: np.ndarray) -> "Pair":
        """The real set beside some of the fake one."""
        return Pair(self.real, self.fake.of(rows), (self, torch.from_numpy(rows)))

    def turned(self) -> "Pair":
        """The same pair with the sets exchanged."""
        return TurnedPair(self)

    def either_way(self, find: Callable[["Pair"], Found]) -> Found:
        """The result of a function that does not depend on which set is the real one."""
        return self.once(find)

    def table(self, find: Callable[["Pair"], Tensor]) -> Tensor:
        """A function's table (..., M) of the fake features; for a part, columns of the whole pair's table."""
        if self.part_of is not None and (find,) not in self.found:
            whole, rows = self.part_of
            self.found[find,] = whole.table(find)[..., rows]
        return self.once(find)


class TurnedPair(Pair):
    """A pair from the other side."""

    def __init__(self, pair: Pair):
        super().__init__(pair.fake, pair.real)
        self.pair = pair

    def either_way(self, find: Callable[[Pair], Found]) -> Found:
        return self.pair.either_way(find)

    def table(self, find: Callable[[Pair], Tensor]) -> Tensor:
        return self.pair.table(find).T
