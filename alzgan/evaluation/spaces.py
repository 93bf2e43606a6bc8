"""Images in a feature space, with what is computed of one set alone kept for all its comparisons."""

import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alzgan.data.features import features_of
from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.evaluation.reference import Images
from alzgan.files import digest_of
from alzgan.metrics.distances import Moments, frechet, kernel, moments, sorted_projections
from alzgan.metrics.diversity import vendi
from alzgan.metrics.features import FeatureExtractor, feature_space
from alzgan.metrics.inception import InceptionFeatures, is_at_hand
from alzgan.metrics.lite import LiteFeatures, weights_file
from alzgan.metrics.neighbours import (
    alpha_precision,
    between_others,
    distances,
    even_cover,
    nearest,
    within_radii,
)
from alzgan.metrics.pairs import others

Found = TypeVar("Found")

K = 5  # the neighbour that makes a radius
REDRAWS = 2000  # draws of people, for numbers that are sums over people


class Space:
    """A feature space: numbers in it are means over its extractors.

    Args:
        name: see `alzgan.metrics.features.feature_space`.
        cache: folder of the features.
        device: of the computation.

    Raises:
        UserError: there is no such space, or its weights are missing.
    """

    def __init__(self, name: str, cache: Path, device: torch.device):
        self.extractors: list[FeatureExtractor] = [each.to(device) for each in feature_space(name)]
        self.name = self.extractors[0].space
        self.cache, self.device = cache, device
        # By extractor and image: classes and groups are parts of sets whose features are there already.
        self.known: list[dict[str, Tensor]] = [{} for _ in self.extractors]
        self.found: dict[str, Any] = {}

    @property
    def extractor(self) -> str:
        """The names of the networks."""
        return "; ".join(extractor.name for extractor in self.extractors)

    def sets(self, images: Images) -> list["Features"]:
        """The images as each extractor sees them."""
        digests = [digest_of(pixels[None]) for pixels in images.pixels]
        missing = list(
            {digest: row for row, digest in enumerate(digests) if digest not in self.known[0]}.items()
        )
        if missing:
            self.learn([digest for digest, _ in missing], images.pixels[[row for _, row in missing]])
        return [
            Features(torch.stack([known[digest] for digest in digests]), images.people, extractor)
            for known, extractor in zip(self.known, self.extractors, strict=True)
        ]

    def together(self, *several: Images) -> list[tuple["Features", ...]]:
        """Several sets of images, side by side as each extractor sees them."""
        return list(zip(*map(self.sets, several), strict=True))

    def once(self, what: str, find: Callable[[], Found]) -> Found:
        """What `find` finds, kept for the next candidate, which is beside the same people."""
        if what not in self.found:
            self.found[what] = find()
        return self.found[what]

    def learn(self, digests: list[str], pixels: Tensor) -> None:
        """Compute the features of images, or read them from the cache."""
        for known, extractor in zip(self.known, self.extractors, strict=True):
            found = features_of(pixels, extractor, self.cache, self.device, f"features {self.name}")
            known.update(zip(digests, found, strict=True))


class Features:
    """Features (N, F) of one extractor, with people.

    Args:
        values: (N, F).
        people: (N,) None where each is somebody of its own.
        extractor: of the features.
        part_of: a larger set and which rows of it these are: its tables of all pairs are made once.
    """

    def __init__(
        self,
        values: Tensor,
        people: np.ndarray | None,
        extractor: FeatureExtractor,
        part_of: "tuple[Features, Tensor] | None" = None,
    ):
        self.values, self.people, self.extractor, self.part_of = values.double(), people, extractor, part_of

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
        """The same, where nobody knows who is who."""
        return Features(self.values, None, self.extractor)

    def with_others(self, extra: Tensor) -> "Features":
        """The same and other features (M, F), each somebody of its own."""
        people = None
        if self.people is not None:
            names = np.unique(self.people, return_inverse=True)[1]
            people = np.concatenate([names, names.max() + 1 + np.arange(len(extra))])
        return Features(torch.cat([self.values, extra.double()]), people, self.extractor)

    @cached_property
    def moments(self) -> Moments:
        """For the Fréchet distance."""
        return moments(self.values)

    @cached_property
    def between(self) -> Tensor:
        """The distances (N, N) of people to others, infinite within a person."""
        if self.part_of is not None:
            whole, rows = self.part_of
            return whole.between[rows][:, rows]
        return between_others(self.values, self.people)

    @cached_property
    def kernels(self) -> Tensor:
        """The kernel (N, N) between people, 0 within a person."""
        if self.part_of is not None:
            whole, rows = self.part_of
            return whole.kernels[rows][:, rows]
        return kernel(self.values, self.values) * others(self.people, len(self), self.values.device)

    @cached_property
    def mean_kernel(self) -> float:
        """For the kernel distance."""
        pairs = others(self.people, len(self), self.values.device).sum()
        return float(self.kernels.sum() / pairs)

    @cached_property
    def projections(self) -> Tensor:
        """For MIND."""
        return sorted_projections(self.values)

    @cached_property
    def radii(self) -> tuple[Tensor, Tensor]:
        """To the nearest other person's, and to the k-th nearest."""
        return nearest(self.between, 1), nearest(self.between, K)

    @cached_property
    def vendi(self) -> float:
        """How many kinds there are."""
        return vendi(self.values)


