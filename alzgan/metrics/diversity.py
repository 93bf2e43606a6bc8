"""The diversity of a set of images."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from alzgan.metrics.record import HELD_OUT, FeatureMetric
from alzgan.metrics.sets import Pair


def vendi(features: Tensor) -> float:
    """The effective number of different images, from 1 for equal images to the number of images N.

    It is the exponential of the entropy of the eigenvalues of K / N, where K holds the cosine similarities
    between the images' features (Friedman and Dieng 2023, "The Vendi score: a diversity evaluation metric for
    machine learning"). It grows with N: compare sets of equal size only.

    Args:
        features: features of images (N, F).
    """
    units = F.normalize(features.double(), dim=1)
    # Both products have the same eigenvalues; this is the smaller one.
    product = units.T @ units if len(units) > units.shape[1] else units @ units.T
    shares = torch.linalg.eigvalsh(product / len(units)).clamp(min=0)
    return float(torch.exp(torch.special.entr(shares).sum()))


def inception_score(probabilities: Tensor) -> float:
    """The variety of the classes that a network for photographs sees in the images, at least 1.

    It is the exponential of the mean divergence of each image's class probabilities from their mean (Salimans
    et al. 2016, "Improved techniques for training GANs"). It is at most the number of classes. These are
    classes of photographs, so on brain images the score measures variety, not quality.

    Args:
        probabilities: class probabilities (N, K); each row adds up to 1.
    """
    probabilities = probabilities.double()
    mean = probabilities.mean(0)
    return float(torch.exp((torch.special.entr(mean) - torch.special.entr(probabilities).mean(0)).sum()))


def inception_score_of(pair: Pair) -> float | None:
    """The Inception Score of the fake set; None if its extractor has no classes."""
    extractor = pair.fake.extractor
    probabilities = None if extractor is None else extractor.probabilities(pair.fake.values)
    return None if probabilities is None else inception_score(probabilities)


VENDI = FeatureMetric(
    name="vendi",
    doc=vendi,
    called="Vendi score",
    compute=lambda pair: vendi(pair.fake.values),
    bounds=(1, math.inf),
    against=(HELD_OUT,),
    slow=True,
)
INCEPTION_SCORE = FeatureMetric(
    name="inception_score",
    doc=inception_score,
    compute=inception_score_of,
    bounds=(1, math.inf),
    against=(HELD_OUT,),
    slow=True,
)
