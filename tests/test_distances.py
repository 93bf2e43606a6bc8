import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from alzgan.metrics.distances import frechet, moments


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
