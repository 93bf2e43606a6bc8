import json
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import t
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_auroc, multiclass_f1_score

from alzgan.device.streams import stream
from alzgan.errors import SettingError, UserError
from alzgan.evaluation.utility import on_utility
from alzgan.metrics.arms import (
    AGAIN,
    ARMS,
    HALF,
    LEAKY,
    REAL,
    SHUFFLED,
    TESTED,
    Labelled,
    arms_of,
    judged_sets,
)
from alzgan.metrics.classifier import augment, classifier, draw_batch, predicted, trained
from alzgan.metrics.significance import crossed, holm, sign_flip
from alzgan.metrics.utility_study import held_out_votes, reduced, utility, verdict
from alzgan.metrics.votes import auc, mean_scores, person_labels, redrawn, scores, vote

CLASSES = ["across", "along"]
QUICK = {"updates": 1, "batch_size": 4, "progress": False}
SIDE = 16


def patients(people: int, slices: int = 4, signal: float = 40, own: float = 20, seed: int = 0) -> Labelled:
    """So many people a class: stripes across or along, and each person's own pattern in all its slices."""
    noise = np.random.default_rng(seed)
    labels = np.arange(2 * people) % 2
    wave = np.where(np.arange(SIDE) % 4 < 2, 1.0, -1.0)
    stripes = np.stack([np.tile(wave[:, None], SIDE), np.tile(wave, (SIDE, 1))])
    heads = 128 + signal * stripes[labels] + own * noise.standard_normal((2 * people, SIDE, SIDE))
    images = np.repeat(heads, slices, 0) + 10 * noise.standard_normal((2 * people * slices, SIDE, SIDE))
    names = [f"{seed}/{person}" for person in range(2 * people) for _ in range(slices)]
    pixels = torch.from_numpy(images.clip(0, 255).astype(np.uint8))[:, None]
    return Labelled(pixels, torch.from_numpy(labels.repeat(slices)), names)


def swapped(labelled: Labelled) -> Labelled:
    """The same images, each called the other class."""
    return labelled._replace(labels=1 - labelled.labels, people=None)


def without_people(labelled: Labelled) -> Labelled:
    return labelled._replace(people=None)


def arm_named(found: dict, name: str) -> dict:
    return next(arm for arm in found["arms"] if arm["name"] == name)


def accuracy_of(name: str, sets, runs: int, updates: int) -> float:
    """The mean balanced accuracy of one arm."""
    images = torch.cat([each.images for each in sets[:3]])
    votes = [held_out_votes(images, sets, arms_of(sets, run)[name], updates, 16, run) for run in range(runs)]
    labels = person_labels(sets.held_out.labels, sets.held_out.people, 2)
    return float(scores(torch.stack(votes), labels)["balanced_accuracy"].mean())


@pytest.fixture(scope="module")
def helped() -> dict:
    """Four people to train on, many like them from a generator that knows them all, weak stripes."""
    few, many, unseen = (
        patients(people, slices, signal=10, own=30, seed=seed)
        for seed, (people, slices) in enumerate([(2, 3), (60, 2), (12, 3)])
    )
    return utility(few, without_people(many), unseen, CLASSES, updates=40, batch_size=16, progress=False)


def test_three_people_who_all_gain_are_two_of_eight_ways_to_sign_them():
    assert sign_flip(np.array([0.1, 0.2, 0.3])) == pytest.approx(2 / 8)


def test_a_sign_flip_counts_the_ways_that_are_as_far_from_zero():
    # Sums of +-1 +-2 +-3: 2 is reached or exceeded in size by all but the two that are 0.
    assert sign_flip(np.array([1.0, -2.0, 3.0])) == pytest.approx(6 / 8)
    assert sign_flip(np.zeros(5)) == 1


def test_many_people_are_signed_by_draws_of_which_the_observed_one_is_one():
    assert sign_flip(np.ones(30)) == pytest.approx(2 / (2**14 + 1))
    differences = np.random.default_rng(0).normal(0.5, 1, 30)
    normal = torch.distributions.Normal(0.0, 1.0)
    z = differences.mean() / (np.square(differences).mean() / 30) ** 0.5
    assert sign_flip(differences) == pytest.approx(2 * float(normal.cdf(torch.tensor(-z))), abs=0.01)


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    # 0.01 * 4, 0.02 * 3, then 0.03 * 2 = 0.06 and 0.9 * 1.
    assert holm([0.02, 0.9, 0.01, 0.03]) == pytest.approx([0.06, 0.9, 0.04, 0.06])
    # 0.04 * 3, then 0.05 * 2 = 0.1 is raised to 0.12; 0.5 stays; nothing exceeds 1.
    assert holm([0.05, 0.5, 0.04]) == pytest.approx([0.12, 0.5, 0.12])
    assert holm([0.7, 0.8]) == pytest.approx([1, 1])


