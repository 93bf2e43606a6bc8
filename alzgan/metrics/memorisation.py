"""Whether samples are copies of training images.

What decides is pixels: a blurred or noisy copy is far from its original in a network's features. A sample
is a copy where `alzgan.images.likeness` finds it more alike to a training image than unseen people's are.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import beta, mannwhitneyu
from torch import Tensor

from alzgan.images.likeness import Nearest, Search
from alzgan.metrics.neighbours import Neighbours, radii_of
from alzgan.metrics.pairs import People

SAME = 0.999  # correlation from which on two images are one


class Copies(NamedTuple):
    """What copies there are among samples.

    Attributes:
        nearest: of each sample.
        threshold: the correlation that 1 in 100 images of unseen people exceeds.
        certain: the correlation beyond which a sample differs from a training image (1 - r) half as much as
            the nearest image of unseen people does.
        above: number of samples above the threshold.
        certain_count: number of samples beyond `certain`.
        upper: what the share of samples beyond `certain` is at most, with 95 % confidence.
    """

    nearest: Nearest
    threshold: float
    certain: float
    above: int
    certain_count: int
    upper: float


def copies(samples: Tensor, train: Tensor, unseen: Tensor, quantile: float = 0.99) -> Copies:
    """Compare samples with all training images, and with what unseen people's images get in their place.

    Args:
        samples: uint8 (N, C, H, W).
        train: uint8 (M, C, H, W).
        unseen: images of people who are not in train, uint8 (L, C, H, W).
        quantile: of the unseen images' similarities that makes the threshold.
    """
    search = Search(train)
    return copies_of(search.nearest(samples), search.nearest(unseen), quantile)


def copies_of(nearest: Nearest, unseen: Nearest, quantile: float = 0.99) -> Copies:
    """The same from similarities that are known."""
    threshold = float(unseen.similarity.double().quantile(quantile))
    # An unseen image that is itself a copy must not hide all others.
    certain = (1 + min(float(unseen.similarity.max()), SAME)) / 2
    count = int((nearest.similarity > certain).sum())
    return Copies(
        nearest=nearest,
        threshold=threshold,
        certain=certain,
        above=int((nearest.similarity > threshold).sum()),
        certain_count=count,
        upper=share_at_most(count, len(nearest.similarity)),
    )


def share_at_most(count: int, total: int, confidence: float = 0.95) -> float:
    """The largest share that `count` of `total` still allows: the exact one-sided bound, 0 to 1.

    Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the
    binomial": 0 of 2,000 allows 0.15 %.
    """
    return 1.0 if count == total else float(beta.ppf(confidence, count + 1, total - count))


def authenticity(train: Tensor, fake: Tensor, train_people: People | None = None) -> float:
    """The share of fake features that are farther from their nearest training one than that is from others.

    Alaa et al. 2022, "How faithful is your synthetic data? Sample-level metrics for evaluating and auditing
    generative models". What unseen people get depends on the number of dimensions, and is never 1: read it
    beside theirs.

    Args:
        train: features (M, F).
        fake: features (N, F).
        train_people: (M,) who is in each; the others are then other people's.
    """
    return float(authentic(Neighbours.of(fake, train), train, train_people).double().mean())


def authentic(between: Neighbours, train: Tensor, train_people: People | None = None) -> Tensor:
    """Which fake features (N,) are authentic.

    Args:
        between: the fake and the training features.
        train: features (M, F).
        train_people: (M,) who is in each.
    """
    rows, places = between.index.unique(return_inverse=True)
    return between.forward > radii_of(rows, train, train_people)[places]


def train_test_distance(
    fake: Tensor, test: Tensor, fake_people: People | None = None, test_people: People | None = None
) -> float:
    """The statistic C_T: below 0 where fake images lie nearer to the training images than unseen ones do.

    The Z value of the Mann-Whitney test between their distances (Meehan et al. 2020, "A non-parametric test
    to detect data-copying in generative models"), on each person's median: counted by image, one person's
    slices would count as so many people, and a third of all innocent Z lie beyond 1.96.

    Args:
        fake: distances (N,) of fake images to their nearest training image.
        test: distances (M,) of unseen images to theirs.
        fake_people: (N,) None where each image is somebody of its own.
        test_people: (M,) the same of the unseen images.
    """
    one, two = person_medians(fake, fake_people), person_medians(test, test_people)
    n, m = len(one), len(two)
    above = float(mannwhitneyu(one, two).statistic)
    return (above - n * m / 2) / (n * m * (n + m + 1) / 12) ** 0.5


def membership_auc(members: np.ndarray, others: np.ndarray) -> float:
    """How well nearness to the samples tells who was trained on, from 0 to 1; 0.5 is not at all.

    The area under the ROC curve of an attack that takes people for members the nearer they are to a sample.
    Worth as much as its control says: members against other members.

    Args:
        members: distances (N,) of people who were trained on, medians over their images say.
        others: distances (M,) of people who were not.
    """
    return float(mannwhitneyu(others, members).statistic) / (len(members) * len(others))


def person_medians(values: Tensor, people: People | None) -> np.ndarray:
    """The median (P,) of each person's values (N,), in the order of the people's names."""
    values = values.double().cpu().numpy()
    if people is None:
        return values
    _, who = np.unique(np.asarray(people), return_inverse=True)
    order = np.argsort(who, kind="stable")
    groups = np.split(values[order], np.flatnonzero(np.diff(who[order])) + 1)
    return np.array([np.median(group) for group in groups])
