"""Two candidates beside the same people: told apart where they differ, and not where chance alone does."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from alzgan.evaluation.paired import MANY, Contributions, compared, pseudo_values, shown
from alzgan.metrics.distances import KERNEL_DISTANCE, kernel_distance_of, mean_kernel_in
from alzgan.metrics.neighbours import COVERAGE, RECALL, inside
from alzgan.metrics.resampling import Groups, in_groups
from alzgan.metrics.sets import Features, Pair

PEOPLE, SLICES, SIDES = 20, 8, 8
COMPARED = (KERNEL_DISTANCE, RECALL, COVERAGE)
Sampler = Callable[[np.random.Generator], np.ndarray]


def normal(shift: float = 0.0, scale: float = 1.0) -> Sampler:
    """Independent samples; (0, 1) is the law of the people."""
    return lambda rng: scale * rng.normal(size=(PEOPLE * SLICES, SIDES)) + shift * np.eye(SIDES)[0]


def features(values: np.ndarray, people: np.ndarray | None = None) -> Features:
    return Features(torch.from_numpy(values), people)


def trial(seed: int, *laws: Sampler) -> list[dict]:
    """Candidates of these laws beside one draw of people, with slices that are alike."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(PEOPLE), SLICES)
    traits = rng.normal(size=(PEOPLE, SIDES))[who]
    real = features(0.9 * traits + 0.19**0.5 * rng.normal(size=traits.shape), who)
    groups = Groups(*(in_groups(names, PEOPLE) for names in (who, np.arange(len(who)))))
    found = [pseudo_values(COMPARED, Pair(real, features(law(rng))), groups) for law in laws]
    return compared(
        [Contributions("", {(metric, "x"): each for metric, each in one.items()}) for one in found], 0
    )


def told_apart(seeds: range, *laws: Sampler) -> float:
    return np.mean([any(each["better"] is not None for each in trial(seed, *laws)) for seed in seeds])


@pytest.mark.slow
@pytest.mark.parametrize("law", [normal(), normal(3), normal(1, 2)], ids=["good", "far", "wide"])
def test_two_sets_of_one_generator_are_not_told_apart(law: Sampler):
    assert told_apart(range(60), law, law) <= 0.1  # 5 % and two deviations


def test_a_generator_that_is_clearly_worse_is():
    for seed in range(10):
        (found,) = [
            each for each in trial(seed, normal(), normal(2.5)) if each["metric"] == "kernel_distance"
        ]
        assert found["better"] == 0


def test_a_contribution_is_what_a_group_of_people_and_samples_changes():
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(6), 4)
    real, fake = (features(rng.normal(size=(24, SIDES)), people) for people in (who, None))
    groups = Groups(*(in_groups(names, 6) for names in (who, np.arange(24))))
    whole = Pair(real, fake)
    found = pseudo_values(COMPARED, whole, groups)
    covered = {RECALL: inside(whole.turned()), COVERAGE: inside(whole).T}
    without = {metric: [] for metric in found}
    for group in range(6):
        people, samples = (np.flatnonzero(each[:, group] == 0) for each in groups)
        pair = Pair(real.of(people), fake.of(samples))
        without[KERNEL_DISTANCE].append(kernel_distance_of(pair) - mean_kernel_in(pair.real))
        for metric, each in covered.items():
            without[metric].append(float(each[people][:, samples].any(1).double().mean()))
    numbers = {metric: metric.compute(whole) for metric in COMPARED}
    numbers[KERNEL_DISTANCE] -= mean_kernel_in(real)  # which all candidates have
    for metric, values in found.items():
        assert values.mean() == pytest.approx(numbers[metric])
        assert values == pytest.approx(numbers[metric] + 5 * (np.mean(without[metric]) - without[metric]))


def test_candidates_beside_other_people_are_not_compared():
    values = {(RECALL, "x"): np.arange(8.0)}
    better = {(RECALL, "x"): np.arange(8.0) + 1}
    assert compared([Contributions("a", values), Contributions("b", better)], 0) == []
    (found,) = compared([Contributions("a", values), Contributions("a", better)], 0)
    assert found == {
        "one": 0,
        "two": 1,
        "metric": "recall",
        "space": "x",
        "trained": False,
        "p": 2 / 2**8,
        "better": 1,
    }


def test_in_a_space_that_one_of_two_discriminators_was_trained_on_nobody_is_better():
    values = {(RECALL, space): np.arange(12.0) for space in ("x", "y")}
    better = {key: each + 1 for key, each in values.items()}
    candidates = [Contributions("a", values), Contributions("a", better, {"x"}), Contributions("a", values)]
    found = {(each["one"], each["two"], each["space"]): each for each in compared(candidates, 0)}
    for pair, winner in (((0, 1), 1), ((0, 2), None), ((1, 2), 1)):
        assert found[*pair, "y"]["better"] == winner
        assert found[*pair, "x"]["trained"] == (1 in pair)
        assert not found[*pair, "y"]["trained"]
        assert found[*pair, "x"]["better"] is None
    assert found[0, 1, "x"]["p"] is None
    assert found[0, 1, "y"]["p"] == pytest.approx(4 * 2 / 2**12)  # of four tests, not six


def test_the_best_of_many_is_not_chosen_in_a_space_that_a_discriminator_was_trained_on():
    def candidate(index: int, trained: set[str]) -> Contributions:
        places = {"x": index, "y": abs(index - 2)}
        return Contributions(
            "a", {(KERNEL_DISTANCE, name): np.full(12, place) for name, place in places.items()}, trained
        )

    def best_of(*trained: str) -> list[tuple[int, int]]:
        return shown([candidate(index, set(trained if index == 4 else ())) for index in range(MANY + 1)])

    assert best_of() == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert best_of("x") == [(0, 2), (1, 2), (2, 3), (2, 4)]
    assert best_of("x", "y") == best_of()  # any
    assert all(each["better"] is None for each in compared([candidate(n, {"x", "y"}) for n in (0, 1)], 0))


def test_many_candidates_are_compared_with_the_nearest_and_pay_for_all_pairs():
    count = MANY + 1
    values = [{(KERNEL_DISTANCE, "x"): np.full(12, abs(index - 2.0))} for index in range(count)]
    candidates = [Contributions("a", each) for each in values]
    assert shown(candidates) == [(0, 2), (1, 2), (2, 3), (2, 4)]
    assert [each["better"] for each in compared(candidates, 0)] == [2] * 4
    assert compared(candidates, 0)[0]["p"] == pytest.approx(10 * 2 / 2**12)  # of ten pairs
    assert len(shown(candidates[:MANY])) == 6
