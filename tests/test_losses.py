from math import exp, log

import pytest
import torch

from alzgan.losses import (
    HingeLoss,
    LeastSquaresLoss,
    NonSaturatingLoss,
    RelativisticLoss,
    WassersteinLoss,
)

REAL, FAKE = torch.tensor([0.5, 2.0]), torch.tensor([-1.5, 0.25])


def softplus(x: float) -> float:
    return log(1 + exp(x))


def never():
    raise AssertionError("only relativistic losses ask for the real logits")


@pytest.mark.parametrize(
    ("loss", "discriminator", "generator"),
    [
        (
            NonSaturatingLoss(),
            (softplus(-0.5) + softplus(-2.0)) / 2 + (softplus(-1.5) + softplus(0.25)) / 2,
            (softplus(1.5) + softplus(-0.25)) / 2,
        ),
        # relu(1 - D(x)): 0.5 and 0; relu(1 + D(G(z))): 0 and 1.25.
        (HingeLoss(), 0.25 + 0.625, (1.5 - 0.25) / 2),
        # (D(x) - 1)^2: 0.25 and 1; D(G(z))^2: 2.25 and 0.0625; (D(G(z)) - 1)^2: 6.25 and 0.5625.
        (LeastSquaresLoss(), (0.625 + 1.15625) / 2, (6.25 + 0.5625) / 4),
        (WassersteinLoss(), -0.625 - 1.25, 0.625),
        (
            RelativisticLoss(),
            (softplus(-1.5 - 0.5) + softplus(0.25 - 2.0)) / 2,
            (softplus(0.5 + 1.5) + softplus(2.0 - 0.25)) / 2,
        ),
    ],
)
def test_both_players_losses_are_those_computed_by_hand(loss, discriminator: float, generator: float):
    assert loss.discriminator(REAL, FAKE).item() == pytest.approx(discriminator, rel=1e-6)
    real = (lambda: REAL) if isinstance(loss, RelativisticLoss) else never
    assert loss.generator(FAKE, real).item() == pytest.approx(generator, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "discriminator", "generator"),
    [(NonSaturatingLoss(), 2 * log(2), log(2)), (HingeLoss(), 2, 0), (RelativisticLoss(), log(2), log(2))],
)
def test_a_discriminator_that_cannot_tell_loses_as_much_as_is_said(loss, discriminator, generator):
    nothing = torch.zeros(3)
    assert loss.discriminator(nothing, nothing).item() == pytest.approx(discriminator)
    assert loss.generator(nothing, lambda: nothing).item() == pytest.approx(generator)


def test_large_logits_overflow_nowhere():
    large = torch.tensor([1e4, -1e4])
    for loss in (NonSaturatingLoss(), HingeLoss(), RelativisticLoss()):
        assert loss.discriminator(large, -large).isfinite()
        assert loss.generator(large, lambda: -large).isfinite()


def test_a_loss_says_how_its_logits_read():
    logits = torch.tensor([0.0, log(3)])
    assert NonSaturatingLoss().read(logits).tolist() == pytest.approx([0.5, 0.75])
    assert NonSaturatingLoss.reading == "probability"
    for loss in (HingeLoss(), RelativisticLoss()):
        assert torch.equal(loss.read(logits), logits)
        assert loss.reading == "score"


@pytest.mark.parametrize(
    ("loss", "real", "expected"),
    [
        (NonSaturatingLoss(), [2.0, -1.0], [1, -1]),
        (HingeLoss(), [0.2, -0.2], [1, -1]),
        (LeastSquaresLoss(), [0.6, 0.4], [1, -1]),
        (WassersteinLoss(), [8.5, 7.5], [1, -1]),  # the mean fake logit is 8
        (RelativisticLoss(), [6.0, 8.0], [1, -1]),  # each beside its own
    ],
)
def test_signs_say_which_real_images_are_told_to_be_real(loss, real: list[float], expected: list[int]):
    assert loss.signs(torch.tensor(real), torch.tensor([5.0, 11.0])).tolist() == expected
