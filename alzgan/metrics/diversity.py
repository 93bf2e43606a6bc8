"""How many kinds of images a set holds."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from alzgan.metrics.record import HELD_OUT, FeatureMetric
from alzgan.metrics.sets import Pair


def vendi(features: Tensor) -> float:
    """The effective number of different features among N, from 1 (all alike) to N.

    exp of the entropy of the eigenvalues of K / N with the cosine similarities K (Friedman and Dieng 2023,
    "The Vendi score: a diversity evaluation metric for machine learning"). Grows with N: compare at equal N.

    Args:
        features: (N, F).
    """
    units = F.normalize(features.double(), dim=1)
    # The same eigenvalues, of the smaller of the two products.
    product = units.T @ units if len(units) > units.shape[1] else units @ units.T
    shares = torch.linalg.eigvalsh(product / len(units)).clamp(min=0)
    return float(torch.exp(torch.special.entr(shares).sum()))


def inception_score(probabilities: Tensor) -> float:
    """Exp of the mean divergence of each image's class probabilities from their mean, from 1 to K.

    Salimans et al. 2016, "Improved techniques for training GANs". The classes are those of photographs: on
    brains it says how varied, not how good, the images are.

    Args:
        probabilities: (N, K), rows that add up to 1.
    """
    probabilities = probabilities.double()
    mean = probabilities.mean(0)
    return float(torch.exp((torch.special.entr(mean) - torch.special.entr(probabilities).mean(0)).sum()))


def inception_score_of(pair: Pair) -> float | None:
    """The score of the fake set; None where its extractor knows no classes."""
    probabilities = pair.fake.extractor.probabilities(pair.fake.values)
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
