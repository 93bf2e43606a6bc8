import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from alzgan.metrics import at_infinity, distances, frechet, kernel_distance, mind
from alzgan.metrics.distances import (
    kernel,
    kernel_distance_of,
    mean_kernel,
    mean_kernel_in,
    moments,
    redrawn_kernel_distance,
)
from alzgan.metrics.resampling import Redraws
from alzgan.metrics.sets import Features, Pair


class AsTheyAre(torch.nn.Module):
    """Features that are given as images."""

    num_features = 12

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def test_the_frechet_distance_is_the_one_computed_by_hand():
    # Means 1 and 5, variances 2 and 8 (ddof 1): 16 + 2 + 8 - 2 * 4.
    assert frechet(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [7.0]])) == pytest.approx(18, abs=1e-9)


@pytest.mark.parametrize("count", [8, 300])
def test_the_frechet_distance_agrees_with_torchmetrics(count: int):
    noise = torch.Generator().manual_seed(count)
    real = torch.randn(count, 12, generator=noise) @ torch.randn(12, 12, generator=noise)
    fake = torch.randn(count + 5, 12, generator=noise) @ torch.randn(12, 12, generator=noise) + 0.5
    metric = FrechetInceptionDistance(AsTheyAre(), input_img_size=(12,))
    metric.update(real, real=True)
    metric.update(fake, real=False)
    assert frechet(real, fake) == pytest.approx(metric.compute().item(), rel=1e-3)


def test_a_set_is_at_no_distance_from_itself():
    features = torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
    assert frechet(features, features) == pytest.approx(0, abs=1e-6)


