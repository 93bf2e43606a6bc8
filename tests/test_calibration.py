"""Verdicts on samples whose truth is known: good where nothing is wrong, bad where something is."""

import numpy as np
import pytest
import torch
from calibration import World
from sets import known_sets, wrong

from alzgan.device.streams import stream
from alzgan.evaluation.anatomy import Measured, anatomy
from alzgan.evaluation.copies import FoundCopies, copies, on_copies
from alzgan.evaluation.fidelity import Sets, fidelity, sets_of
from alzgan.evaluation.reference import Images, Reference, draw_group
from alzgan.evaluation.spaces import Space
from alzgan.evaluation.verdicts import answered, notes_on_classes, questions_of
from alzgan.images.likeness import Search

pytestmark = pytest.mark.slow

PEOPLE, SLICES, SIDE = 200, 6, 32
Y, X = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]


def heads(person: int) -> np.ndarray:
    """Six slices (6, 32, 32) of a person's head: an ellipse, its own folds, ventricles that grow upwards."""
    rng = stream(0, "calibration", person)
    width, length, ventricle, grey = rng.normal((0.62, 0.74, 0.2, 150), (0.04, 0.03, 0.04, 10))
    folds = rng.normal(size=(8, 3))
    slices = []
    for place in np.linspace(0, 1, SLICES):
        head = np.hypot(X / width, Y / length) < 1
        waves = sum(np.sin(9 * a * X + 9 * b * Y + 6 * c + 9 * place) for a, b, c in folds)
        image = head * (grey + 18 * waves)
        image[np.hypot(X / ventricle, Y / (1.2 * ventricle * (0.7 + place))) < 1] = 30
        slices.append(image + 3 * rng.normal(size=image.shape))
    return np.stack(slices).clip(0, 255)


@pytest.fixture(scope="module")
def everybody() -> Images:
    """Of two classes; the second has the larger ventricles of its kind by chance alone."""
    pixels = np.concatenate([heads(person) for person in range(PEOPLE)]).round().astype(np.uint8)
    people = np.repeat(np.arange(PEOPLE), SLICES)
    return Images(torch.from_numpy(pixels)[:, None], people % 2, people)


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory) -> list[Space]:
    cache = tmp_path_factory.mktemp("cache")
    return [Space(name, cache, torch.device("cpu")) for name in ("random-conv", "pixels")]


def draw(everybody: Images, seed: int) -> tuple[Reference, Images]:
    """Half of the people trained on, a quarter held out, a quarter in the samples' place."""
    order = stream(seed, "calibration/people").permutation(PEOPLE)
    parts = [np.flatnonzero(np.isin(everybody.people, part)) for part in np.split(order, [100, 150])]
    train, held_out, unseen = (everybody.of(rows) for rows in parts)
    return Reference(train, held_out, ["A", "B"]), mixed(unseen)


def mixed(images: Images) -> Images:
    return images.of(stream(0, "calibration/mixed").permutation(len(images)))


class Judge:
    """Judges sets of samples beside the same people."""

    def __init__(self, reference: Reference, spaces: list[Space], seed: int = 0):
        self.reference, self.spaces, self.seed = reference, spaces, seed
        self.measured = Measured()
        self.search = Search(reference.train.pixels)
        self.theirs = self.search.nearest(reference.held_out.pixels)

    def judged(self, samples: Images) -> dict[str, str]:
        """The answer to each question."""
        sets = self.sets(samples)
        numbers = fidelity(sets, self.spaces, self.seed, whole=False)
        numbers += anatomy(sets, self.seed, self.measured).numbers
        verdicts = [answered(question, numbers) for question in questions_of(numbers)]
        verdicts.append(on_copies(self.copied(samples)))
        return {each["question"]: each["answer"] for each in verdicts}

    def copied(self, samples: Images) -> FoundCopies:
        ours, sets = self.search.nearest(samples.pixels), self.sets(samples)
        return copies(ours, self.theirs, samples.people, self.reference, sets, self.spaces[1:], self.seed)

    def sets(self, samples: Images) -> Sets:
        return sets_of(samples, self.reference, 160, 2000, 15, self.seed)


