import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alzgan.metrics import authenticity, copies, membership_auc, train_test_distance
from alzgan.metrics.memorisation import control, person_medians, share_at_most, train_test_of_halves
from alzgan.metrics.resampling import halves, permutations


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def textures(count: int, seed: int) -> torch.Tensor:
    """Smooth random grey images (N, 1, 32, 32) in a black frame."""
    noise = torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    large = F.interpolate(noise, 24, mode="bicubic")
    return F.pad((90 + 40 * large).clamp(0, 255).round(), [4] * 4).byte()


@pytest.mark.slow
def test_what_copies_have_been_through_does_not_hide_them():
    train, unseen = textures(60, 0), textures(60, 1)
    blurred = F.avg_pool2d(train.float(), 3, 1, 1).round().byte()
    rng = np.random.default_rng(0)
    noisy = (train.float() + torch.from_numpy(rng.normal(0, 10, train.shape))).clamp(0, 255).byte()
    for copied in (train, train.flip(3), train.roll((3, -2), (2, 3)), blurred, noisy):
        found = copies(copied, train, unseen)
        assert found.above >= 59
        assert (found.nearest.index == torch.arange(60)).float().mean() > 0.98
    assert found.threshold < 0.95


@pytest.mark.slow
def test_unseen_images_are_no_copies_and_one_copy_among_them_is_found():
    train, unseen, others = textures(60, 0), textures(200, 1), textures(200, 2)
    innocent = copies(others, train, unseen)
    assert innocent.above <= 8  # 1 in 100 of them exceeds the threshold of 200 others
    assert innocent.certain_count == 0
    others[17] = train[5].roll(2, 2)
    found = copies(others, train, unseen)
    assert found.certain_count == 1
    assert int(found.nearest.similarity.argmax()) == 17
    assert int(found.nearest.index[17]) == 5


def test_no_copy_in_2000_bounds_the_share():
    assert share_at_most(0, 2000) == pytest.approx(0.0015, abs=5e-6)
    assert share_at_most(2000, 2000) == 1
    # The bound is the share at which so few are a matter of 5 %: sum of two terms of the binomial.
    p = share_at_most(1, 10)
    assert (1 - p) ** 10 + 10 * p * (1 - p) ** 9 == pytest.approx(0.05, abs=1e-9)


def test_authenticity_is_the_one_computed_by_hand():
    train = column(0, 1, 10)
    assert authenticity(train, column(0.4)) == 0  # 0.4 from 0, which is 1 from its nearest other
    assert authenticity(train, column(5)) == 1  # 4 from 1, which is 1 from 0
    assert authenticity(train, column(0.4, 5)) == 0.5
    assert authenticity(train, column(7)) == 0  # 3 from 10, which is 9 from its nearest other
    # Both near ones are one person's: the other person's is 9 away.
    assert authenticity(train, column(5), ["a", "a", "b"]) == 0


def test_the_statistic_of_copying_is_the_one_computed_by_hand():
    # Of 9 pairs all 9 have the fake one nearer: U = 0, mean 4.5, variance 9 * 7 / 12.
    near, far = torch.tensor([1.0, 2, 3]), torch.tensor([4.0, 5, 6])
    assert train_test_distance(near, far) == pytest.approx(-4.5 / (63 / 12) ** 0.5)
    assert train_test_distance(far, near) == pytest.approx(4.5 / (63 / 12) ** 0.5)
    people = ["a", "a", "b", "c"]
    assert person_medians(torch.tensor([1.0, 3, 9, 4]), people).tolist() == [2, 9, 4]


def test_people_as_units_keep_innocent_samples_innocent():
    """Counted by image a third of innocent sets are beyond 1.96; counted by person 5 %."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(30), 20)

    def distances() -> torch.Tensor:
        return torch.from_numpy((rng.normal(size=(30, 1)) + 0.3 * rng.normal(size=(30, 20))).ravel())

    draws = [(distances(), distances()) for _ in range(200)]
    by_image = np.array([train_test_distance(*draw) for draw in draws])
    by_person = np.array([train_test_distance(*draw, who, who) for draw in draws])
    assert (abs(by_image) > 1.96).mean() > 0.3
    assert 0.005 < (abs(by_person) > 1.96).mean() < 0.12
    assert by_person.std() == pytest.approx(1, abs=0.15)


def test_an_attack_on_what_was_not_memorised_finds_nothing():
    assert membership_auc(np.array([1.0, 2]), np.array([3.0, 4])) == 1
    assert membership_auc(np.array([3.0, 4]), np.array([1.0, 2])) == 0
    assert membership_auc(np.array([1.0, 2]), np.array([1.0, 2])) == 0.5


def test_the_control_is_the_attack_between_members_and_halves_are_compared_one_by_one():
    members = np.random.default_rng(0).normal(size=12) ** 3
    orders = permutations(12, 0, "evaluate/control")[:20]
    expected = [membership_auc(members[order[5:]], members[order[:5]]) for order in orders]
    assert control(members, 5, 0)[:20] == pytest.approx(expected)
    found = train_test_of_halves(torch.from_numpy(members), None, 0)
    ones, twos = (torch.from_numpy(side) for side in halves(members, 0))
    assert found == pytest.approx([train_test_distance(*pair) for pair in zip(ones, twos, strict=True)])