def test_whole_numbers_as_weights_are_repeated_rows():
    features = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    counts = torch.tensor([1, 2, 3, 1])
    found, expected = moments(features, counts), features.repeat_interleave(counts, 0)
    torch.testing.assert_close(found.mean, expected.mean(0), rtol=0, atol=1e-12)
    # The unbiased covariance of weights is not that of counts: 1 - sum of squared shares, not 1 - 1 / N.
    share = counts.double() / counts.sum()
    scale = (1 - 1 / 7) / (1 - share.square().sum())
    torch.testing.assert_close(found.covariance, torch.cov(expected.T) * scale, rtol=1e-9, atol=1e-12)


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def sets(count: int, others: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sets of correlated features, one law moved from the other's."""
    noise = torch.Generator().manual_seed(count)
    mixing = torch.randn(12, 12, generator=noise)
    one, two = (torch.randn(number, 12, generator=noise) @ mixing for number in (count, others))
    return one, two + 0.5


def test_the_kernel_distance_is_the_one_computed_by_hand():
    # k = (xy + 1)^3: within {0, 1} 1, within {2, 3} 343, between (1 + 1 + 27 + 64) / 4.
    assert kernel_distance(column(0, 1), column(0, 1)) == pytest.approx(-3.5, abs=1e-12)
    assert kernel_distance(column(0, 1), column(2, 3)) == pytest.approx(297.5, abs=1e-12)


def test_the_mean_kernel_is_the_same_in_blocks_and_where_it_is_known(monkeypatch):
    real, fake = sets(50, 40)
    people, weights = np.arange(50) // 3, torch.arange(1.0, 51)
    whole = mean_kernel(real, people, weights)
    pairs = (weights[:, None] * weights * torch.from_numpy(people[:, None] != people)).double()
    products = (real.double() @ real.double().T / 12 + 1) ** 3
    assert whole == pytest.approx(float((pairs * products).sum() / pairs.sum()), rel=1e-12)
    monkeypatch.setattr(distances, "KERNEL_BLOCK", 7)
    assert mean_kernel(real, people, weights) == pytest.approx(whole, rel=1e-12)
    wanted = kernel_distance(real, fake, people, real_weights=weights)
    assert kernel_distance(real, fake, real_weights=weights, real_kernel=whole) == pytest.approx(
        wanted, rel=1e-9
    )


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_the_kernel_distance_agrees_with_torch_fidelity_and_torchmetrics():
    real, fake = sets(60, 60)
    peer = kid_features_to_metric(real, fake, kid_subsets=1, kid_subset_size=60, verbose=False)
    assert kernel_distance(real, fake) == pytest.approx(peer["kernel_inception_distance_mean"], rel=1e-3)
    metric = KernelInceptionDistance(AsTheyAre(), subsets=1, subset_size=60)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    assert kernel_distance(real, fake) == pytest.approx(metric.compute()[0].item(), rel=1e-3)


def test_the_kernel_distance_does_not_depend_on_the_number_of_features_and_frechet_does():
    noise = torch.Generator().manual_seed(3)
    small, large = ([torch.randn(n, 4, generator=noise) for _ in range(2)] for n in (50, 2000))
    assert frechet(*small) > 5 * frechet(*large)
    many = [torch.randn(50, 4, generator=noise) for _ in range(200)]
    mean = sum(kernel_distance(one, two) for one, two in zip(many[::2], many[1::2], strict=True)) / 100
    assert mean == pytest.approx(0, abs=0.1)  # of a deviation of 0.5 each


def test_mind_is_the_one_computed_by_hand():
    # In one dimension the only directions are 1 and -1: 3 * (3^2 + 5^2) / 2.
    assert mind(column(0, 2), column(3, 7)) == pytest.approx(51, abs=1e-9)


def test_mind_is_the_squared_distance_between_points_times_three():
    # One point each: the mean squared projection of a vector is its squared length over F.
    one, two = torch.zeros(1, 5), torch.tensor([[3.0, 4.0, 0.0, 0.0, 0.0]])
    assert mind(one, two, directions=20_000) == pytest.approx(3 * 25, rel=0.02)


def test_mind_wants_sets_of_one_size():
    with pytest.raises(ValueError, match="2 and 3 features"):
        mind(column(0, 1), column(0, 1, 2))


def test_what_falls_with_the_number_is_followed_to_infinity():
    counts = [250, 500, 1000]
    assert at_infinity(counts, [2 + 300 / n for n in counts]) == pytest.approx(2, abs=1e-9)


def test_whole_numbers_as_weights_of_the_kernel_distance_are_what_pairs_of_two_draws_are():
    real, fake = sets(5, 7)
    weights = torch.tensor([1.0, 2, 1, 3, 1])
    share = weights.double() / weights.sum()
    k = (real.double() @ real.double().T / 12 + 1) ** 3
    within = sum(share[i] * share[j] * k[i, j] for i in range(5) for j in range(5) if i != j)
    within = within / (1 - share.square().sum())
    cross = (share @ (real.double() @ fake.double().T / 12 + 1) ** 3).mean()
    expected = float(within - 2 * cross) + mean_kernel(fake)
    assert kernel_distance(real, fake, real_weights=weights) == pytest.approx(expected, rel=1e-9)


def test_slices_of_one_person_are_no_pair():
    # Two people with two like slices each: only pairs of both people count, 1 in place of (1 + 2 * 8 ...).
    features, people = column(0, 0, 1, 1), ["a", "a", "b", "b"]
    assert mean_kernel(features, people) == pytest.approx(1)
    assert mean_kernel(features) == pytest.approx((4 * 2 * 1 + 2 * 1 + 2 * 8) / 12)


def test_the_kernel_distance_of_people_is_0_on_average_where_the_plain_one_is_not():
    rng = np.random.default_rng(0)

    def people() -> torch.Tensor:
        return torch.from_numpy(
            (rng.normal(size=(10, 1, 4)) + 0.1 * rng.normal(size=(10, 8, 4))).reshape(-1, 4)
        )

    who = np.repeat(np.arange(10), 8)
    draws = [(people(), people()) for _ in range(300)]
    plain = np.mean([kernel_distance(*draw) for draw in draws])
    across = np.array([kernel_distance(*draw, who, who) for draw in draws])
    assert across.mean() == pytest.approx(0, abs=3 * across.std() / 300**0.5)
    assert plain > 10 * across.std() / 300**0.5


@pytest.mark.parametrize("named", [True, False])
def test_a_part_of_a_set_is_judged_as_if_it_were_a_set_of_its_own(named: bool):
    table = torch.from_numpy(np.random.default_rng(3).normal(size=(60, 8)))
    who = np.repeat(np.arange(15), 4) if named else None
    rows = np.flatnonzero(np.isin(np.repeat(np.arange(15), 4), [1, 2, 5, 9, 12]))
    people = who[rows] if named else None
    part = Features(table, who).of(rows)
    # Sums of other orders: the last digits differ.
    assert mean_kernel_in(part) == pytest.approx(mean_kernel(table[rows], people), rel=1e-12)
    (pair,) = Pair(Features(table + 0.3), Features(table, who)).with_each([rows])
    expected = kernel_distance(table + 0.3, table[rows], None, people)
    assert kernel_distance_of(pair) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("whole", [True, False], ids=["people are drawn", "images are drawn"])
def test_the_kernel_distance_of_redrawn_people_pairs_no_image_with_its_own_person(named: bool, whole: bool):
    noise = np.random.default_rng(4)
    real, fake = torch.from_numpy(noise.normal(size=(20, 3))), torch.from_numpy(noise.normal(size=(18, 3)))
    who = np.arange(18) // 3
    pair = Pair(Features(real), Features(fake, who if named else None))
    unit = who if whole else np.arange(18)
    draws = Redraws(unit, 6, 0)
    between, crossed = kernel(fake, fake).numpy(), kernel(fake, real).mean(1).numpy()
    apart = who[:, None] != who if named else ~np.eye(18, dtype=bool)
    found = redrawn_kernel_distance(pair, draws)
    for counts, value in list(zip(draws.counts.numpy(), found, strict=True))[:20]:
        often = counts[unit]
        # Copies of one person (or image) are not paired with each other, so its own pairs count once a copy.
        times = np.where(unit[:, None] == unit, often[:, None], often[:, None] * often) * apart
        within = (times * between).sum() / times.sum()
        expected = mean_kernel(real) + within - 2 * (often @ crossed) / often.sum()
        assert value == pytest.approx(expected, rel=1e-9)