class Pair:
    """Two sets of features, each judged by the other."""

    def __init__(self, one: Features, two: Features, part_of: "tuple[Pair, Tensor] | None" = None):
        self.one, self.two, self.part_of = one, two, part_of

    def with_rows(self, rows: np.ndarray) -> "Pair":
        """The first set beside some of the second."""
        return Pair(self.one, self.two.of(rows), (self, torch.from_numpy(rows)))

    def frechet_and_mind(self) -> dict[str, float]:
        """The distances whose expectation depends on N; the root of the first covariance is kept."""
        spread = (self.one.projections - self.two.projections).square().mean()
        return {
            "frechet": frechet(self.one.moments, self.two.moments),
            "mind": float(3 * self.one.values.shape[1] * spread),
        }

    def two_in_one(self) -> dict[str, float]:
        """What the second set is, where the first one is real."""
        return self.judged(self.one, self.two, self.distances)

    def one_in_two(self) -> dict[str, float]:
        """What the first set is, where the second one is real."""
        return self.judged(self.two, self.one, self.distances.T)

    @cached_property
    def distances(self) -> Tensor:
        """Of each to each."""
        if self.part_of is not None:
            whole, rows = self.part_of
            return whole.distances[:, rows]
        return distances(self.one.values, self.two.values)

    @cached_property
    def mean_kernels(self) -> Tensor:
        """The mean kernel of each of the second set with the first one."""
        if self.part_of is not None:
            whole, rows = self.part_of
            return whole.mean_kernels[rows]
        return kernel(self.one.values, self.two.values).mean(0)

    @cached_property
    def kernel_distance(self) -> float:
        """The same from either side."""
        return self.one.mean_kernel + self.two.mean_kernel - 2 * float(self.mean_kernels.mean())

    def judged(self, real: Features, fake: Features, between: Tensor) -> dict[str, float]:
        """All that does not need as many images as features have dimensions."""
        return {
            "kernel_distance": self.kernel_distance,
            **within_radii(between, real.radii[1], fake.radii[1], K)._asdict(),
            "alpha_precision": alpha_precision(real.values, fake.values),
            "beta_recall": even_cover(between, real.radii[0], fake.values),
        }

    def redrawn(self, people: np.ndarray, count: int, seed: int) -> dict[str, np.ndarray]:
        """Those numbers (D,) of people of the second set, drawn with replacement, that are sums over people.

        Draws of such numbers cost next to nothing. Two copies of a person are never paired: their images are
        the same ones.

        Args:
            people: (N,) who is in each of the second set.
            count: people in a draw.
            seed: of the draws.
        """
        who = np.unique(people, return_inverse=True)[1]
        of_person = F.one_hot(torch.from_numpy(who)).double()
        names = of_person.shape[1]
        draws = stream(seed, "evaluate/redrawn").multinomial(count, np.full(names, 1 / names), size=REDRAWS)
        # Of few people some draws are of one person alone, who has nobody to be paired with.
        counts = torch.from_numpy(draws[(draws > 0).sum(1) > 1]).double()

        def mean_of(values: Tensor) -> Tensor:
            return counts @ (of_person.T @ values) / (counts @ of_person.sum(0))

        def over_pairs(table: Tensor) -> Tensor:
            sums = of_person.T @ table @ of_person
            own = sums.diagonal()
            return ((counts @ (sums - own.diag())) * counts).sum(1) + counts @ own

        paired = others(self.two.people, len(self.two), self.two.values.device).double()
        mean_kernel = over_pairs(self.two.kernels) / over_pairs(paired)
        inside = (self.distances < self.one.radii[1][:, None]).double()
        return {
            "kernel_distance": (self.one.mean_kernel + mean_kernel - 2 * mean_of(self.mean_kernels)).numpy(),
            "precision": mean_of(inside.amax(0)).numpy(),
            "density": mean_of(inside.sum(0) / K).numpy(),
        }


def chosen_spaces(names: Sequence[str] | None, cache: Path, device: torch.device) -> list[Space]:
    """The spaces asked for; without any, all that are at hand.

    Raises:
        UserError: a space is not at hand, or only one is asked for.
    """
    names = list(names or at_hand())
    if len(set(names)) < 2:
        raise UserError(f"features={','.join(names)}: one space alone can flatter, give two at least")
    return [Space(name, cache, device) for name in names]


def at_hand() -> list[str]:
    """The spaces that need nothing or whose weights are there."""
    found = [InceptionFeatures.space] if is_at_hand(download=False) else []
    try:
        weights_file()
        found.append(LiteFeatures.space)
    except UserError as error:
        print(f"alzgan: {error}; without it the judges are weaker", file=sys.stderr)
    return [*found, "random-conv", "pixels"]