def lucky(
    noise: np.random.Generator, luck: float, trait: float = 1, effect: float = 0, people: int = 40
) -> np.ndarray:
    """Differences (6, people) of six trainings, each with its luck, on people, each with a trait."""
    by_training, by_person = luck * noise.normal(size=(6, 1)), trait * noise.normal(size=people)
    return effect + by_training + by_person + noise.normal(size=(6, people))


def test_the_error_of_a_crossed_design_by_hand():
    # Rows have means 1 and 4, columns 1.5 and 3.5, the rest is +-0.5.
    # So MS_S = 2 * 4.5, MS_P = 2 * 2 and MS_SP = 4 * 0.25.
    found = crossed(np.array([[0.5, 1.5], [2.5, 5.5]]))
    assert found.mean == 2.5
    assert found.error == pytest.approx(((9 + 4 - 1) / 4) ** 0.5)
    assert found.degrees == 1  # of two people; (12 / 9) ** 2 if they were many
    assert found.p == pytest.approx(2 * t.sf(2.5 / 3**0.5, 1))
    many = crossed(np.tile([[0.5, 1.5], [2.5, 5.5]], 10))
    by_training, by_person, by_both = 20 * 4.5, 2 * 20 / 19, 20 * 0.25 * 2 / 19
    assert many.degrees == pytest.approx(((by_training + by_person - by_both) / by_training) ** 2)


@pytest.mark.parametrize(
    ("luck", "trait", "people"), [(0.5, 1, 40), (0, 1, 40), (1, 0, 40), (0, 0, 40), (0.1, 3, 5), (0.1, 3, 10)]
)
def test_neither_the_luck_of_trainings_nor_traits_of_people_make_an_effect(
    luck: float, trait: float, people: int
):
    noise = np.random.default_rng(0)
    found = [crossed(lucky(noise, luck, trait, people=people)) for _ in range(1000)]
    assert np.mean([each.p < 0.05 for each in found]) < 0.065
    assert np.mean([each.interval[0] < 0 < each.interval[1] for each in found]) > 0.935


def test_people_alone_are_the_wrong_unit():
    noise = np.random.default_rng(0)
    by_people = [sign_flip(lucky(noise, 0.5).mean(0)) for _ in range(100)]
    assert np.mean([p < 0.05 for p in by_people]) > 0.2


def test_an_effect_of_the_detectable_size_is_found_in_eight_of_ten_studies():
    noise = np.random.default_rng(0)
    size = np.mean([crossed(lucky(noise, 0.5)).detectable() for _ in range(300)])
    found = [crossed(lucky(noise, 0.5, effect=size)).p < 0.05 for _ in range(1000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)
    strict = crossed(lucky(noise, 0.5))
    assert strict.detectable(tests=5) > strict.detectable()


def test_differences_that_are_all_alike_are_certain():
    assert crossed(np.full((6, 10), 0.1)).p == pytest.approx(0, abs=1e-9)
    assert crossed(np.zeros((6, 10))).p == 1


def test_a_person_votes_with_the_mean_of_its_images():
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.4, 0.6]])
    expected = torch.tensor([[0.2, 0.8], [0.6, 0.4]], dtype=torch.double)
    torch.testing.assert_close(vote(probabilities, ["b", "a", "b", "b"]), expected, rtol=0, atol=1e-7)


def test_a_person_has_the_class_of_most_of_its_images():
    assert person_labels(np.array([1, 2, 2, 0]), ["b", "b", "b", "a"], 3).tolist() == [0, 2]


def test_scores_are_those_of_torchmetrics_vote_by_vote():
    noise = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 2, 2])
    votes = torch.rand(3, 8, 3, generator=noise, dtype=torch.double).mul(4).round().add(0.1)
    votes = votes / votes.sum(2, keepdim=True)
    found = scores(votes, labels.numpy())
    for row, each in enumerate(votes):
        expected = {
            "balanced_accuracy": multiclass_accuracy(each, labels, 3, average="macro"),
            "macro_f1": multiclass_f1_score(each, labels, 3, average="macro"),
            "auc": multiclass_auroc(each, labels, 3, average="macro"),
        }
        for name, value in expected.items():
            assert found[name][row] == pytest.approx(float(value), abs=1e-6)


