"""Sets of features with people, and pairs of such sets. They keep results that several metrics need."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from alzgan.metrics.features import FeatureExtractor

Found = TypeVar("Found")
People = Sequence[str] | np.ndarray  # (N,): the name or number of the person in each image


def numbered(people: People | None, count: int, device: torch.device) -> Tensor:
    """The number of the person in each image (N,); without people each image gets a number of its own."""
    who = np.arange(count) if people is None else np.unique(np.asarray(people), return_inverse=True)[1]
    return torch.from_numpy(who).to(device)


class Keeping:
    """An object that keeps the results of functions of itself."""

    def __init__(self):
        self.found: dict[tuple[Any, ...], Any] = {}

    def once(self, find: Callable[..., Found], *options: Any) -> Found:
        """The result of `find(self, *options)`, computed once."""
        key = find, *options
        if key not in self.found:
            self.found[key] = find(self, *options)
        return self.found[key]


class Features(Keeping):
    """The features of images by one extractor, with the people in the images.

    Args:
        values: the features (N, F).
        people: the person in each image (N,); None if each image counts as another person.
        extractor: the extractor; None if unknown.
        part_of: for a part of a larger set, all `Parts` of that set and the index of this part.
    """

    def __init__(
        self,
        values: Tensor,
        people: People | None = None,
        extractor: FeatureExtractor | None = None,
        part_of: "tuple[Parts, int] | None" = None,
    ):
        super().__init__()
        self.values, self.extractor, self.part_of = values.double(), extractor, part_of
        self.people = None if people is None else np.asarray(people)
        self.with_people: Features | None = None  # the same features, if these have lost their people

    def __len__(self) -> int:
        return len(self.values)

    def of(self, rows: np.ndarray) -> "Features":
        """The features in these rows, as a part of this set."""
        return next(self.parts([rows]))

    def parts(self, several: Sequence[np.ndarray]) -> "Iterator[Features]":
        """Parts of this set, each with its rows."""
        parts = Parts(self, [torch.from_numpy(rows) for rows in several])
        for place, rows in enumerate(several):
            people = None if self.people is None else self.people[rows]
            yield Features(self.values[parts.rows[place]], people, self.extractor, (parts, place))

    def without_people(self) -> "Features":
        """The same features without people."""
        without = Features(self.values, None, self.extractor)
        without.with_people = self
        return without

    def with_others(self, extra: Tensor) -> "Features":
        """This set, extended by features (M, F) that are each of a new person."""
        people = None
        if self.people is not None:
            names = np.unique(self.people, return_inverse=True)[1]
            people = np.concatenate([names, names.max() + 1 + np.arange(len(extra))])
        return Features(torch.cat([self.values, extra.double()]), people, self.extractor)

    def pairs(self) -> Tensor:
        """1 for each pair of features (N, N) of two people, else 0; float64."""
        who = numbered(self.people, len(self), self.values.device)
        return (who[:, None] != who).double()

    def products(self) -> Tensor:
        """The scalar products of all pairs (N, N)."""
        return (self.with_people or self).once(products_in)

    def by_row(self, find: Callable[..., Tensor], *options: Any) -> Tensor:
        """The values (N, ...) of a function of each feature alone; a part looks up those of the whole set."""
        if self.part_of is None:
            return self.once(find, *options)
        parts, place = self.part_of
        return parts.whole.by_row(find, *options)[parts.rows[place]]

    def sum_of(self, find: Callable[["Features"], Tensor]) -> float:
        """The sum of a function's table (N, N) of all pairs; a part looks it up in that of the whole set."""
        if self.part_of is None:
            return float(self.once(find).sum())
        parts, place = self.part_of
        return float(parts.once(sums_over, find)[place])


def products_in(features: Features) -> Tensor:
    """The scalar products of all pairs (N, N)."""
    return features.values @ features.values.T


class Parts(Keeping):
    """The parts of a set of features. They share computations over pairs of features.

    Args:
        whole: the set.
        rows: the rows of each part.
    """

    def __init__(self, whole: Features, rows: list[Tensor]):
        super().__init__()
        self.whole, self.rows = whole, rows


def sums_over(parts: Parts, find: Callable[[Features], Tensor]) -> Tensor:
    """The sum (D,) of the whole set's table of pairs over the pairs of each part."""
    often = torch.stack([torch.bincount(rows, minlength=len(parts.whole)) for rows in parts.rows]).double()
    return ((often @ parts.whole.once(find)) * often).sum(1)


class Pair(Keeping):
    """A real set of features, and a fake one that is compared with it.

    A metric looks its results up here, so that each is computed once for all metrics:

    - `pair.real.once(f)`, `pair.fake.once(f)`: a result of one set. A part of it looks up rows that depend on
      one feature each by `by_row`, and sums over pairs of features by `sum_of`.
    - `pair.by_fake(f)`: a row for each fake feature, which depends on this feature and the real set. If it
      also depended on other fake features, it would be wrong for a part of the fake set.
    - `pair.table(f)`: a table (M, N) whose every entry depends on one fake and one real feature, and is the
      same if these two are exchanged.
    - `pair.either_way(f)`: a result that is the same if the sets are exchanged.
    - `pair.once(f)`: any other result.

    Args:
        real: N features.
        fake: M features.
        part_of: the pair with the whole fake set, and the rows of that set; None if the fake set is whole.
    """

    def __init__(self, real: Features, fake: Features, part_of: "tuple[Pair, Tensor] | None" = None):
        super().__init__()
        self.real, self.fake, self.part_of = real, fake, part_of
        self.found_turned: dict[tuple[Any, ...], Any] = {}

    def with_each(self, several: Sequence[np.ndarray]) -> "Iterator[Pair]":
        """Pairs of the real set and each of several parts of the fake set."""
        for part, rows in zip(self.fake.parts(several), several, strict=True):
            yield Pair(self.real, part, (self, torch.from_numpy(rows)))

    def turned(self) -> "Pair":
        """This pair with the two sets exchanged."""
        return TurnedPair(self)

    def either_way(self, find: Callable[["Pair"], Found]) -> Found:
        """The result of a function that is the same for the turned pair."""
        return self.once(find)

    def by_fake(self, find: Callable[..., Tensor], *options: Any) -> Tensor:
        """A function's rows (M, ...), one for each fake feature; a part looks up those of the whole set."""
        key = find, *options
        if self.part_of is not None and key not in self.found:
            whole, rows = self.part_of
            self.found[key] = whole.by_fake(find, *options)[rows]
        return self.once(find, *options)

    def table(self, find: Callable[["Pair"], Tensor]) -> Tensor:
        """A function's table (M, N) of fake and real features; the turned pair has its transpose."""
        return self.by_fake(find)


def products_of(pair: Pair) -> Tensor:
    """The scalar product (M, N) of each fake feature and each real one."""
    return pair.fake.values @ pair.real.values.T


class TurnedPair(Pair):
    """A pair with its sets exchanged; it looks up what both pairs share."""

    def __init__(self, pair: Pair):
        super().__init__(pair.fake, pair.real)
        self.pair, self.found = pair, pair.found_turned

    def turned(self) -> Pair:
        return self.pair

    def either_way(self, find: Callable[[Pair], Found]) -> Found:
        return self.pair.either_way(find)

    def table(self, find: Callable[[Pair], Tensor]) -> Tensor:
        return self.pair.table(find).T
