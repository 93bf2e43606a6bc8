"""Feature spaces in which numbers flatter, because the discriminator was trained on the same features."""

import re
from collections.abc import Iterable


def is_trained(space: str, features: Iterable[str]) -> bool:
    """Whether the discriminator was trained on a space, or on the same network with other weights.

    Args:
        space: the name of a feature space.
        features: the names of the spaces that the discriminator was trained on.
    """
    return network_of(space) in map(network_of, features)


def network_of(space: str) -> str:
    """The name of a space without the first digits of the SHA-256 of its weights."""
    return re.sub(r"-[0-9a-f]{8}$", "", space)
