"""What each classifier of a comparison is trained on, and what it is tested on."""

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
RATIOS = {f"real + synthetic {ratio:g}": ratio for ratio in (0.5, 1, 2)}  # synthetic images a real one
ALONE = "synthetic alone"
AGAIN = "real again"  # by other seeds: no difference is to be found
HALF = "real, half of the people"  # what as many slices of other real people are worth
SHUFFLED = "shuffled labels"
LEAKY = "split by image"
TESTED = (AUGMENTED, *RATIOS, ALONE)
ARMS = (REAL, *TESTED, AGAIN, HALF, SHUFFLED, LEAKY)
NEEDED_PEOPLE = 2  # of a class, held out


class Labelled(NamedTuple):
    """Images with their classes and people.

    Attributes:
        images: uint8 (N, C, H, W).
        labels: (N,) indices of classes; None if they are unknown.
        people: (N,) or None if each image counts as another person.
    """

    images: Tensor
    labels: Tensor | np.ndarray | None
    people: People | None = None


class Known(NamedTuple):
    """Images with an array of their classes and one of their people."""

    images: Tensor
    labels: np.ndarray
    people: np.ndarray


class Arm(NamedTuple):
    """The images of one classifier.

    Attributes:
        rows: for each of the K classes, the training images: rows of the real, synthetic and held-out sets,
            one set behind the other.
        tested: rows of the held-out images, with some of each person.
        augmented: whether the training images are augmented.
        repeat: number of the training by the same seed; each has other weights and batches.
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
    """The images of the classes with two held-out people or more, whose labels become 0, 1, ...

    Raises:
        UserError: labels are missing; fewer than two classes are left; one of those has no real person or
            no synthetic image; a held-out person is among the real ones.
    """
    given = {"real": real, "synthetic": synthetic._replace(people=None), "held-out": held_out}
    sets = {name: known(each, name) for name, each in given.items()}
    kept = judged_classes(sets["held-out"], classes)
    names = [classes[label] for label in kept]
    sets = {name: restricted(each, kept) for name, each in sets.items()}
    for name, each in sets.items():
        owners = person_labels(each.labels, each.people, len(kept))
        if missing := set(range(len(kept))).difference(owners.tolist()):
            label = printable(names[min(missing)])
            raise UserError(
                f"utility: the {name} images show nobody of class {label}: add some, or leave it out"
            )
    check_apart(real.people, held_out.people)
    return Sets(sets["real"], sets["synthetic"], sets["held-out"], names)


def known(labelled: Labelled, name: str) -> Known:
    """The images with arrays of labels and people.

    Raises:
        UserError: the images of this name have no labels.
    """
    images, labels, people = labelled
    if labels is None:
        raise UserError(f"utility: the {name} images have no labels: give each its class")
    who = np.arange(len(images)) if people is None else np.asarray(people)
    return Known(images, np.asarray(labels), who)


def judged_classes(held_out: Known, classes: Sequence[str]) -> np.ndarray:
    """The classes that have enough people.

    Raises:
        UserError: there are fewer than two.
    """
    owners = person_labels(held_out.labels, held_out.people, len(classes))
    counts = np.bincount(owners, minlength=len(classes))
    kept = np.flatnonzero(counts >= NEEDED_PEOPLE)
    if len(kept) < 2:
        found = ", ".join(f"{printable(name)} {count}" for name, count in zip(classes, counts, strict=True))
        raise UserError(
            f"utility: two classes must have {NEEDED_PEOPLE} held-out people each (there are: {found}): "
            "hold out more people"
        )
    return kept


def restricted(labelled: Known, kept: np.ndarray) -> Known:
    """The images of some classes, which become 0, 1, ..."""
    rows = np.flatnonzero(np.isin(labelled.labels, kept))
    images, labels, people = labelled
    return Known(images[rows], np.searchsorted(kept, labels[rows]), people[rows])


def check_apart(real: People | None, held_out: People | None) -> None:
    """Check that nobody is on both sides.

    Raises:
        UserError: a person is.
    """
    if real is None or held_out is None:
        return
    if shared := set(np.asarray(real).tolist()) & set(np.asarray(held_out).tolist()):
        who = f"{counted(len(shared), 'person', 'people')}, among them {printable(str(min(shared)))}"
        raise UserError(f"utility: {who}, both trained on and held out: split by person, one name for each")


def arms_of(sets: Sets, seed: int) -> dict[str, Arm]:
    """All arms of one training, with random synthetic images, shuffled labels and leaked images."""
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
    """Both sides' rows of each class."""
    return [np.concatenate(rows) for rows in zip(one, two, strict=True)]


def pooled(real: list[np.ndarray], synthetic: list[np.ndarray], ratio: float) -> list[np.ndarray]:
    """`ratio` synthetic rows for each real one, in each class; they repeat if there are too few."""
    return joined(
        real,
        [np.resize(new, round(ratio * len(old))) for old, new in zip(real, synthetic, strict=True)],
    )


def shuffled_labels(real: Known, classes: int, seed: int) -> np.ndarray:
    """The labels (N,) after shuffling them between people; all images of a person get one label.

    The people of each class get all labels as often as they occur among all people. A free shuffle would
    agree with the truth, or contradict it, a little by chance; where classes differ clearly, that is learned.
    """
    owners = person_labels(real.labels, real.people, classes)
    noise, counts = stream(seed, "utility/labels"), np.bincount(owners, minlength=classes)
    places = np.concatenate([(np.arange(count) + noise.random()) / count for count in counts])
    interleaved = np.repeat(np.arange(classes), counts)[np.argsort(places)]
    dealt = np.empty_like(owners)
    dealt[np.lexsort((noise.random(len(owners)), owners))] = interleaved
    return dealt[np.unique(real.people, return_inverse=True)[1]]


def of_half_the_people(real: Known, own: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """The rows of half of each class's people, rounded up, drawn at random."""
    noise, kept = stream(seed, "utility/half"), []
    for rows in own:
        names = noise.permutation(np.unique(real.people[rows]))
        kept.append(rows[np.isin(real.people[rows], names[: -(-len(names) // 2)])])
    return kept


def leaked_rows(people: np.ndarray, seed: int) -> np.ndarray:
    """Half of each person's images, rounded down, drawn at random."""
    noise = stream(seed, "utility/leak")
    drawn = [noise.permutation(np.flatnonzero(people == name)) for name in np.unique(people)]
    return np.concatenate([rows[: len(rows) // 2] for rows in drawn])
