"""A number and what unseen people get in its place; groups of people; verdicts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import f

from alzgan.evaluation import fidelity as module
from alzgan.evaluation.fidelity import curves, fidelity, sets_of
from alzgan.evaluation.numbers import Number, Unseen, unseen_of
from alzgan.evaluation.reference import Images, Reference, draw_group, widening
from alzgan.evaluation.spaces import Space
from alzgan.evaluation.verdicts import notes_on_classes, on_anatomy, on_diversity, on_fidelity


def number(**changes: object) -> Number:
    plain = {
        "stage": "fidelity",
        "metric": "kernel_distance",
        "space": "pixels",
        "extractor": "pixels-v1",
        "against": "held-out",
        "label": None,
        "value": 3.0,
        "n": 100,
        "people": 10,
        "unseen": Unseen(mean=2.0, low=1.0, high=3.0, deviation=0.5, draws=20),
        "better": "lower",
        "seed": 0,
    }
    return Number(**{**plain, **changes})


def mind(**changes: object) -> Number:
    return number(**{"metric": "mind", **changes})


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
    assert mind(better="higher").limit == pytest.approx(2 - reach, abs=1e-3)
    assert mind(value=2 + reach - 0.01).within
    assert not mind(value=2 + reach + 0.01).within
    assert mind(value=2 - reach + 0.01, better="higher").within
    assert not mind(value=2 - reach - 0.01, better="higher").within


def beyond(metric: str, law: Callable[[np.ndarray], np.ndarray]) -> float:
    """The share of people's numbers beyond the limit that ten others of the law make."""
    draws = law(np.random.default_rng(0).normal(size=(10_000, 11)))
    found = [number(metric=metric, value=draw[10], unseen=unseen_of(draw[:10])) for draw in draws]
    return np.mean([not each.within for each in found])


def test_one_in_700_of_unseen_people_is_beyond_the_limit():
    assert beyond("mind", np.asarray) == pytest.approx(1 / 700, rel=0.5)


def test_the_limit_of_a_kernel_distance_has_the_long_tail_of_a_sum_of_squares():
    # With Student's law alone 1 in 25 would be beyond.
    assert beyond("mind", np.square) > 20 / 700
    assert 0.5 / 700 < beyond("kernel_distance", np.square) < 5 / 700
    assert beyond("kernel_distance", np.asarray) < 1 / 700


def test_a_distance_has_a_ratio_where_unseen_peoples_is_clearly_above_0():
    assert number().ratio == pytest.approx(1.5)
    assert number(metric="membership_auc").ratio is None
    assert number(unseen=Unseen(0.1, -0.2, 0.4, 0.15, 20)).ratio is None


def test_the_percentile_is_of_one_more_draw():
    assert mind(value=2).percentile == 50
    assert mind(value=2 + 2.093 * 0.5 * (1 + 1 / 20) ** 0.5).percentile == pytest.approx(97.5, abs=0.01)
    # Most squares are below their mean.
    assert number(value=2).percentile == pytest.approx(100 * f.cdf(1, 1, 19), abs=0.01)
    assert f.cdf(1, 1, 19) > 0.6


def test_draws_that_share_people_are_widened():
    found = unseen_of([1.0, 2.0, 3.0], widen=2)
    assert (found.mean, found.deviation) == pytest.approx((2, 2))
    assert (found.low, found.high) == pytest.approx((0.1, 3.9))
    assert found.draws == 3


def test_the_widening_is_that_of_people_drawn_anew():
    rng = np.random.default_rng(0)
    within, anew = [], []
    for _ in range(400):
        pool, others = rng.normal(size=60), rng.normal(size=20)
        groups = [rng.choice(pool, 20, replace=False).mean() for _ in range(30)]
        within.append(np.var(groups, ddof=1))
        anew.append((others.mean() - np.mean(groups)) ** 2)
    assert widening(60, 20) == pytest.approx((np.mean(anew) / np.mean(within)) ** 0.5, rel=0.1)


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
    good = [number(value=2.2), number(metric="precision", better="higher", value=2.0)]
    bad = [
        number(value=9.0, space="imagenet-lite0"),
        number(metric="precision", better="higher", value=0.1, space="imagenet-lite0"),
    ]
    assert on_fidelity(good)["answer"] == "good"
    found = on_fidelity([*good, *bad])
    assert found["answer"] == "bad"
    assert "kernel distance 4.5 times theirs in imagenet-lite0" in found["text"]
    assert found["text"].endswith("; pixels alone would have said yes")


@pytest.mark.parametrize(
    ("draws", "recall", "answer"), [(3, 0.0, "cannot tell"), (20, 0.9, "good"), (20, 0.0, "bad")]
)
def test_a_share_that_would_pass_whatever_its_value_is_no_good_verdict(draws, recall, answer):
    unseen = Unseen(0.99, 0.9, 1.0, 0.0625, draws)
    shares = [
        number(metric=metric, better="higher", value=recall, unseen=unseen)
        for metric in ("precision", "recall")
    ]
    found = [on_fidelity([number(value=2.2), *shares]), on_diversity(shares)]
    assert [each["answer"] for each in found] == [answer] * 2
    told = "even a recall of 0 in pixels would pass; it is 0.00, theirs 0.99"
    assert (told in found[1]["text"]) is (answer == "cannot tell")


def test_diversity_is_decided_by_recall_and_coverage_of_all_samples_against_held_out_people():
    high = {"better": "higher"}
    whole = [number(metric=metric, value=2, **high) for metric in ("recall", "coverage")]
    beside = [
        number(metric="recall", value=0, against="train", **high),
        number(metric="recall", value=0, label="AD", **high),
        number(metric="vendi", value=0, **high),
    ]
    assert on_diversity([*whole, *beside])["answer"] == "good"
    assert notes_on_classes([*whole, *beside]) == ["class AD: recall 0.00 of 2.00 in pixels"]
    bad = on_diversity([*whole, number(metric="coverage", value=0.11, **high)])
    assert bad == {
        "question": "diversity",
        "answer": "bad",
        "text": "As varied as unseen people: no, coverage 0.11 of 2.00 in pixels",
    }


def test_anatomy_names_the_farthest_measure():
    near = number(stage="anatomy", metric="wasserstein", space="brain_area", value=2.1)
    far = number(stage="anatomy", metric="wasserstein", space="ventricle_ratio", value=8.0)
    assert on_anatomy([near])["text"].endswith("farthest Wasserstein distance 1.1 times theirs in brain area")
    assert on_anatomy([near, far])["text"].startswith("1 of 2 measures are not distributed as")
    assert on_anatomy([near, far])["answer"] == "bad"
