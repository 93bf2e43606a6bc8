import math

import pytest
import torch
import torch.nn.functional as F

from alzgan.losses import NonSaturatingLoss

REAL, FAKE = torch.tensor([2.0, -1.0, 40.0]), torch.tensor([0.5, -3.0, 60.0])


def test_losses_are_the_cross_entropies_of_the_probabilities():
    loss = NonSaturatingLoss()
    expected = F.binary_cross_entropy_with_logits(REAL, torch.ones(3))
    expected += F.binary_cross_entropy_with_logits(FAKE, torch.zeros(3))
    torch.testing.assert_close(loss.discriminator(REAL, FAKE), expected)
    expected = F.binary_cross_entropy_with_logits(FAKE, torch.ones(3))
    torch.testing.assert_close(loss.generator(FAKE, REAL), expected)


def test_an_undecided_discriminator_costs_log_two_a_question():
    zeros = torch.zeros(4)
    assert NonSaturatingLoss().discriminator(zeros, zeros).item() == pytest.approx(2 * math.log(2))
    assert NonSaturatingLoss().generator(zeros, zeros).item() == pytest.approx(math.log(2))


def test_the_generator_still_learns_where_the_discriminator_is_sure():
    fake = torch.tensor([-30.0], requires_grad=True)
    NonSaturatingLoss().generator(fake, REAL).backward()
    assert fake.grad.item() == pytest.approx(-1)
