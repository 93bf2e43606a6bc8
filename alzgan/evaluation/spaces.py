"""Images in a feature space."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from alzgan.data.features import features_of
from alzgan.errors import UserError
from alzgan.evaluation.own import is_own, own_space
from alzgan.evaluation.reference import Images
from alzgan.files import digest_of
from alzgan.metrics.features import FeatureExtractor, feature_space
from alzgan.metrics.inception import InceptionFeatures, is_at_hand
from alzgan.metrics.lite import LiteFeatures, weights_file
from alzgan.metrics.sets import Features

Found = TypeVar("Found")


class Space:
    """A feature space: numbers in it are means over its extractors.

    Args:
        name: see `alzgan.metrics.features.feature_space`; or the dotted name of an extractor of one's own.
        cache: folder of the features.
        device: of the computation.

    Raises:
        UserError: there is no such space, or its weights are missing.
    """

    def __init__(self, name: str, cache: Path, device: torch.device):
        made = own_space(name) if is_own(name) else feature_space(name)
        self.extractors: list[FeatureExtractor] = [each.to(device) for each in made]
        self.name = self.extractors[0].space
        self.cache, self.device = cache, device
        # By extractor and image: classes and groups are parts of sets whose features are there already.
        self.known: list[dict[str, Tensor]] = [{} for _ in self.extractors]
        self.found: dict[str, Any] = {}

    @property
    def extractor(self) -> str:
        """The names of the networks."""
        return "; ".join(extractor.name for extractor in self.extractors)

    def sets(self, images: Images) -> list[Features]:
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

    def together(self, *several: Images) -> list[tuple[Features, ...]]:
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
