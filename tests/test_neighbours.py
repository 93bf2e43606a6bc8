import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from alzgan.metrics import (
    alpha_precision,
    beta_recall,
    density_coverage,
    expected_coverage,
    neighbours,
    precision_recall,
)
from alzgan.metrics.neighbours import Neighbours, distances, radii_of, radius
from alzgan.metrics.sets import Features


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


REAL, FAKE = column(0, 1, 2, 10), column(0.5, 1.5, 20)


def test_all_four_are_the_ones_computed_by_hand():
    # Radii of the real ones 1, 1, 1, 8; of the fake ones 1, 1, 18.5. The fake 20 is 10 from the real 10.
    assert precision_recall(REAL, FAKE, k=1) == pytest.approx((2 / 3, 1))
    assert density_coverage(REAL, FAKE, k=1) == pytest.approx((4 / 3, 3 / 4))


def test_radii_reach_to_other_people():
    # Two people with two slices each: the nearest other person's slice, not the nearest slice.
    features, people = column(0, 0.1, 5, 5.3), ["a", "a", "b", "b"]
    assert radius(Features(features), 1).tolist() == pytest.approx([0.1, 0.1, 0.3, 0.3], abs=1e-6)
    assert radius(Features(features, people), 1).tolist() == pytest.approx([5, 4.9, 4.9, 5.2], abs=1e-6)
    assert radius(Features(features, people), 2).tolist() == pytest.approx([5.3, 5.2, 5, 5.3], abs=1e-6)


@pytest.mark.parametrize("reach", [1, 6, 64])
@pytest.mark.parametrize("people", [None, np.arange(70) // 3])
def test_radii_in_a_part_are_those_of_a_set_of_its_own(monkeypatch, people, reach: int):
    # Whether the k-th neighbour is among the nearest ones of the whole set, or is searched for.
    monkeypatch.setattr(neighbours, "REACH", reach)
    features = torch.randn(70, 5, generator=torch.Generator().manual_seed(0))
    rows = np.array([69, 40, *range(20)])
    alone = Features(features[rows], None if people is None else people[rows])
    for k in (1, 5):
        torch.testing.assert_close(
            radius(Features(features, people).of(rows), k), radius(alone, k), rtol=1e-9, atol=1e-9
        )


def test_people_are_wanted_beyond_the_radius_in_a_part():
    whole = Features(column(0, 1, 2, 3, 4, 5), ["a", "a", "b", "b", "c", "c"])
    assert radius(whole.of(np.arange(4)), 2).tolist() == [3, 2, 2, 3]
    with pytest.raises(ValueError, match="neighbour 3, but a feature has 2 others"):
        radius(whole.of(np.arange(4)), 3)


@pytest.mark.parametrize("people", [None, np.arange(70) // 3])
def test_a_part_of_all_distances_at_a_time_tells_the_same(monkeypatch, people):
    monkeypatch.setattr(neighbours, "DISTANCE_BLOCK", 16)
    one, two = (torch.randn(count, 5, generator=torch.Generator().manual_seed(count)) for count in (50, 70))
    rows = torch.tensor([69, 3, 40, *range(20)])
    found, between = Neighbours.of(one, two), distances(one, two)
    assert torch.equal(found.index, between.argmin(1))
    for part, whole in (
        (found.forward, between.min(1).values),
        (found.backward, between.min(0).values),
        (radii_of(rows, two, people), radius(Features(two, people), 1)[rows]),
    ):
        # A product's kernel, and with it the last bits, depends on the processor and on the product's size.
        torch.testing.assert_close(part, whole, rtol=1e-9, atol=1e-9)


def test_people_are_wanted_beyond_the_radius():
    with pytest.raises(ValueError, match="neighbour 3, but a feature has 2 others"):
        radius(Features(column(0, 1, 2, 3), ["a", "a", "b", "b"]), 3)


def test_real_people_get_their_precision_back_where_radii_reach_across_people():
    """What the field's numbers say of a perfect generator, and what is true."""
    rng = np.random.default_rng(0)

    def people(count: int) -> torch.Tensor:
        centres = rng.normal(size=(count, 1, 2))
        return torch.from_numpy((centres + 0.02 * rng.normal(size=(count, 20, 2))).reshape(-1, 2))

    who = np.repeat(np.arange(40), 20)
    real, fake = people(40), people(40)
    assert precision_recall(real, fake).precision < 0.3
    assert precision_recall(real, fake, 5, who, who).precision > 0.8


def test_precision_and_recall_agree_with_torch_fidelity():
    noise = torch.Generator().manual_seed(0)
    real, fake = torch.randn(80, 5, generator=noise), 1.3 * torch.randn(70, 5, generator=noise)
    peer = prc_features_to_metric(fake, real, prc_neighborhood=3, verbose=False)
    found = precision_recall(real, fake, 3)
    assert found.precision == pytest.approx(peer["precision"], rel=1e-3)
    assert found.recall == pytest.approx(peer["recall"], rel=1e-3)
    assert found.precision < found.recall - 0.1  # so that a swap would be seen


def test_the_coverage_of_one_law_is_the_one_computed_by_hand():
    assert expected_coverage(500, 500, 5) == pytest.approx(0.969, abs=5e-4)
    assert expected_coverage(2, 1, 1) == pytest.approx(0.5)
    noise = torch.Generator().manual_seed(1)
    found = [
        density_coverage(*(torch.rand(100, 2, generator=noise) for _ in range(2)), k=3).coverage
        for _ in range(100)
    ]
    assert np.mean(found) == pytest.approx(expected_coverage(100, 100, 3), abs=0.02)


def test_alpha_precision_is_1_for_one_law_and_low_for_outliers_and_for_one_repeated_image():
    noise = torch.Generator().manual_seed(2)
    real, same = (torch.randn(1000, 4, generator=noise) for _ in range(2))
    assert alpha_precision(real, same) > 0.95
    # All outside of every ball but the last, or all within every ball but the first.
    assert alpha_precision(real, same + 100) == pytest.approx(0, abs=0.01)
    assert alpha_precision(real, real.mean(0).repeat(100, 1)) == pytest.approx(0, abs=0.1)


def test_beta_recall_falls_where_part_of_the_real_ones_is_not_covered():
    noise = torch.Generator().manual_seed(3)
    real, same = (torch.randn(400, 2, generator=noise) for _ in range(2))
    half = same[same[:, 0] > 0]
    assert beta_recall(real, same) > beta_recall(real, half) + 0.2
    assert beta_recall(real, same[:1].repeat(400, 1)) < 0.05
