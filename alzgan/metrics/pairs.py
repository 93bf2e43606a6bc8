"""Which pairs of images say something: those of two people."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

People = Sequence[str] | np.ndarray  # (N,) a name or a number of whoever is in each image


def others(people: People | None, count: int, device: torch.device) -> Tensor:
    """Which pairs (N, N) are of two people, bool; of two images where nobody knows who is who."""
    who = numbered(people, count, device)
    return who[:, None] != who


def numbered(people: People | None, count: int, device: torch.device) -> Tensor:
    """Who is in each image (N,), as a number of each person; each a person where nobody knows who is who."""
    who = np.arange(count) if people is None else np.unique(np.asarray(people), return_inverse=True)[1]
    return torch.from_numpy(who).to(device)
