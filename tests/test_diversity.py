import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from alzgan.metrics import inception_score, vendi


def test_the_vendi_score_counts_the_kinds():
    one, two = torch.eye(3)[:2]
    assert vendi(torch.stack([one, one, two, two])) == pytest.approx(2, abs=1e-9)
    assert vendi(one.repeat(5, 1)) == pytest.approx(1, abs=1e-9)
    assert vendi(torch.eye(7)) == pytest.approx(7, abs=1e-9)


def test_the_vendi_score_is_the_same_from_either_product():
    wide = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)).double()
    # Zeros beside change no similarity, but which product is smaller.
    tall = torch.linalg.qr(wide.T).R.T
    assert tall.shape == (6, 6)
    assert vendi(wide) == pytest.approx(vendi(tall), abs=1e-9)
    assert vendi(wide.repeat(20, 1)) == pytest.approx(vendi(wide), abs=1e-9)


def test_the_inception_score_is_the_one_computed_by_hand():
    sure = torch.eye(4)
    assert inception_score(sure) == pytest.approx(4, abs=1e-9)
    assert inception_score(sure[:1].repeat(9, 1)) == pytest.approx(1, abs=1e-9)
    assert inception_score(torch.full((3, 4), 0.25)) == pytest.approx(1, abs=1e-9)


def test_the_inception_score_agrees_with_torch_fidelity():
    logits = 3 * torch.randn(50, 10, generator=torch.Generator().manual_seed(1))
    peer = isc_features_to_metric(logits, splits=1, shuffle=False)["inception_score_mean"]
    assert inception_score(logits.softmax(1)) == pytest.approx(peer, rel=1e-3)
