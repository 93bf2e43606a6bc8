"""Whether generated images are copies of training images.

Pixels decide, because a blurred or noisy copy is far from its original in the features of a network. The
difference between two aligned images is 1 - r, where r is the correlation of their detail. A generated image
is a copy if its difference from a training image is less than half of the smallest one that an image of
unseen people has. It is too near if it is more alike to a training image than 99 of 100 images of unseen
people are.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.stats import beta, mannwhitneyu
from torch import Tensor

from alzgan.images.likeness import Nearest, Search
from alzgan.metrics.neighbours import Neighbours, radii_of
from alzgan.metrics.record import Metric, Question
from alzgan.metrics.resampling import COPY_DRAWS, SINGLES, halves, one_of_each, permutations, resampled
from alzgan.metrics.sets import Features, People

SAME = 0.999  # from this correlation on, two images are the same
QUANTILE = 0.99  # the threshold is this quantile of the similarities of unseen people's images
MOST = f"{100 * QUANTILE:.0f} of 100"  # of these images are less similar, in words
CONFIDENCE = 0.95  # of the upper limit of the share of copies


class Copies(NamedTuple):
    """The copies among samples.

    Attributes:
        nearest: the nearest training image of each sample.
        threshold: the correlation that 1 in 100 images of unseen people exceeds.
        certain: the correlation above which a sample is a copy. Its difference 1 - r is half of the smallest
            one of unseen people's images.
        above: the number of samples above the threshold.
        certain_count: the number of copies.
        upper: the upper limit of the share of copies, with 95 % confidence.
    """

    nearest: Nearest
    threshold: float
    certain: float
    above: int
    certain_count: int
    upper: float


def copies(samples: Tensor, train: Tensor, unseen: Tensor, quantile: float = QUANTILE) -> Copies:
    """Compare samples and images of unseen people with all training images.

    Args:
        samples: uint8 (N, C, H, W).
        train: uint8 (M, C, H, W).
        unseen: images of people who are not in train, uint8 (L, C, H, W).
        quantile: the threshold is this quantile of the similarities of the unseen images.
    """
    search = Search(train)
    return copies_of(search.nearest(samples), search.nearest(unseen), quantile)


def copies_of(nearest: Nearest, unseen: Nearest, quantile: float = QUANTILE) -> Copies:
    """`copies` from the nearest training images of the samples and of the unseen images."""
    threshold = float(unseen.similarity.double().quantile(quantile))
    # Without the bound, a copy among the unseen images would hide all copies among the samples.
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
    """The share of generated images above the threshold, which 1 in 100 images of unseen people exceeds."""
    return found.above / len(found.nearest.similarity)


def share_at_most(count: int, total: int) -> float:
    """The largest true share that `count` of `total` allows: the exact one-sided bound, 0 to 1.

    Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the
    binomial": 0 of 2,000 allows 0.15 %.
    """
    return 1.0 if count == total else float(beta.ppf(CONFIDENCE, count + 1, total - count))


def authenticity(train: Tensor, fake: Tensor, train_people: People | None = None) -> float:
    """The share of generated images that are farther from the training images than these are from each other.

    The distance of a generated image to its nearest training image is compared with the distance of that
    training image to the nearest one of another person (Alaa et al. 2022, "How faithful is your synthetic
    data? Sample-level metrics for evaluating and auditing generative models"). Unseen people never get 1, and
    their share depends on the number of dimensions, so the value has a meaning only beside theirs.

    Args:
        train: features (M, F).
        fake: features (N, F).
        train_people: the person in each image (M,); None if each image counts as another person.
    """
    return float(authentic(Neighbours.of(fake, train), train, train_people).double().mean())


def authentic(between: Neighbours, train: Tensor, train_people: People | None = None) -> Tensor:
    """Whether each fake feature (N,) is authentic.

    Args:
        between: the neighbours of fake features among training features.
        train: the training features (M, F).
        train_people: the person in each image (M,); None if each image counts as another person.
    """
    rows, places = between.index.unique(return_inverse=True)
    return between.forward > radii_of(rows, train, train_people)[places]


def train_test_distance(
    fake: Tensor, test: Tensor, fake_people: People | None = None, test_people: People | None = None
) -> float:
    """C_T is below 0 if generated images lie nearer to the training images than unseen people's images do.

    It is the Z value of the Mann-Whitney test between their distances to the nearest training image (Meehan
    et al. 2020, "A non-parametric test to detect data-copying in generative models"). A person counts once,
    by the median of the distances of its images. If each slice counted, a third of all Z values without
    copies would lie beyond 1.96.

    Args:
        fake: distances (N,) of fake images to their nearest training image.
        test: distances (M,) of unseen images to theirs.
        fake_people: the person in each image (N,); None if each image counts as another person.
        test_people: the person in each unseen image (M,), or None likewise.
    """
    return float(z_value(person_medians(fake, fake_people), person_medians(test, test_people)))


def z_value(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """The Z value (...) of the Mann-Whitney test between (..., N) and (..., M) values."""
    n, m = one.shape[-1], two.shape[-1]
    return (pairs_above(one, two) - n * m / 2) / (n * m * (n + m + 1) / 12) ** 0.5


def pairs_above(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """The number (...) of pairs in which the value of (..., N) is above that of (..., M); ties count half."""
    return mannwhitneyu(one, two, axis=-1, method="asymptotic").statistic


def membership_auc(members: np.ndarray, others: np.ndarray) -> float:
    """How well the distance to generated images reveals who was trained on, from 0 to 1; 0.5 is by chance.

    It is the area under the ROC curve of an attack that ranks people by their distance to the nearest
    generated image, and takes the nearest people for members of the training set.

    Args:
        members: distances (N,) of training people, for example medians over their images.
        others: distances (M,) of other people.
    """
    return float(pairs_above(others, members)) / (len(members) * len(others))


def person_medians(values: Tensor, people: People | None) -> np.ndarray:
    """The median (P,) of each person's values (N,), in the order of the people's names."""
    found = values.double().cpu().numpy()
    if people is None:
        return found
    _, who = np.unique(np.asarray(people), return_inverse=True)
    order = np.argsort(who, kind="stable")
    groups = np.split(found[order], np.flatnonzero(np.diff(who[order])) + 1)
    return np.array([np.median(group) for group in groups])


def shares_above(similarity: Tensor, people: np.ndarray | None, count: int, seed: int) -> list[float]:
    """The share of unseen people's images above the threshold in each draw of people with replacement.

    Each draw has two sets of people. As many people as there are set the threshold. People with about `count`
    images, the number of samples, are compared with it.
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
    """C_T of samples from the medians of people, or from single images if the people in samples are unknown.

    Single images of samples are compared with single images of unseen people, because medians have another
    distribution.
    """
    if people is not None or their_people is None:
        return train_test_distance(ours, theirs, people, their_people)
    found = [
        train_test_distance(ours, theirs[one_of_each(their_people, seed, draw)]) for draw in range(SINGLES)
    ]
    return float(np.mean(found))


def train_test_of_halves(theirs: Tensor, people: np.ndarray | None, seed: int) -> np.ndarray:
    """C_T (D,) of random halves of the unseen people against the other half, from their medians."""
    return z_value(*halves(person_medians(theirs, people), seed))


def control(members: np.ndarray, others: int, seed: int) -> np.ndarray:
    """The AUC (D,) of attacks in which random members replace the others, so that nothing can be revealed."""
    count = min(others, len(members) // 2)
    drawn = members[permutations(len(members), seed, "evaluate/control")]
    return pairs_above(drawn[:, :count], drawn[:, count:]) / (count * (len(members) - count))


@dataclass(frozen=True)
class Nearness:
    """Features of samples, unseen people and training images; `seed` is that of the draws of people."""

    samples: Features
    unseen: Features
    train: Features
    seed: int

    @cached_property
    def ours(self) -> Neighbours:
        """The neighbours between samples and training images."""
        return Neighbours.of(self.samples.values, self.train.values)

    @cached_property
    def theirs(self) -> Neighbours:
        """The neighbours between unseen people's images and training images."""
        return Neighbours.of(self.unseen.values, self.train.values)


def authenticity_beside(found: Nearness) -> tuple[float, np.ndarray]:
    """The authenticity of the samples, and that (D,) of unseen people drawn with replacement."""
    train = found.train.values, found.train.people
    ours, theirs = (authentic(side, *train).double() for side in (found.ours, found.theirs))
    draws = resampled(found.unseen.people, len(found.unseen), found.seed)
    return float(ours.mean()), np.array([float(theirs[rows].mean()) for rows in draws])


def train_test_beside(found: Nearness) -> tuple[float, np.ndarray]:
    """C_T of the samples, and that (D,) of halves of the unseen people."""
    theirs = found.theirs.forward, found.unseen.people, found.seed
    return train_test(found.ours.forward, found.samples.people, *theirs), train_test_of_halves(*theirs)


def membership_beside(found: Nearness) -> tuple[float, np.ndarray]:
    """The AUC of the attack with the samples, and those (D,) of attacks that cannot reveal anything."""
    members = person_medians(found.ours.backward, found.train.people)
    to_samples = Neighbours.of(found.unseen.values, found.samples.values).forward
    others = person_medians(to_samples, found.unseen.people)
    return membership_auc(members, others), control(members, len(others), found.seed)


@dataclass(frozen=True, kw_only=True)
class CopyMetric(Metric):
    """A metric of the distance from samples to training images in a feature space.

    Attributes:
        compute: the function of a `Nearness` that computes the value and the values (D,) of unseen people.
        widen: the deviation for new people over that of these draws.
    """

    stage: str = "copies"
    widen: float = 1.0


BESIDE = (
    f"For the share above the threshold, unseen people are drawn {COPY_DRAWS:,} times with replacement, with "
    "as many images as there are samples. In each draw, other people, also drawn with replacement, set the "
    f"threshold. For authenticity, unseen people are drawn {COPY_DRAWS:,} times with replacement. For C_T, "
    f"one random half of the held-out people is compared with the other half, {COPY_DRAWS:,} times. If the "
    f"people in the samples are unknown, their C_T is a mean over {SINGLES} draws of one image of each "
    f"held-out person. The attack stands beside {COPY_DRAWS:,} attacks in which random members replace the "
    "people not trained on"
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
    widen=2**0.5,  # a new group and the drawn ones differ by the variance of both
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
