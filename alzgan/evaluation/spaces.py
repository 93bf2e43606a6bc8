"""Feature spaces: each computes and keeps the features of images."""

import sys
from collections.abc import Callable, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from alzgan.data.features import features_of
from alzgan.errors import UserError
from alzgan.evaluation.own import is_own, own_space
from alzgan.evaluation.reference import Images, OncePerImage
from alzgan.metrics.features import FeatureExtractor, feature_space
from alzgan.metrics.inception import InceptionFeatures, is_at_hand
from alzgan.metrics.lite import is_installed, weights_file
from alzgan.metrics.sets import Features

Found = TypeVar("Found")


class Space:
    """A feature space. A number in it is the mean over its extractors.

    Args:
        name: see `alzgan.metrics.features.feature_space`; or the dotted name of the user's extractor.
        cache: the folder in which features are kept.
        device: the device that computes features.

    Raises:
        UserError: there is no such space, or its weights are missing.
    """

    def __init__(self, name: str, cache: Path, device: torch.device):
        made = own_space(name) if is_own(name) else feature_space(name)
        self.extractors: list[FeatureExtractor] = [each.to(device) for each in made]
        self.name = self.extractors[0].space
        self.features = [
            OncePerImage(
                partial(
                    features_of, extractor=each, cache=cache, device=device, progress=f"features {self.name}"
                )
            )
            for each in self.extractors
        ]
        self.found: dict[str, Any] = {}

    @property
    def extractor(self) -> str:
        """The names of the networks."""
        return "; ".join(extractor.name for extractor in self.extractors)

    def sets(self, images: Images) -> list[Features]:
        """The features of images by each extractor."""
        return [
            Features(features(images.pixels), images.people, extractor)
            for features, extractor in zip(self.features, self.extractors, strict=True)
        ]

    def together(self, *several: Images) -> list[tuple[Features, ...]]:
        """The features of several sets of images; one tuple for each extractor."""
        return list(zip(*map(self.sets, several), strict=True))

    def once(self, what: str, find: Callable[[], Found]) -> Found:
        """The result of `find`, kept by the name `what` for other candidates with the same real people."""
        if what not in self.found:
            self.found[what] = find()
        return self.found[what]


def chosen_spaces(names: Sequence[str], cache: Path, device: torch.device) -> list[Space]:
    """The spaces of these names.

    Raises:
        UserError: a space is unknown, its weights are missing, or it is the only one.
    """
    if len(set(names)) < 2:
        raise UserError(f"features={','.join(names)}: one space alone can flatter, give at least two")
    return [Space(name, cache, device) for name in names]


def at_hand(trained: Set[str] = frozenset()) -> list[str]:
    """The names of the spaces whose weights are installed, and of those that need none.

    imagenet-lite2, which takes twice as long as imagenet-lite0, is among them only where discriminators were
    trained on the latter.

    Args:
        trained: the spaces that discriminators were trained on.
    """
    found = [InceptionFeatures.space] if is_at_hand(download=False) else []
    try:
        weights_file("imagenet-lite0")
        found.append("imagenet-lite0")
    except UserError as error:
        print(f"alzgan: {error}; without them faults are harder to notice", file=sys.stderr)
    if "imagenet-lite0" in trained and is_installed("imagenet-lite2"):
        found.append("imagenet-lite2")
    return [*found, "random-conv", "pixels"]
