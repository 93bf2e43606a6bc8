"""A number and what unseen people get in its place; groups of people; verdicts."""

from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import gamma, t

from alzgan.evaluation import fidelity as module
from alzgan.evaluation.copies import FoundCopies, on_copies
from alzgan.evaluation.fidelity import curves, fidelity, sets_of
from alzgan.evaluation.numbers import CHANCE, Law, Number, Unseen, unseen_of
from alzgan.evaluation.reference import Images, Reference, draw_group, widening
from alzgan.evaluation.spaces import Space
from alzgan.evaluation.verdicts import answered, notes_on_classes, questions_of
from alzgan.images.likeness import LOOKED_FOR, Nearest
from alzgan.metrics.anatomy import ANATOMY, WASSERSTEIN
from alzgan.metrics.distances import KERNEL_DISTANCE, MIND
from alzgan.metrics.diversity import VENDI
from alzgan.metrics.memorisation import (
    AUTHENTICITY,
    MEMBERSHIP_AUC,
    SHARE_ABOVE_THRESHOLD,
    TRAIN_TEST_DISTANCE,
    copies_of,
)
from alzgan.metrics.neighbours import COVERAGE, DIVERSITY, PRECISION, RECALL
from alzgan.metrics.record import FIDELITY, Metric


def number(**changes: object) -> Number:
    plain = {
        "metric": KERNEL_DISTANCE,
        "space": "pixels",
        "extractor": "pixels-v1",
        "against": "held-out",
        "label": None,
        "value": 3.0,
        "n": 100,
        "people": 10,
        "unseen": unseen(2.0, 0.5),
        "seed": 0,
    }
    return Number(**{**plain, **changes})


def unseen(mean: float, deviation: float) -> Unseen:
    """Of a symmetric law, from 20 draws of many people."""
    return Unseen(mean, mean - 1, mean + 1, deviation, 20, Law(mean, deviation, 0, 20, 19, is_share=False))


def mind(**changes: object) -> Number:
    return number(**{"metric": MIND, **changes})


UPWARDS = changed(MIND, better="higher")


def images(people: list[str], labels: list[int] | None = None) -> Images:
    count = len(people)
    pixels = torch.arange(count)[:, None, None, None].expand(-1, 1, 4, 4).byte()
    return Images(
        pixels, np.array(labels or [0] * count), np.array(people), [f"{n}.png" for n in range(count)]
    )


def test_a_number_is_within_what_all_but_one_in_700_of_unseen_people_get():
    # Student's distribution with 19 degrees of freedom has 1 / 700 beyond 3.42; one more draw varies more.
    reach = 3.4222 * 0.5 * (1 + 1 / 20) ** 0.5
    assert mind().limit == pytest.approx(2 + reach, abs=1e-3)
    assert mind(metric=UPWARDS).limit == pytest.approx(2 - reach, abs=1e-3)
    assert mind(value=2 + reach - 0.01).within
    assert not mind(value=2 + reach + 0.01).within
    assert mind(value=2 - reach + 0.01, metric=UPWARDS).within
    assert not mind(value=2 - reach - 0.01, metric=UPWARDS).within


