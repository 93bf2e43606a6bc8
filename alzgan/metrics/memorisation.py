"""Whether samples are copies of training images.

What decides is pixels: a blurred or noisy copy is far from its original in a network's features. A sample
is a copy where it differs from a training image (1 - r) by less than half as much as the nearest image of
unseen people does; it is too near where it is more alike to one than 99 of 100 images of unseen people are.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import beta, mannwhitneyu
from torch import Tensor

from alzgan.device.streams import stream
from alzgan.images.likeness import Nearest, Search
from alzgan.metrics.neighbours import Neighbours, radii_of
from alzgan.metrics.pairs import People
from alzgan.metrics.record import Metric, Question
from alzgan.metrics.resampling import DRAWS, SINGLES, halves, one_of_each, resampled
from alzgan.metrics.sets import Features

SAME = 0.999  # correlation from which on two images are one
QUANTILE = 0.99  # of unseen people's similarities, which makes the threshold


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


def copies(samples: Tensor, train: Tensor, unseen: Tensor, quantile: float = QUANTILE) -> Copies:
    """Compare samples with all training images, and with what unseen people's images get in their place.

    Args:
        samples: uint8 (N, C, H, W).
        train: uint8 (M, C, H, W).
        unseen: images of people who are not in train, uint8 (L, C, H, W).
        quantile: of the unseen images' similarities that makes the threshold.
    """
    search = Search(train)
    return copies_of(search.nearest(samples), search.nearest(unseen), quantile)


def copies_of(nearest: Nearest, unseen: Nearest, quantile: float = QUANTILE) -> Copies:
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


def share_above(found: Copies) -> float:
    """The share of samples that are above the threshold, which 1 in 100 images of unseen people exceeds."""
    return found.above / len(found.nearest.similarity)


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
    """Which fake features (N,) are authentic, from their neighbours among training features (M, F)."""
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


def shares_above(similarity: Tensor, people: np.ndarray | None, count: int, seed: int) -> list[float]:
    """The share of the images of people drawn anew above the threshold that other people drawn anew make.

    The threshold is made by as many people as there are, the share is that of as many images as there are
    samples; both are drawn with replacement.
    """
    makers = resampled(people, len(similarity), seed, "evaluate/threshold")
    per_person = len(similarity) / len(np.unique(people)) if people is not None else 1
    judged = resampled(people, len(similarity), seed, "evaluate/share", max(1, round(count / per_person)))
    return [
        float((similarity[two] > similarity[one].double().quantile(QUANTILE)).double().mean())
        for one, two in zip(makers, judged, strict=True)
    ]


def train_test(
    ours: Tensor, people: np.ndarray | None, theirs: Tensor, their_people: np.ndarray | None, seed: int
) -> float:
    """C_T of samples; a person stands with its median, or with one image where samples have no people.

    A median is drawn from another law than one image.
    """
    if people is not None or their_people is None:
        return train_test_distance(ours, theirs, people, their_people)
    found = [
        train_test_distance(ours, theirs[one_of_each(their_people, seed, draw)]) for draw in range(SINGLES)
    ]
    return float(np.mean(found))


def train_test_of_halves(theirs: Tensor, people: np.ndarray | None, seed: int) -> list[float]:
    """C_T of one half of the unseen people against the other half, on their medians."""
    medians = person_medians(theirs, people)
    return [train_test_distance(*map(torch.from_numpy, both)) for both in halves(medians, seed)]


def control(members: np.ndarray, others: int, seed: int) -> list[float]:
    """The attack's AUC where members stand for the others: what it finds where there is nothing to find."""
    count = min(others, len(members) // 2)
    orders = [stream(seed, "evaluate/control", draw).permutation(len(members)) for draw in range(DRAWS)]
    return [membership_auc(members[order[count:]], members[order[:count]]) for order in orders]


class Nearness(NamedTuple):
    """Samples and unseen people's images beside the training images, in a feature space.

    Attributes:
        samples: their features.
        unseen: those of unseen people.
        train: those of training images.
        ours: the samples' nearest training images.
        theirs: those of unseen people.
        seed: of the draws.
    """

    samples: Features
    unseen: Features
    train: Features
    ours: Neighbours
    theirs: Neighbours
    seed: int


def nearness(samples: Features, unseen: Features, train: Features, seed: int) -> Nearness:
    """How near samples, and unseen people's images, are to training images."""
    ours, theirs = (Neighbours.of(side.values, train.values) for side in (samples, unseen))
    return Nearness(samples, unseen, train, ours, theirs, seed)


def authenticity_beside(found: Nearness) -> tuple[float, list[float]]:
    """The samples' authenticity, and that of unseen people drawn with replacement."""
    train = found.train.values, found.train.people
    ours, theirs = (authentic(side, *train).double() for side in (found.ours, found.theirs))
    draws = resampled(found.unseen.people, len(found.unseen), found.seed)
    return float(ours.mean()), [float(theirs[rows].mean()) for rows in draws]


def train_test_beside(found: Nearness) -> tuple[float, list[float]]:
    """C_T of the samples, and of halves of unseen people."""
    theirs = found.theirs.forward, found.unseen.people, found.seed
    return train_test(found.ours.forward, found.samples.people, *theirs), train_test_of_halves(*theirs)


def membership_beside(found: Nearness) -> tuple[float, list[float]]:
    """The AUC of the attack on members, and of the same attack between members."""
    members = person_medians(found.ours.backward, found.train.people)
    to_samples = Neighbours.of(found.unseen.values, found.samples.values).forward
    others = person_medians(to_samples, found.unseen.people)
    return membership_auc(members, others), control(members, len(others), found.seed)


@dataclass(frozen=True, kw_only=True)
class CopyMetric(Metric):
    """A metric of how near samples are to training images, in a feature space.

    Attributes:
        compute: its value, and its values (D,) for unseen people, from a `Nearness`.
        widen: by how much people drawn anew vary more than these draws.
    """

    stage: str = "copies"
    widen: float = 1.0


BESIDE = (
    f"Of unseen people, the share above the threshold is that of people drawn {DRAWS:,} times with "
    "replacement, as many images as there are samples, above the threshold that other people, drawn with "
    f"replacement, make. Their authenticity is that of people drawn {DRAWS:,} times with replacement. Their "
    f"C_T is that of one random half of the held-out people against the other, {DRAWS:,} times; where "
    f"samples have no people, theirs is a mean over {SINGLES} draws of one image of each held-out person. "
    f"The attack stands beside {DRAWS:,} attacks that have random members in the place of the others"
)
COPIES = Question(name="copies", asks="Are they copies?")
SHARE_ABOVE_THRESHOLD = Metric(
    name="share_above_threshold",
    compute=share_above,
    better="lower",
    stage="copies",
    is_share=True,
    skewed=True,
    decides=COPIES,
    headline="too near to train",
)
AUTHENTICITY = CopyMetric(
    name="authenticity",
    doc=authenticity,
    compute=authenticity_beside,
    is_share=True,
    widen=2**0.5,  # people drawn anew differ from those drawn: the difference of two groups varies more
)
TRAIN_TEST_DISTANCE = CopyMetric(
    name="train_test_distance",
    doc=train_test_distance,
    called="C_T",
    compute=train_test_beside,
    bounds=(-math.inf, math.inf),
)
MEMBERSHIP_AUC = CopyMetric(
    name="membership_auc",
    doc=membership_auc,
    called="membership AUC",
    compute=membership_beside,
    better="lower",
)