def with_pixels(images: Images, pixels: np.ndarray) -> Images:
    changed = torch.from_numpy(np.asarray(pixels).round().clip(0, 255).astype(np.uint8).copy())
    return Images(changed, images.labels, images.people)


@pytest.mark.parametrize("draws", [2, pytest.param(100, marks=pytest.mark.long)])
def test_unseen_people_are_good(draws: int, everybody: Images, spaces: list[Space]):
    bad = []
    for seed in range(draws):
        reference, unseen = draw(everybody, seed)
        bad += [
            (seed, question)
            for question, answer in Judge(reference, spaces, seed).judged(unseen).items()
            if answer == "bad"
        ]
    for question in ("fidelity", "diversity", "copies", "anatomy"):
        assert len([each for each in bad if each[1] == question]) <= 0.05 * draws, bad


@pytest.mark.long
def test_what_is_said_of_sets_of_known_truth(everybody: Images, spaces: list[Space]):
    reference, unseen = draw(everybody, 0)
    judge = Judge(reference, spaces)
    found = {
        known.name: wrong(known, judge.judged(known.samples))
        for known in known_sets(World(reference, unseen), 150)
    }
    assert len(found) == 21
    assert {name: questions for name, questions in found.items() if questions} == {}


def test_one_image_a_class_is_precise_and_not_varied(everybody: Images, spaces: list[Space]):
    reference, _ = draw(everybody, 0)
    row = draw_group(reference.held_out, 160, 0, "held-out")[0]  # one that it is compared with
    repeated = reference.held_out.of(np.repeat(row, 300))
    samples = Images(repeated.pixels, repeated.labels)
    sets = sets_of(samples, reference, 160, 2000, 15, 0)
    numbers = {(n.metric.name, n.space, n.against): n for n in fidelity(sets, spaces, 0, whole=False)}
    assert numbers["precision", "pixels", "held-out"].value == 1
    assert numbers["recall", "pixels", "held-out"].value < 0.02
    assert Judge(reference, spaces).judged(samples)["diversity"] == "bad"


def test_one_copy_in_a_hundred_is_found(everybody: Images, spaces: list[Space]):
    reference, unseen = draw(everybody, 0)
    judge = Judge(reference, spaces)
    assert on_copies(judge.copied(unseen))["answer"] == "good"
    pixels = unseen.pixels.clone()
    pixels[[3, 77, 140]] = reference.train.pixels[[100, 200, 300]].flip(3)
    found = judge.copied(Images(pixels, unseen.labels, unseen.people))
    assert found.copies.certain_count == 3
    assert set(found.rows[:3].tolist()) == {3, 77, 140}
    assert on_copies(found)["text"].startswith("3 of 300 samples are copies of training images")


def test_people_who_are_missing_from_one_class_are_seen_in_that_class(everybody: Images, spaces: list[Space]):
    reference, _ = draw(everybody, 1)
    train = mixed(reference.train)
    dark = {
        person: float((train.pixels[train.people == person] < 60).float().mean())
        for person in np.unique(train.people)
    }
    of_class = [person for person in dark if person % 2 == 0]
    kept = sorted(of_class, key=dark.get)[:10]  # of 30: the 20 with the largest ventricles are missing
    rows = np.flatnonzero(np.isin(train.people, [*kept, *(person for person in dark if person % 2)]))
    samples, numbers = train.of(rows), []
    for label, name in enumerate(reference.classes):
        sets = sets_of(samples.of_class(label), reference.of_class(label), 180, 1000, 20, 0)
        numbers += fidelity(sets, spaces, 0, name, whole=False) + anatomy(sets, 0, Measured(), name).numbers
    notes = notes_on_classes(numbers)
    assert [note.split(":")[0] for note in notes] == ["class A"]
