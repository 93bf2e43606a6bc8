"""What the evaluation computes of two sets is what the public functions give."""

from pathlib import Path

import numpy as np
import pytest
import torch

from alzgan.data import features as data_features
from alzgan.device.pixels import middle
from alzgan.evaluation.fidelity import METRICS, values_of
from alzgan.evaluation.reference import Images, OncePerImage
from alzgan.evaluation.spaces import Space, at_hand
from alzgan.evaluation.utility import on_utility
from alzgan.metrics import (
    alpha_precision,
    authenticity,
    beta_recall,
    density_coverage,
    frechet,
    kernel_distance,
    membership_auc,
    mind,
    precision_recall,
    train_test_distance,
    vendi,
)
from alzgan.metrics.features import PixelFeatures
from alzgan.metrics.lite import is_installed
from alzgan.metrics.memorisation import (
    AUTHENTICITY,
    MEMBERSHIP_AUC,
    TRAIN_TEST_DISTANCE,
    Nearness,
    control,
    person_medians,
    shares_above,
    train_test,
    train_test_of_halves,
)
from alzgan.metrics.record import HELD_OUT
from alzgan.metrics.resampling import one_of_each, resampled
from alzgan.metrics.sets import Features, Pair


def features(seed: int, scale: float, people: int | None = 10) -> Features:
    """Sixty features of ten people, or of nobody known."""
    noise = torch.Generator().manual_seed(seed)
    values = scale * torch.randn(60, 5, generator=noise).double() + seed / 5
    who = None if people is None else np.arange(60) % people
    return Features(values, who, PixelFeatures())


@pytest.mark.parametrize("people", [10, None])
def test_a_pair_is_judged_as_by_the_public_functions_from_either_side(people: int | None):
    real, fake = features(0, 1.0), features(1, 0.6, people)
    pair = Pair(real, fake)
    for judged, one, two in ((pair, real, fake), (pair.turned(), fake, real)):
        sides = one.values, two.values
        expected = {
            "frechet": frechet(*sides),
            "mind": mind(*sides),
            "vendi": vendi(two.values),
            "kernel_distance": kernel_distance(*sides, one.people, two.people),
            **precision_recall(*sides, 5, one.people, two.people)._asdict(),
            **density_coverage(*sides, 5, one.people)._asdict(),
            "alpha_precision": alpha_precision(*sides),
            "beta_recall": beta_recall(*sides, one.people),
        }
        found = {metric.name: value for (metric, _), value in values_of(METRICS, judged, HELD_OUT).items()}
        assert found == pytest.approx(expected, rel=1e-9)
        assert found["recall"] != found["precision"]


def test_what_is_said_of_memorisation_is_what_the_public_functions_say():
    samples, unseen, train = features(0, 0.8, None), features(1, 1.0), features(2, 1.0)
    near = Nearness(samples, unseen, train, seed=0)
    found = {
        metric.name: metric.compute(near) for metric in (AUTHENTICITY, TRAIN_TEST_DISTANCE, MEMBERSHIP_AUC)
    }
    assert found["authenticity"][0] == authenticity(train.values, samples.values, train.people)
    members = person_medians(torch.cdist(train.values, samples.values).min(1).values, train.people)
    others = person_medians(torch.cdist(unseen.values, samples.values).min(1).values, unseen.people)
    assert found["membership_auc"][0] == pytest.approx(membership_auc(members, others))
    assert np.mean(found["membership_auc"][1]) == pytest.approx(0.5, abs=0.1)
    assert np.mean(found["train_test_distance"][1]) == pytest.approx(0, abs=0.3)


def test_people_drawn_with_replacement_bring_all_their_images():
    people = np.array(["a", "b", "b", "c"])
    draws = resampled(people, 4, seed=0)
    for rows in draws:
        drawn = people[rows.numpy()]
        assert list(drawn).count("b") % 2 == 0
        assert len({"a", "b", "c"} - set(drawn)) < 3
    assert {len(rows) for rows in draws} == {3, 4, 5, 6}


def test_people_drawn_anew_make_the_threshold_for_others_drawn_anew():
    # Ten people of ten images: all of one person's are above all others.
    similarity = torch.cat([torch.full((10,), 0.9), torch.linspace(0.1, 0.2, 90)])
    people = np.repeat(np.arange(10), 10)
    shares = shares_above(similarity, people, 100, seed=0)
    # Above where it makes no threshold (0.35 of the draws) and is judged (0.65), as often as it is drawn.
    assert np.mean([share >= 0.1 for share in shares]) == pytest.approx(0.35 * 0.65, abs=0.03)
    assert np.mean(shares) == pytest.approx(0.35 * 0.11, abs=0.01)


def test_the_fewer_the_samples_the_more_their_share_above_the_threshold_varies():
    similarity = torch.rand(400, generator=torch.Generator().manual_seed(0))
    people = np.arange(400) // 10
    few, many = (np.std(shares_above(similarity, people, count, seed=0)) for count in (50, 400))
    # Twenty people make the threshold beside 5, or beside 40, who are judged.
    assert few / many > 1.5