def test_the_area_is_the_share_of_pairs_in_order_and_ties_are_half():
    # Of class 0's people 0.9 and 0.5, the others' 0.5 and 0.1: 3.5 of 4 pairs.
    first = np.array([0.9, 0.5, 0.5, 0.1])
    assert auc(np.stack([first, 1 - first], 1)[None], np.array([0, 0, 1, 1])) == pytest.approx([3.5 / 4])


def test_people_are_redrawn_in_the_place_of_their_own_class():
    labels = np.array([0, 1, 0, 1, 1])
    rows = redrawn(labels, seed=0)
    assert (labels[rows] == labels).all()
    assert np.bincount(rows[:, 0], minlength=5)[[0, 2]] / len(rows) == pytest.approx([0.5, 0.5], abs=0.05)
    assert {len(set(row)) for row in rows[:, [1, 3, 4]].tolist()} == {1, 2, 3}


def test_an_interval_comes_from_trainings_and_people():
    labels = np.array([0, 0, 1, 1])
    right, wrong = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [[0.0, 1.0]] * 2 + [[1.0, 0.0]] * 2
    mixed = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
    rows = redrawn(labels, seed=0)
    # The trainings differ, the people do not: of two trainings drawn anew both may be the wrong one.
    both = mean_scores(torch.tensor([right, wrong], dtype=torch.double), labels, rows, seed=0)
    assert both["balanced_accuracy"] == pytest.approx({"mean": 0.5, "low": 0, "high": 1})
    # One of two right in each class: a class redrawn has none, one or two.
    half = mean_scores(torch.tensor([mixed], dtype=torch.double), labels, rows, seed=0)
    assert half["balanced_accuracy"] == pytest.approx({"mean": 0.5, "low": 0, "high": 1})


def test_every_class_is_shown_as_often_whatever_its_size():
    rows = [np.arange(1000), np.arange(1000, 1003)]
    chosen, labels = draw_batch(rows, 4000, stream(0, "test"))
    assert labels.double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert torch.equal((chosen >= 1000).long(), labels)
    assert set(chosen[labels == 1].tolist()) == {1000, 1001, 1002}


def test_batches_of_any_arm_hold_the_same_classes():
    one, two = [np.arange(3), np.arange(3, 5)], [np.arange(50), np.arange(50, 400)]
    assert torch.equal(draw_batch(one, 64, stream(5, "test"))[1], draw_batch(two, 64, stream(5, "test"))[1])


def test_augmentation_changes_images_within_their_range_and_each_in_its_own_way():
    image = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (1, 1, 32, 32))).float()
    same = image.expand(64, -1, -1, -1)
    changed = augment(same, stream(0, "test"))
    assert changed.shape == same.shape
    assert changed.abs().max() <= 1
    assert len({each.sum().item() for each in changed}) == 64
    contrasts = changed.std((1, 2, 3)) / image.std()
    assert 0.7 < contrasts.min() < 0.95
    assert 1.05 < contrasts.max() < 1.3
    torch.testing.assert_close(changed, augment(same, stream(0, "test")), rtol=0, atol=0)


def test_first_weights_are_a_function_of_the_seed_and_leave_torch_s_generator_alone():
    before = torch.get_rng_state()
    one, again, other = (classifier(1, 3, seed).state_dict() for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["0.0.weight"], other["0.0.weight"])


def test_a_training_takes_as_many_batches_as_it_is_told(monkeypatch: pytest.MonkeyPatch):
    steps = Counter()
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (steps.update(["step"]), step(self)))
    trained(patients(1).images, [np.arange(2), np.arange(2, 4)], updates=7, batch_size=2)
    assert steps["step"] == 7


def test_a_batch_is_a_function_of_the_seed_and_the_update(monkeypatch: pytest.MonkeyPatch):
    drawn = []

    def spied(rows, count, noise):
        chosen, labels = draw_batch(rows, count, noise)
        drawn.append(tuple(chosen.tolist()))
        return chosen, labels

    monkeypatch.setattr("alzgan.metrics.classifier.draw_batch", spied)
    images, rows = patients(10).images, [np.arange(40), np.arange(40, 80)]
    for seed in (0, 0, 1):
        trained(images, rows, updates=3, batch_size=8, seed=seed)
    assert drawn[:3] == drawn[3:6]
    assert len(set(drawn)) == 6


