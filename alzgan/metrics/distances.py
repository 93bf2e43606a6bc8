"""Distances between two sets of features (N, F)."""

from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Mean (F,) and covariance (F, F) of features, in float64."""

    mean: Tensor
    covariance: Tensor


def moments(features: Tensor, weights: Tensor | None = None) -> Moments:
    """Mean and unbiased covariance of features (N, F), each row with its weight (N,)."""
    features = features.double()
    share = torch.ones(len(features), dtype=torch.double) if weights is None else weights.double()
    share = share / share.sum()
    mean = share @ features
    centred = features - mean
    return Moments(mean, (share * centred.T) @ centred / (1 - share.square().sum()))


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
    values, vectors = torch.linalg.eigh(one.covariance)
    root = vectors * values.clamp(min=0).sqrt()
    mixed = torch.linalg.eigvalsh(root.T @ two.covariance @ root).clamp(min=0).sqrt().sum()
    trace = one.covariance.trace() + two.covariance.trace() - 2 * mixed
    return float((one.mean - two.mean).square().sum() + trace)