def test_a_median_is_not_compared_with_single_images():
    """Some images of each person are far away: single ones are farther than medians, which is no fault."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 30)
    found, naive = [], []
    for seed in range(40):
        spread = [rng.exponential(size=1200) ** 2 for _ in range(2)]
        ours = torch.from_numpy(rng.normal(size=1200) + spread[0])
        theirs = torch.from_numpy(rng.normal(size=40)[people] + spread[1])
        found.append(train_test(ours, None, theirs, people, seed))
        naive.append(train_test_distance(ours, theirs, None, people))
    assert np.mean(found) == pytest.approx(0, abs=0.3)
    assert np.mean(naive) > 0.8
    rows = one_of_each(people, 0, 0)
    assert people[rows].tolist() == list(range(40))
    assert one_of_each(people, 0, 1).tolist() != rows.tolist()


def test_innocent_halves_and_members_find_nothing():
    values = torch.rand(60, generator=torch.Generator().manual_seed(0))
    assert np.mean(train_test_of_halves(values, np.arange(60) // 2, 0)) == pytest.approx(0, abs=0.2)
    assert np.mean(control(values.numpy(), 20, 0)) == pytest.approx(0.5, abs=0.03)


def test_a_space_computes_each_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    space = Space("pixels", tmp_path, torch.device("cpu"))
    pixels = torch.arange(8)[:, None, None, None].mul(20).expand(-1, 1, 32, 32).byte()
    (whole,) = space.sets(Images(pixels))
    monkeypatch.setattr(data_features, "features_of_chunk", lambda *_: pytest.fail("computed again"))
    rows = np.array([6, 1, 1])
    (part,) = space.sets(Images(pixels).of(rows))
    assert torch.equal(part.values, whole.values[rows])


def test_equal_images_are_computed_once_and_keep_their_places():
    sizes = []
    twice = OncePerImage(lambda pixels: sizes.append(len(pixels)) or 2 * pixels.flatten(1).int())
    pixels = torch.arange(6).byte().view(6, 1, 1, 1)
    assert twice(pixels[[4, 1, 1]]).flatten().tolist() == [8, 2, 2]
    assert twice(pixels[[2, 1, 5, 4]]).flatten().tolist() == [4, 2, 10, 8]
    assert sizes == [2, 2]


def test_of_neighbouring_slices_the_middle_one_is_judged():
    pixels = torch.arange(5).byte()[None, :, None, None].expand(2, -1, 4, 4)
    assert middle(pixels).shape == (2, 1, 4, 4)
    assert middle(pixels).unique().tolist() == [2]


def arm(name: str, mean: float, answer: str | None = None) -> dict:
    score = {"mean": mean, "low": mean - 0.05, "high": mean + 0.05}
    difference = {"mean": mean - 0.5, "low": mean - 0.55, "high": mean - 0.45, "p": 0.01, "p_holm": 0.03}
    return {"name": name, "balanced_accuracy": score, "difference": difference, "verdict": answer}


@pytest.mark.parametrize(
    ("answers", "chance", "expected"),
    [
        (("helps", "helps"), 0.5, "good"),
        (("hurts", "hurts"), 0.5, "bad"),
        (("helps", "cannot tell"), 0.5, "cannot tell"),
        (("helps", "helps"), 0.25, "cannot tell"),  # shuffled labels are not at chance
    ],
)
def test_utility_is_answered_where_all_arms_agree_and_the_control_holds(
    answers: tuple[str, str], chance: float, expected: str
):
    arms = [arm(f"real + synthetic {n}", 0.6, answer) for n, answer in zip((0.5, 1), answers, strict=True)]
    arms += [
        arm("synthetic alone", 0.2, "hurts"),
        arm("real, half of the people", 0.5),
        arm("shuffled labels", 0.5),
    ]
    found = on_utility({"arms": arms, "chance": chance, "people": 41, "seeds": 6, "detectable": 0.08})
    assert found["answer"] == expected
    assert ("The control fails" in found["text"]) == (chance != 0.5)


def test_at_most_so_many_images_are_those_of_whole_people_in_their_order():
    images = Images(torch.arange(60).byte().view(60, 1, 1, 1), people=np.arange(60) % 10)
    assert images.at_most(60, 0, "threshold") is images
    some = images.at_most(12, 0, "threshold")
    rows = some.pixels.flatten().numpy()
    assert list(rows) == sorted(rows)
    assert len(set(rows % 10)) == 2
    assert len(rows) == 12
    assert set(images.at_most(12, 1, "threshold").people) != set(some.people)


@pytest.mark.skipif(not is_installed("imagenet-lite2"), reason="needs the extra `features`")
def test_a_second_network_judges_where_the_first_has_trained():
    names = at_hand()
    assert names[-3:] == ["imagenet-lite0", "random-conv", "pixels"]
    assert at_hand({"imagenet-lite0"}) == [*names[:-2], "imagenet-lite2", "random-conv", "pixels"]
    assert at_hand({"resnet50-aaaaaaaa"}) == names