def test_images_are_augmented_only_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    calls = []

    def spied(shown, noise):
        calls.append(len(shown))
        return shown

    monkeypatch.setattr("alzgan.metrics.classifier.augment", spied)
    images, rows = patients(1).images, [np.arange(2), np.arange(2, 4)]
    trained(images, rows, updates=3, batch_size=2)
    assert calls == []
    trained(images, rows, updates=3, batch_size=2, augmented=True)
    assert calls == [2, 2, 2]


def test_a_classifier_learns_what_tells_the_classes_apart():
    seen, unseen = patients(10), patients(10, seed=1)
    rows = [np.flatnonzero(seen.labels == label) for label in range(2)]
    guesses = predicted(trained(seen.images, rows, 40, 16), unseen.images)
    assert torch.allclose(guesses.sum(1), torch.ones(len(guesses), dtype=torch.double))
    assert (guesses.argmax(1) == unseen.labels).double().mean() > 0.95


def test_synthetic_images_come_beside_real_ones_so_many_to_one_in_each_class():
    real, made, unseen = patients(3), patients(5, 2, seed=1), patients(2, seed=2)
    arms = arms_of(judged_sets(real, made, unseen, CLASSES), seed=0)
    for name, count in {
        "real + synthetic 0.5": 6,
        "real + synthetic 1": 12,
        "real + synthetic 2": 24,
    }.items():
        for label, rows in enumerate(arms[name].rows):
            added = rows[rows >= 24] - 24
            assert rows[:12].tolist() == np.flatnonzero(real.labels == label).tolist()
            assert len(added) == count
            assert (made.labels[added] == label).all()
            # 10 images in a class: they begin again only where more are wanted.
            assert max(Counter(added.tolist()).values()) == -(-count // 10)
    alone = arms["synthetic alone"].rows
    assert sorted(np.concatenate(alone).tolist()) == list(range(24, 44))


def test_shuffled_labels_go_from_person_to_person_and_their_counts_stay():
    real, unseen = patients(20), patients(2, seed=1)
    sets = judged_sets(real, real, unseen, CLASSES)
    rows, others = (arms_of(sets, seed)[SHUFFLED].rows for seed in (0, 1))
    people = np.array(real.people)
    assert not set(people[rows[0]]) & set(people[rows[1]])
    assert set(rows[0]) != set(others[0])
    # Of 20 people a class 10 keep their label: no more and no fewer, which a classifier would find out.
    for label, each in enumerate(rows):
        assert Counter(real.labels[each].tolist()) == {0: 40, 1: 40}, label


def test_a_class_of_one_person_is_dealt_out_too():
    real, unseen = patients(20), patients(2, seed=1)
    lonely = real._replace(labels=torch.tensor([0] * 4 + [1] * 156))
    sets = judged_sets(lonely, patients(2, seed=3), unseen, CLASSES)
    assert {tuple(map(len, arms_of(sets, seed)[SHUFFLED].rows)) for seed in range(20)} == {(4, 156)}


def test_a_split_by_image_leaks_half_of_each_person_and_tests_on_the_other_half():
    real, unseen = patients(3), patients(2, slices=5, seed=1)
    arm = arms_of(judged_sets(real, real, unseen, CLASSES), seed=0)[LEAKY]
    people = np.array(unseen.people)
    seen = np.concatenate(arm.rows)
    leaked = seen[seen >= 48] - 48
    assert not set(leaked) & set(arm.tested)
    assert set(Counter(people[leaked]).values()) == {2}
    assert set(Counter(people[arm.tested]).values()) == {3}
    assert len(Counter(people[arm.tested])) == 4
    for label, rows in enumerate(arm.rows):
        assert (unseen.labels[rows[rows >= 48] - 48] == label).all()


def test_only_the_leak_sees_held_out_images():
    sets = judged_sets(patients(3), patients(3, seed=1), patients(2, seed=2), CLASSES)
    for name, arm in arms_of(sets, 0).items():
        assert (max(map(max, arm.rows)) >= 48) == (name == LEAKY)
        assert len(arm.tested) == (8 if name == LEAKY else 16)
        assert arm.augmented == (name == "real + augmentation")


def test_a_split_by_image_promises_what_no_unseen_person_gets():
    # No stripes: a class is nothing but who one is.
    sets = judged_sets(*(patients(6, 8, signal=0, own=60, seed=seed) for seed in (0, 1, 2)), CLASSES)
    honest, leaky = (accuracy_of(name, sets, runs=3, updates=120) for name in (REAL, LEAKY))
    assert 0.2 < honest < 0.75
    assert leaky > 0.9
    assert leaky > honest + 0.2


def test_labels_shuffled_between_people_give_chance():
    sets = judged_sets(patients(15), patients(2, seed=1), patients(15, seed=2), CLASSES)
    assert accuracy_of(SHUFFLED, sets, runs=12, updates=60) == pytest.approx(0.5, abs=0.1)
    assert accuracy_of(REAL, sets, runs=2, updates=20) > 0.9


@pytest.mark.slow
def test_images_of_people_beyond_the_few_at_hand_help(helped: dict):
    for name in ("real + synthetic 1", "real + synthetic 2"):
        arm = arm_named(helped, name)
        assert arm["verdict"] == "helps"
        assert arm["difference"]["low"] > 0
        assert arm["difference"]["p"] <= arm["difference"]["p_holm"] < 0.05
        real = arm_named(helped, REAL)
        assert arm["balanced_accuracy"]["mean"] > real["balanced_accuracy"]["mean"] + 0.1


@pytest.mark.slow
def test_the_outcome_has_the_form_that_a_report_reads(helped: dict):
    plain = {key: value for key, value in helped.items() if key not in ("arms", "detectable")}
    assert plain == {
        "classes": CLASSES,
        "people": 24,
        "seeds": 10,
        "updates": 40,
        "chance": 0.5,
        "unit": "probability of the right class, by the vote of a person's slices",
    }
    assert json.loads(json.dumps(helped)) == helped
    assert [arm["name"] for arm in helped["arms"]] == list(ARMS)
    for arm in helped["arms"]:
        for name in ("balanced_accuracy", "macro_f1", "auc"):
            assert 0 <= arm[name]["low"] <= arm[name]["mean"] <= arm[name]["high"] <= 1
            assert {type(value) for value in arm[name].values()} == {float}
        assert (arm["difference"] is None) == (arm["name"] in (REAL, SHUFFLED, LEAKY))
        assert (arm["verdict"] is None) == (arm["name"] not in TESTED)
        if arm["difference"]:
            assert list(arm["difference"]) == ["mean", "low", "high", "p", "p_holm"]
            assert {type(value) for value in arm["difference"].values()} == {float}
    assert 0 < helped["detectable"] < 0.5


@pytest.mark.long
def test_mislabelled_images_hurt():
    seen, wrong, unseen = patients(10), swapped(patients(10, seed=1)), patients(8, seed=2)
    found = utility(seen, wrong, unseen, CLASSES, updates=20, batch_size=16, progress=False)
    for name in ("real + synthetic 2", "synthetic alone"):
        arm = arm_named(found, name)
        assert arm["verdict"] == "hurts"
        assert arm["difference"]["high"] < 0
    assert arm_named(found, "synthetic alone")["balanced_accuracy"]["mean"] < 0.1


def test_a_verdict_is_what_the_corrected_test_allows():
    assert verdict({"mean": 0.1, "p": 0.001, "p_holm": 0.049}) == "helps"
    assert verdict({"mean": -0.1, "p": 0.001, "p_holm": 0.049}) == "hurts"
    assert verdict({"mean": 0.1, "p": 0.01, "p_holm": 0.05}) == "cannot tell"


def test_the_same_seed_gives_the_same_outcome_and_another_one_another():
    sets = patients(3), without_people(patients(3, seed=1)), patients(2, seed=2)
    before = torch.get_rng_state()
    one, again, other = (utility(*sets, CLASSES, seed=seed, **QUICK) for seed in (4, 4, 5))
    assert torch.equal(torch.get_rng_state(), before)
    assert one == again
    assert one != other


def test_all_arms_train_as_long_and_from_the_same_seeds(monkeypatch: pytest.MonkeyPatch):
    trainings = []

    def spied(images, rows, updates, batch_size, seed, augmented):
        trainings.append((updates, batch_size, seed))
        return trained(images, rows, updates, batch_size, seed, augmented)

    monkeypatch.setattr("alzgan.metrics.utility_study.trained", spied)
    utility(patients(2), patients(2, seed=1), patients(2, seed=2), CLASSES, seeds=7, **QUICK)
    counts = Counter(trainings)
    # Real images are trained on again by seven other seeds.
    assert Counter(counts.values()) == {len(ARMS) - 1: 7, 1: 7}
    assert {training[:2] for training in counts} == {(1, 4)}


def test_half_of_the_people_of_each_class_are_drawn_anew_for_each_training():
    real = patients(5)
    sets = judged_sets(real, patients(3, seed=1), patients(2, seed=2), CLASSES)
    halves = [arms_of(sets, seed)[HALF].rows for seed in (0, 1)]
    for rows in halves:
        for label, each in enumerate(rows):
            assert (real.labels[each] == label).all()
            assert set(Counter(np.array(real.people)[each]).values()) == {4}
            assert len(each) == 3 * 4  # three of five people, rounded up
    assert set(halves[0][0]) != set(halves[1][0])
    again = arms_of(sets, 0)[AGAIN]
    assert [rows.tolist() for rows in again.rows] == [rows.tolist() for rows in arms_of(sets, 0)[REAL].rows]


def test_a_class_that_nobody_can_judge_is_left_out():
    real, made, unseen = patients(4), patients(4, seed=1), patients(4, seed=2)
    # The first class of three: one person held out, who has two images of the second class, too.
    labels = unseen.labels + 1
    labels[:2] = 0
    labels[2:4] = 2
    shifted = (each._replace(labels=each.labels + 1) for each in (real, made))
    kept = judged_sets(*shifted, unseen._replace(labels=labels), ["none", *CLASSES])
    assert kept.classes == CLASSES
    assert [len(each.images) for each in kept[:3]] == [32, 32, 30]
    assert [sorted(set(each.labels.tolist())) for each in kept[:3]] == [[0, 1]] * 3
    found = utility(real, made, unseen, [*CLASSES, "none"], **QUICK)
    assert (found["classes"], found["chance"]) == (CLASSES, 0.5)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"made": {"labels": None}}, "the synthetic images have no labels"),
        ({"unseen": {"labels": torch.zeros(16, dtype=torch.int64)}}, r"\(there are: across 4, along 0\)"),
        (
            {"made": {"labels": torch.zeros(16, dtype=torch.int64)}},
            "the synthetic images show nobody of class along",
        ),
        (
            {"unseen": {"people": patients(2).people}},
            "4 people, among them 0/0, both trained on and held out",
        ),
    ],
)
def test_what_cannot_be_judged_is_said_in_one_line(changes: dict, line: str):
    sets = {"real": patients(2), "made": patients(2, seed=1), "unseen": patients(2, seed=2)}
    changed = [each._replace(**changes.get(name, {})) for name, each in sets.items()]
    with pytest.raises(UserError, match=line) as error:
        utility(*changed, CLASSES, **QUICK)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("setting", [{"seeds": 5}, {"updates": 0}, {"batch_size": 0}, {"seed": -1}])