def outside(metric: Metric, law: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """The shares of one more person's numbers beyond the limit, and outside of the band, of thirty others."""
    draws = law(np.random.default_rng(0).normal(size=(1500, 31)))
    found = [number(metric=metric, value=draw[30], unseen=unseen_of(draw[:30], metric, 30)) for draw in draws]
    beyond = np.mean([not each.within for each in found])
    return beyond, np.mean([not each.unseen.low <= each.value <= each.unseen.high for each in found])


def test_one_in_700_of_unseen_people_is_beyond_the_limit_and_one_in_20_outside_of_the_band():
    beyond, out = outside(MIND, np.asarray)
    assert beyond == pytest.approx(1 / 700, abs=3e-3)
    assert out == pytest.approx(0.05, abs=0.02)


def test_a_share_near_1_is_judged_on_the_scale_of_its_angle():
    # On the plain scale the limit of such shares would lie above many of them, and the band beyond 1.
    beyond, _ = outside(changed(RECALL, better="lower"), lambda draws: np.sin(1.45 + 0.08 * draws) ** 2)
    assert beyond == pytest.approx(1 / 700, abs=3e-3)
    found = unseen_of([0.99, 1.0, 0.995, 1.0], RECALL, 50, n=100)
    assert 0.9 < found.low < found.high <= 1


def test_a_share_that_is_1_in_every_group_does_not_make_one_image_less_a_fault():
    found = unseen_of([1.0] * 20, PRECISION, 50, n=1000)
    judged = number(metric=PRECISION, unseen=found, value=0.999)
    assert judged.within
    assert not number(metric=PRECISION, unseen=found, value=0.99).within


def test_the_limit_of_a_kernel_distance_leans_to_the_right_as_its_draws_do():
    skewed = np.random.default_rng(0).gamma(4, size=2000)
    symmetric = np.random.default_rng(0).normal(4, 2, size=2000)
    right, even = (unseen_of(draws, KERNEL_DISTANCE, 100) for draws in (skewed, symmetric))
    # A gamma of shape 4 has 1 / 700 beyond 12.6; the deviation is known from a hundred people.
    assert number(unseen=right).limit == pytest.approx(gamma.isf(CHANCE, 4), rel=0.06)
    assert number(unseen=even).limit == pytest.approx(4 + 3.06 * 2, rel=0.05)
    assert right.law.skewness == pytest.approx(1, abs=0.1)  # 2 / sqrt(4)
    assert unseen_of(skewed, MIND, 100).law.skewness == 0
    assert unseen_of(np.full(2000, 0.1), KERNEL_DISTANCE, 100).law.skewness == 0


def test_the_fewer_people_the_wider_the_limit():
    draws = np.random.default_rng(0).normal(size=200)
    limits = [number(unseen=unseen_of(draws, MIND, people)).limit for people in (6, 20, 200)]
    assert limits == sorted(limits, reverse=True)
    assert limits[0] / limits[2] == pytest.approx(t.isf(CHANCE, 5) / t.isf(CHANCE, 199), rel=0.1)


def test_a_distance_has_a_ratio_where_unseen_peoples_is_clearly_above_0():
    assert number().ratio == pytest.approx(1.5)
    assert number(metric=MEMBERSHIP_AUC).ratio is None
    assert number(unseen=unseen(0.1, 0.15)).ratio is None


def test_the_percentile_is_of_one_more_draw():
    high = mind(value=2 + 2.093 * 0.5 * (1 + 1 / 20) ** 0.5)
    assert mind(value=2).plain()["percentile"] == 50
    assert high.plain()["percentile"] == pytest.approx(97.5, abs=0.01)


def test_the_percentile_is_the_inverse_of_the_limit():
    draws = 0.5 + np.random.default_rng(0).gamma(2, size=1000) / 100
    for metric in (KERNEL_DISTANCE, MIND, RECALL):
        law = unseen_of(draws, metric, 30).law
        chance = 1 - CHANCE if metric.better == "lower" else CHANCE
        assert law.share_below(law.quantile(chance)) == pytest.approx(chance, abs=1e-6)


def test_draws_that_share_people_are_widened():
    found = unseen_of([1.0, 2.0, 3.0], MIND, people=10, widen=2)
    assert (found.mean, found.deviation, found.draws) == pytest.approx((2, 2, 3))
    reach = t.ppf(0.975, 2) * 2 * (1 + 1 / 3) ** 0.5
    assert (found.low, found.high) == pytest.approx((2 - reach, 2 + reach))


def test_the_widening_is_that_of_people_drawn_anew():
    rng = np.random.default_rng(0)
    for replace in (False, True):
        within, anew = [], []
        for _ in range(400):
            pool, others = rng.normal(size=60), rng.normal(size=20)
            groups = [rng.choice(pool, 20, replace=replace).mean() for _ in range(30)]
            within.append(np.var(groups, ddof=1))
            anew.append((others.mean() - pool.mean()) ** 2)
        assert widening(60, 20, replace) == pytest.approx((np.mean(anew) / np.mean(within)) ** 0.5, rel=0.1)


def test_a_group_is_of_whole_people_and_its_beginning_is_a_smaller_one():
    real = images([person for person in "abcdef" for _ in range(3)])
    rows = draw_group(real, 7, seed=0, purpose="group")
    drawn = real.people[rows]
    assert [len(set(drawn[n : n + 3])) for n in (0, 3)] == [1, 1]  # two whole ones, and one of a third
    assert len(set(drawn)) == 3
    assert draw_group(real, 3, 0, "group").tolist() == rows[:3].tolist()
    assert draw_group(real, 7, 1, "group").tolist() != rows.tolist()
    assert draw_group(real, 7, 0, "group", step=1).tolist() != rows.tolist()


def test_everybody_is_drawn_equally_often():
    real = images([person for person in "abcdef" for _ in range(2)])
    counts = np.zeros(6)
    for draw in range(600):
        counts[np.unique(draw_group(real, 4, 0, "group", draw) // 2)] += 1
    assert counts == pytest.approx(np.full(6, 200), abs=50)


def test_as_many_images_are_compared_on_each_side():
    train, held_out = (
        images([f"{side}{n // 2}" for n in range(count)]) for side, count in (("t", 60), ("h", 20))
    )
    reference = Reference(train, held_out, ["A"])
    samples = Images(train.pixels[:50])
    sets = sets_of(samples, reference, size=100, pool=40, draws=3, seed=0)
    assert [len(side) for side in (sets.samples, sets.held_out, sets.pool)] == [20, 20, 40]
    assert [len(rows) for rows in sets.groups] == [20, 20, 20]
    assert sets.people == {"held-out": 10, "train": 10}
    assert sets.widen == pytest.approx(((20 + 10) / (20 - 10)) ** 0.5)
    few = Reference(train, held_out.of(np.arange(8)), ["A"])
    assert sets_of(samples, few, 100, 40, 3, 0) is None  # four people are held out


@pytest.mark.slow
def test_what_unseen_people_get_is_found_once_for_all_candidates_of_the_same_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def noise(seed: int, people: list[str] | None = None) -> Images:
        pixels = torch.randint(256, (60, 1, 8, 8), generator=torch.Generator().manual_seed(seed))
        return Images(pixels.byte(), None, people and np.array(people))

    def space() -> Space:
        return Space("pixels", tmp_path, torch.device("cpu"))

    train, held_out = (noise(seed, [f"{seed} {n // 2}" for n in range(60)]) for seed in (1, 2))
    others = noise(3, [f"3 {n // 2}" for n in range(60)])
    candidates = [
        (noise(4), Reference(train, held_out, ["A"]), 0),
        (noise(5), Reference(train, held_out, ["A"]), 0),
        (noise(5), Reference(train, held_out, ["A"]), 1),  # other groups
        (noise(5), Reference(train, others, ["A"]), 0),
        (noise(5), Reference(others, held_out, ["A"]), 0),
    ]
    compared = [sets_of(samples, reference, 20, 40, 3, seed) for samples, reference, seed in candidates]
    alone = [(fidelity(sets, [space()], 0), curves(sets, [space()])) for sets in compared]
    searched, search = [], module.of_unseen
    monkeypatch.setattr(module, "of_unseen", lambda *given: searched.append(0) or search(*given))
    shared = space()
    assert [(fidelity(sets, [shared], 0), curves(sets, [shared])) for sets in compared] == alone
    assert len(searched) == 4
    assert len({str([number.unseen for number in numbers]) for numbers, _ in alone}) == 4


def test_a_verdict_says_how_far_and_which_space_would_have_flattered():
    good = [number(value=2.2), number(metric=PRECISION, value=2.0)]
    bad = [
        number(value=9.0, space="imagenet-lite0"),
        number(metric=PRECISION, value=0.1, space="imagenet-lite0"),
    ]
    assert answered(FIDELITY, good)["answer"] == "good"
    found = answered(FIDELITY, [*good, *bad])
    assert found["answer"] == "bad"
    assert "kernel distance 4.5 times theirs in imagenet-lite0" in found["text"]
    assert found["text"].endswith("; pixels alone would have said yes")


def test_diversity_is_decided_by_recall_and_coverage_of_all_samples_against_held_out_people():
    whole = [number(metric=metric, value=2) for metric in (RECALL, COVERAGE)]
    beside = [
        number(metric=RECALL, value=0, against="train"),
        number(metric=RECALL, value=0, label="AD"),
        number(metric=VENDI, value=0),
    ]
    assert answered(DIVERSITY, [*whole, *beside])["answer"] == "good"
    assert notes_on_classes([*whole, *beside]) == ["class AD: recall 0.00 (theirs 2.00) in pixels"]
    bad = answered(DIVERSITY, [*whole, number(metric=COVERAGE, value=0.11)])
    assert bad == {
        "question": "diversity",
        "asks": "Are they as varied?",
        "answer": "bad",
        "text": "Less varied than unseen people: coverage 0.11 (theirs 2.00) in pixels",
    }


def power(noticed: int) -> list[dict[str, object]]:
    return [
        {"question": "fidelity", "words": "15 % noise", "noticed": noticed, "draws": 20},
        {"question": "diversity", "words": "half missing", "noticed": noticed, "draws": 20},
    ]


def test_a_good_verdict_says_what_it_could_have_seen_and_is_none_where_that_is_nothing():
    numbers = [
        number(value=2.2),
        *(number(metric=metric, value=2) for metric in (PRECISION, RECALL, COVERAGE)),
    ]
    for question, fault in ((FIDELITY, "15 % noise"), (DIVERSITY, "half missing")):
        found = answered(question, numbers, power(19))
        assert found["answer"] == "good"
        assert found["text"].endswith(f"it would have noticed {fault} in 19 of 20")
        assert answered(question, numbers, power(9))["answer"] == "cannot tell"
        bad = [number(metric=each.metric, value=0) for each in numbers[1:]]
        assert answered(question, bad, power(9))["answer"] == "bad"


def test_noise_is_not_called_varied():
    varied = [number(metric=metric, value=2) for metric in (RECALL, COVERAGE)]
    found = answered(DIVERSITY, [*varied, number(metric=PRECISION, value=0.1)], power(20))
    assert found["answer"] == "cannot tell"
    assert found["text"].startswith("Varied, but unlike real people")


def test_a_number_in_a_space_that_the_discriminator_was_trained_on_decides_nothing():
    good = [number(metric=metric, value=2) for metric in (PRECISION, KERNEL_DISTANCE, RECALL, COVERAGE)]
    bad = [number(metric=each.metric, value=0.1, space="imagenet-lite0") for each in good]
    bad[1] = number(value=9.0, space="imagenet-lite0")
    trained = [changed(each, trained=True) for each in bad]
    for question in (FIDELITY, DIVERSITY):
        assert answered(question, [*good, *bad])["answer"] == "bad"
        assert answered(question, [*good, *trained]) == answered(question, good)
        assert answered(question, [*bad, *(changed(each, trained=True) for each in good)])["answer"] == "bad"
    assert notes_on_classes([changed(each, label="AD") for each in bad])
    assert not notes_on_classes([changed(each, label="AD") for each in trained])


def test_a_question_that_no_space_is_left_to_decide_cannot_be_told():
    trained = [number(metric=metric, value=2, trained=True) for metric in (PRECISION, RECALL)]
    assert questions_of(trained) == [FIDELITY, DIVERSITY]
    for question in questions_of(trained):
        found = answered(question, trained)
        assert found["answer"] == "cannot tell"
        assert found["text"] == "The discriminator was trained on all feature spaces"


def test_anatomy_names_the_farthest_measure():
    near = number(metric=WASSERSTEIN, space="brain_area", value=2.1)
    far = number(metric=WASSERSTEIN, space="ventricle_ratio", value=8.0)
    assert answered(ANATOMY, [near])["text"].endswith(
        "farthest Wasserstein distance 1.1 times theirs in brain area"
    )
    assert answered(ANATOMY, [near, far])["text"].startswith("1 of 2 measures are not distributed as")
    assert answered(ANATOMY, [near, far])["answer"] == "bad"


def found_copies(**changes: object) -> FoundCopies:
    """No copies among 1,000 samples; the number that is told beside is changed."""
    similarity = torch.linspace(0.5, 0.8, 1000)
    nearest = Nearest(similarity, torch.zeros(1000, dtype=torch.long))
    told = unseen(0.5, 0.06)
    share = unseen(0.01, 0.01)
    numbers = [
        number(metric=SHARE_ABOVE_THRESHOLD, value=0.01, n=1000, unseen=share),
        number(**{"metric": MEMBERSHIP_AUC, "value": 0.5, "unseen": told, **changes}),
    ]
    return FoundCopies(copies_of(nearest, nearest), numbers, {}, np.arange(12))


def test_no_copies_is_said_with_what_was_looked_for_and_never_beside_a_sign_of_memorisation():
    good = on_copies(found_copies())
    assert good["answer"] == "good"
    assert good["text"].startswith(f"No copies (0.3 % at most, with 95 % confidence), also none {LOOKED_FOR}")
    for changes in (
        {"value": 0.86},
        {"metric": AUTHENTICITY, "value": 0.2},
        {"metric": TRAIN_TEST_DISTANCE, "value": -3.0},
    ):
        doubtful = on_copies(found_copies(**changes))
        assert doubtful["answer"] == "cannot tell"
        assert "beyond what unseen people get" in doubtful["text"]


def test_memorisation_in_a_space_that_the_discriminator_was_trained_on_says_nothing_of_copies():
    def verdict_with(*more: Number) -> dict[str, str]:
        found = found_copies()
        return on_copies(found._replace(numbers=[*found.numbers, *more]))

    sign = found_copies(value=0.86).numbers[1]
    assert verdict_with(sign)["answer"] == "cannot tell"
    assert verdict_with(changed(sign, trained=True)) == on_copies(found_copies())
    nowhere = on_copies(found_copies(trained=True))
    assert nowhere["answer"] == "cannot tell"
    assert "trained on all feature spaces that could show memorisation" in nowhere["text"]
