"""The arms of the utility study: the images that each classifier is trained and tested on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.metrics.sets import People
from alzgan.metrics.votes import person_labels
from alzgan.text import counted, printable

REAL = "real"
AUGMENTED = "real + augmentation"
RATIOS = {f"real + synthetic {ratio:g}": ratio for ratio in (0.5, 1, 2)}  # synthetic images for each real one
ALONE = "synthetic alone"
AGAIN = "real again"  # with other seeds, which must make no difference
HALF = "real, half of the people"  # shows the effect of the number of real people
SHUFFLED = "shuffled labels"
LEAKY = "split by image"
TESTED = (AUGMENTED, *RATIOS, ALONE)
ARMS = (REAL, *TESTED, AGAIN, HALF, SHUFFLED, LEAKY)
LEAST_PEOPLE = 2  # held-out people of each class


class Labelled(NamedTuple):
    """Images with their classes and people.

    Attributes:
        images: uint8 (N, C, H, W).
        labels: indices of classes (N,); None if unknown.
        people: the person in each image (N,); None if each image counts as another person.
    """

    images: Tensor
    labels: Tensor | np.ndarray | None
    people: People | None = None


class Known(NamedTuple):
    """Images of known classes and people, each an array (N,)."""

    images: Tensor
    labels: np.ndarray
    people: np.ndarray


class Arm(NamedTuple):
    """The images of one classifier.

    Attributes:
        rows: the training images of each of the K classes, as rows of the concatenated real, synthetic and
            held-out images.
        tested: the test images, as rows of the held-out images. Each person has at least one.
        augmented: whether the training images are augmented.
        repeat: index of the training with the same seed. Each index has other weights and batches.
    """

    rows: list[np.ndarray]
    tested: np.ndarray
    augmented: bool = False
    repeat: int = 0


class Sets(NamedTuple):
    """Real, synthetic and held-out images of the K classes that can be judged."""

    real: Known
    synthetic: Known
    held_out: Known
    classes: list[str]


def judged_sets(real: Labelled, synthetic: Labelled, held_out: Labelled, classes: Sequence[str]) -> Sets:
    """The images of all classes with at least two held-out people. Labels are renumbered from 0.

    Raises:
        UserError: labels are missing; fewer than two classes are left; one of them has no real or no
            synthetic image; a held-out person is also among the real ones.
    """
    given = {"real": real, "synthetic": synthetic._replace(people=None), "held-out": held_out}
    sets = {}
    for name, (images, labels, people) in given.items():
        if labels is None:
            raise UserError(f"utility: the {name} images have no labels: give each its class")
        who = np.arange(len(images)) if people is None else np.asarray(people)
        sets[name] = Known(images, np.asarray(labels), who)
    kept = judged_classes(sets["held-out"], classes)
    names = [classes[label] for label in kept]
    for name, (images, labels, people) in sets.items():
        rows = np.flatnonzero(np.isin(labels, kept))
        each = sets[name] = Known(images[rows], np.searchsorted(kept, labels[rows]), people[rows])
        owners = person_labels(each.labels, each.people, len(kept))
        if missing := set(range(len(kept))).difference(owners.tolist()):
            label = printable(names[min(missing)])
            raise UserError(
                f"utility: the {name} images show nobody of class {label}: add some, or leave it out"
            )
    check_apart(real.people, held_out.people)
    return Sets(sets["real"], sets["synthetic"], sets["held-out"], names)


def judged_classes(held_out: Known, classes: Sequence[str]) -> np.ndarray:
    """The classes with enough held-out people.

    Raises:
        UserError: there are fewer than two such classes.
    """
    owners = person_labels(held_out.labels, held_out.people, len(classes))
    counts = np.bincount(owners, minlength=len(classes))
    kept = np.flatnonzero(counts >= LEAST_PEOPLE)
    if len(kept) < 2:
        found = ", ".join(f"{printable(name)} {count}" for name, count in zip(classes, counts, strict=True))
        raise UserError(
            f"utility: two classes must have {LEAST_PEOPLE} held-out people each (there are: {found}): "
            "hold out more people"
        )
    return kept


def check_apart(real: People | None, held_out: People | None) -> None:
    """Check that no held-out person is also among the real ones.

    Raises:
        UserError: a person is in both.
    """
    if real is None or held_out is None:
        return
    if shared := set(np.asarray(real).tolist()) & set(np.asarray(held_out).tolist()):
        who = f"{counted(len(shared), 'person', 'people')}, among them {printable(str(min(shared)))}"
        raise UserError(
            f"utility: {who}, both trained on and held out: split by person, and give each one name"
        )


def arms_of(sets: Sets, seed: int) -> dict[str, Arm]:
    """All arms for one seed, which decides the synthetic and leaked images and the shuffled labels."""
    real, synthetic, held_out, classes = sets
    first, last = len(real.labels), len(real.labels) + len(synthetic.labels)
    own = by_class(real.labels, len(classes))
    noise = stream(seed, "utility/synthetic")
    made = [first + noise.permutation(rows) for rows in by_class(synthetic.labels, len(classes))]
    shuffled = by_class(shuffled_labels(real, len(classes), seed), len(classes))
    everything, leaked = np.arange(len(held_out.labels)), leaked_rows(held_out.people, seed)
    seen = [leaked[held_out.labels[leaked] == label] for label in range(len(classes))]
    return {
        REAL: Arm(own, everything),
        AUGMENTED: Arm(own, everything, augmented=True),
        **{name: Arm(pooled(own, made, ratio), everything) for name, ratio in RATIOS.items()},
        ALONE: Arm(made, everything),
        AGAIN: Arm(own, everything, repeat=1),
        HALF: Arm(of_half_the_people(real, own, seed), everything),
        SHUFFLED: Arm(shuffled, everything),
        LEAKY: Arm(joined(own, [last + rows for rows in seen]), np.setdiff1d(everything, leaked)),
    }


def by_class(labels: np.ndarray, classes: int) -> list[np.ndarray]:
    """The rows of each class."""
    return [np.flatnonzero(labels == label) for label in range(classes)]


def joined(one: list[np.ndarray], two: list[np.ndarray]) -> list[np.ndarray]:
    """The rows of each class from two lists, concatenated."""
    return [np.concatenate(rows) for rows in zip(one, two, strict=True)]


def pooled(real: list[np.ndarray], synthetic: list[np.ndarray], ratio: float) -> list[np.ndarray]:
    """The rows of each class: the real ones, and `ratio` times as many synthetic ones, repeated if needed."""
    return joined(
        real,
        [np.resize(new, round(ratio * len(old))) for old, new in zip(real, synthetic, strict=True)],
    )


def shuffled_labels(real: Known, classes: int, seed: int) -> np.ndarray:
    """Labels (N,) that are shuffled between people; all images of a person get the same label.

    The people of each class get each label as often as it occurs among all people. A free shuffle would by
    chance correlate a little with the true labels, and a classifier learns that if the classes differ
    clearly.
    """
    owners = person_labels(real.labels, real.people, classes)
    noise, counts = stream(seed, "utility/labels"), np.bincount(owners, minlength=classes)
    places = np.concatenate([(np.arange(count) + noise.random()) / count for count in counts])
    interleaved = np.repeat(np.arange(classes), counts)[np.argsort(places)]
    dealt = np.empty_like(owners)
    dealt[np.lexsort((noise.random(len(owners)), owners))] = interleaved
    return dealt[np.unique(real.people, return_inverse=True)[1]]


def of_half_the_people(real: Known, own: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """The rows of a random half of the people of each class, rounded up."""
    noise, kept = stream(seed, "utility/half"), []
    for rows in own:
        names = noise.permutation(np.unique(real.people[rows]))
        kept.append(rows[np.isin(real.people[rows], names[: -(-len(names) // 2)])])
    return kept


def leaked_rows(people: np.ndarray, seed: int) -> np.ndarray:
    """The rows of a random half of each person's images, rounded down."""
    noise = stream(seed, "utility/leak")
    drawn = [noise.permutation(np.flatnonzero(people == name)) for name in np.unique(people)]
    return np.concatenate([rows[: len(rows) // 2] for rows in drawn])