def test_a_number_out_of_its_range_is_named(setting: dict):
    with pytest.raises(SettingError, match=f"{next(iter(setting))}="):
        utility(patients(2), patients(2, seed=1), patients(2, seed=2), CLASSES, **QUICK | setting)


def test_large_images_are_reduced_and_small_ones_are_as_they_are():
    small = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    assert reduced(small) is small
    large = small.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert (reduced(large).shape, reduced(large).dtype) == (small.shape, torch.uint8)
    assert (reduced(large).float() - small.float()).abs().mean() < 40


def test_the_bar_is_on_stderr_and_counts_trainings(capsys: pytest.CaptureFixture):
    utility(patients(2), patients(2, seed=1), patients(2, seed=2), CLASSES, **QUICK | {"progress": True})
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "100/100" in shown.err


@pytest.mark.long
def test_real_images_that_are_called_synthetic_neither_help_nor_hurt():
    """In 100 studies whose synthetic images are the training images at most 1 in 20 end in a verdict."""
    answers = Counter()
    for study in range(100):
        real, unseen = patients(20, 3, 12, 30, seed=2 * study), patients(15, 3, 12, 30, seed=2 * study + 1)
        found = utility(real, without_people(real), unseen, CLASSES, 6, 60, 16, seed=study, progress=False)
        answers.update({on_utility(found)["answer"]})
        answers.update(f"arm {arm['verdict']}" for arm in found["arms"] if "synthetic" in arm["name"])
    assert answers["good"] + answers["bad"] <= 5, answers
