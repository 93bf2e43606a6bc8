"""Distances between two sets of features (N, F)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from alzgan.device.streams import stream
from alzgan.metrics.pairs import People, numbered

BLOCK = 1024  # rows of a table of all pairs


@dataclass(frozen=True)
class Moments:
    """Mean (F,) and covariance (F, F) of features, in float64.

    Attributes:
        factor: (F, N) with factor factor^T = covariance, where there are fewer features than dimensions.
    """

    mean: Tensor
    covariance: Tensor
    factor: Tensor | None = None

    @cached_property
    def root(self) -> Tensor:
        """A matrix R with R R^T = covariance."""
        if self.factor is not None:
            return self.factor
        values, vectors = torch.linalg.eigh(self.covariance)
        return vectors * values.clamp(min=0).sqrt()


def moments(features: Tensor, weights: Tensor | None = None) -> Moments:
    """Mean and unbiased covariance of features (N, F), each row with its weight (N,)."""
    features = features.double()
    share = shares_of(features, weights)
    mean = share @ features
    centred = features - mean
    scale = share / (1 - share.square().sum())
    factor = (centred * scale.sqrt()[:, None]).T if len(features) < features.shape[1] else None
    return Moments(mean, (scale * centred.T) @ centred, factor)


def frechet(real: Tensor | Moments, fake: Tensor | Moments) -> float:
    """The Fréchet distance of the normal distributions with the moments of two sets, from 0 on.

    |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) (Heusel et al. 2017, "GANs trained by a two time-scale update
    rule converge to a local Nash equilibrium"). Its expectation grows as sets get smaller:
    compare at equal N.

    Args:
        real: features (N, F) or their moments.
        fake: features (M, F) or their moments.
    """
    one, two = (each if isinstance(each, Moments) else moments(each) for each in (real, fake))
    # The square root's trace by symmetric matrices alone: with C = R R^T it is that of (R^T C' R)^(1/2).
    mixed = torch.linalg.eigvalsh(one.root.T @ two.covariance @ one.root).clamp(min=0).sqrt().sum()
    trace = one.covariance.trace() + two.covariance.trace() - 2 * mixed
    return float((one.mean - two.mean).square().sum() + trace)


def kernel_distance(
    real: Tensor,
    fake: Tensor,
    real_people: People | None = None,
    fake_people: People | None = None,
    real_weights: Tensor | None = None,
    real_kernel: float | None = None,
) -> float:
    """The unbiased squared maximum mean discrepancy with the kernel (x . y / F + 1)^3; near 0 for one law.

    Bińkowski et al. 2018, "Demystifying MMD GANs", who call it KID in Inception's features. Its expectation
    does not depend on N, and it falls below 0 by chance. It is unbiased where what is paired is independent:
    with people, features of one person are not paired, which are nearly one feature.

    Args:
        real: features (N, F), N from 2 on.
        fake: features (M, F), M from 2 on.
        real_people: (N,) who is in each; None: each is somebody of its own.
        fake_people: (M,) the same of the fake ones.
        real_weights: (N,) how often each real one is meant to be there; None: all alike.
        real_kernel: the `mean_kernel` of the real ones, where it is known.
    """
    share = shares_of(real, real_weights)
    cross = float((share @ kernel(real, fake)).mean())
    if real_kernel is None:
        real_kernel = mean_kernel(real, real_people, real_weights)
    return real_kernel + mean_kernel(fake, fake_people) - 2 * cross


def kernel(one: Tensor, two: Tensor) -> Tensor:
    """(x . y / F + 1)^3 of each pair (N, M)."""
    return (one.double() @ two.double().T / one.shape[1] + 1) ** 3


def mean_kernel(features: Tensor, people: People | None = None, weights: Tensor | None = None) -> float:
    """The mean kernel of two different ones of a set, of two people where these are known."""
    share, who = shares_of(features, weights), numbered(people, len(features), features.device)
    features = features.double()  # once, and not for each block of rows
    total = weight = 0.0
    for rows in torch.arange(len(features), device=features.device).split(BLOCK):
        pairs = share[rows, None] * share * (who[rows, None] != who)
        total += float((pairs * kernel(features[rows], features)).sum())
        weight += float(pairs.sum())
    return total / weight


def shares_of(features: Tensor, weights: Tensor | None) -> Tensor:
    """Weights (N,) that add up to 1, in float64."""
    share = features.new_ones(len(features), dtype=torch.double) if weights is None else weights.double()
    return share / share.sum()


def mind(real: Tensor, fake: Tensor, directions: int = 1000, seed: int = 0) -> float:
    """The sliced squared Wasserstein distance times 3 F, from 0 on, of as many features of each.

    3 F times the mean, over directions u drawn evenly from the unit sphere, of the mean squared difference
    between the sorted projections on u (Berthet et al. 2026, "MIND: Monge Inception distance for generative
    models evaluation", in Inception's features). Its expectation grows as N falls.

    Args:
        real: features (N, F).
        fake: features (N, F).
        directions: how many are drawn.
        seed: of the draw.

    Raises:
        ValueError: the sets are not of one size.
    """
    if len(real) != len(fake):
        raise ValueError(f"{len(real)} and {len(fake)} features: give as many of each")
    one, two = (sorted_projections(features, directions, seed) for features in (real, fake))
    return float(3 * real.shape[1] * (one - two).square().mean())


def sorted_projections(features: Tensor, directions: int = 1000, seed: int = 0) -> Tensor:
    """The features' sorted projections (directions, N) on directions drawn evenly from the unit sphere."""
    draws = stream(seed, "mind").standard_normal((directions, features.shape[1]))
    units = torch.from_numpy(draws / np.linalg.norm(draws, axis=1, keepdims=True)).to(features.device)
    return torch.sort(units @ features.double().T).values


def at_infinity(counts: Sequence[int], values: Sequence[float]) -> float:
    """The value that distances at several N head for: where the line through them over 1 / N meets 0.

    Chong and Forsyth 2020, "Effectively unbiased FID and Inception score and where to find them".
    """
    return float(np.polyfit(1 / np.asarray(counts, float), values, 1)[1])
