"""Images in a feature space, with what is computed of one set alone kept for all its comparisons."""

import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from alzgan.data.features import digest_of, features_of
from alzgan.errors import UserError
from alzgan.evaluation.reference import Images
from alzgan.metrics.distances import Moments, frechet, kernel, mean_kernel, moments, sorted_projections
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

Found = TypeVar("Found")

K = 5  # the neighbour that makes a radius


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
    """

    def __init__(self, values: Tensor, people: np.ndarray | None, extractor: FeatureExtractor):
        self.values, self.people, self.extractor = values.double(), people, extractor

    def __len__(self) -> int:
        return len(self.values)

    def of(self, rows: np.ndarray) -> "Features":
        """Some of them."""
        people = None if self.people is None else self.people[rows]
        return Features(self.values[torch.from_numpy(rows)], people, self.extractor)

    def first(self, count: int) -> "Features":
        """The first of them."""
        return self.of(np.arange(count))

    @cached_property
    def moments(self) -> Moments:
        """For the Fréchet distance."""
        return moments(self.values)

    @cached_property
    def mean_kernel(self) -> float:
        """For the kernel distance."""
        return mean_kernel(self.values, self.people)

    @cached_property
    def projections(self) -> Tensor:
        """For MIND."""
        return sorted_projections(self.values)

    @cached_property
    def radii(self) -> tuple[Tensor, Tensor]:
        """To the nearest other person's, and to the k-th nearest."""
        between = between_others(self.values, self.people)
        return nearest(between, 1), nearest(between, K)

    @cached_property
    def vendi(self) -> float:
        """How many kinds there are."""
        return vendi(self.values)


class Pair:
    """Two sets of as many features, each judged by the other."""

    def __init__(self, one: Features, two: Features):
        self.one, self.two = one, two

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
        return distances(self.one.values, self.two.values)

    @cached_property
    def kernel_distance(self) -> float:
        """The same from either side."""
        cross = float(kernel(self.one.values, self.two.values).mean())
        return self.one.mean_kernel + self.two.mean_kernel - 2 * cross

    def judged(self, real: Features, fake: Features, between: Tensor) -> dict[str, float]:
        """All that does not need as many images as features have dimensions."""
        return {
            "kernel_distance": self.kernel_distance,
            **within_radii(between, real.radii[1], fake.radii[1], K)._asdict(),
            "alpha_precision": alpha_precision(real.values, fake.values),
            "beta_recall": even_cover(between, real.radii[0], fake.values),
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
