"""Fidelity and diversity of simulated people: perfect sets pass however they come, faults are noticed."""

from collections import Counter

import numpy as np
import pytest
from clusters import FAULTS, FORMS, false_alarms, judged, world

from alzgan.evaluation.fidelity import INDEPENDENT, fidelity, sets_of
from alzgan.evaluation.power import kinds_in_order, noise_like, noticed

GENERATOR = FORMS["independent images of a generator"]
UNNAMED = FORMS["stacks without names"]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("draws", [2, pytest.param(40, marks=pytest.mark.long)])
def test_perfect_sets_are_not_called_bad_however_they_come(name: str, draws: int):
    found = false_alarms(FORMS[name], range(draws), size=128)
    assert max(found["bad"].values(), default=0) <= 0.05 * draws
    if "stacks" in name and draws > 2:
        assert max(found["off the band"].values()) <= 0.15 * draws  # 5 % are, but for chance


def recall_of(form: str, seed: int) -> bool:
    """Whether stacks of perfect people without names have a recall within the limit."""
    drawn = world(UNNAMED, "nothing", seed, 256)
    sets = sets_of(drawn.samples, drawn.reference, 256, 2500, 20, seed, form)
    numbers = fidelity(sets, [drawn.space], seed, whole=False)
    return next(n.within for n in numbers if (n.metric.name, n.against) == ("recall", "held-out"))


@pytest.mark.slow
def test_stacks_without_names_are_no_independent_images():
    assert all(recall_of(UNNAMED.form, seed) for seed in range(3))
    # Their slices are near neighbours of each other, so that their radii reach nobody.
    assert not any(recall_of(INDEPENDENT, seed) for seed in range(3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "question", "answer"),
    [
        ("half of the spread between people", "diversity", "bad"),
        ("a shift of 0.6 deviations", "fidelity", "bad"),
        ("half noise", "fidelity", "bad"),
        ("half noise", "diversity", "cannot tell"),
    ],
)
def test_what_is_clearly_wrong_is_noticed(fault: str, question: str, answer: str):
    found = [judged(world(GENERATOR, fault, seed, 256), GENERATOR, seed, 256)[1] for seed in range(3)]
    assert Counter(each[question] for each in found) == {answer: 3}


@pytest.mark.slow
def test_what_could_have_been_noticed_grows_with_the_fault_and_with_people():
    def faults(trained_on: int, held_out: int) -> dict[str, int]:
        drawn = world(GENERATOR, "nothing", 0, 512, trained_on, held_out)
        sets = sets_of(drawn.samples, drawn.reference, 512, 2500, 20, 0, INDEPENDENT)
        numbers = fidelity(sets, [drawn.space], 0, whole=False)
        return {each["words"]: each["noticed"] for each in noticed(sets, [drawn.space], numbers, 0)}

    many, few = faults(120, 80), faults(40, 20)
    assert many["5 % noise"] < many["15 % noise"] > 10 > few["15 % noise"]
    quarter, half = (f"{part} of the kinds of people missing" for part in ("a quarter", "half"))
    assert many[quarter] < many[half] == 20


def test_planted_noise_is_nobodys_and_kinds_are_those_that_differ_most():
    drawn = world(GENERATOR, "nothing", 0, 64)
    ((features,),) = drawn.space.together(drawn.reference.train)
    noise = noise_like(features.values, 500, seed=0)
    assert np.allclose(noise.std(0) / features.values.std(0), 3, atol=0.5)
    order = kinds_in_order(features, drawn.reference.train.people)
    means = {name: features.values[drawn.reference.train.people == name].mean(0) for name in order}
    along = np.array([means[name][0] for name in order])  # the first dimension varies most
    assert abs(np.corrcoef(along, np.arange(len(order)))[0, 1]) > 0.6


def test_every_fault_is_one_of_some_images_or_people():
    for name, make in FAULTS.items():
        images = make(np.random.default_rng(0), 12)
        assert images.shape == (12, 16, 32), name
