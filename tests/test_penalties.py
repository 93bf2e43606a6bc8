from functools import partial

import pytest
import torch
from conftest import settings
from test_game import SMALL_MODEL, play
from torch import Tensor, nn

from alzgan.errors import SettingError
from alzgan.penalties import R1, R2, GradientPenalty, LeCam, Penalty, Seen, squared_gradient
from alzgan.runs.build import build_model


def seen(images: Tensor) -> Seen:
    """By a discriminator whose logit is the sum of the cubes of an image's pixels: the gradient is 3 x^2."""
    images = images.requires_grad_()
    return Seen(images, None, images.pow(3).sum((1, 2, 3)))


REAL = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).repeat(1, 1, 1, 2)  # gradients (3, 3) and (12, 12)
FAKE = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1).repeat(1, 1, 1, 2)  # gradients (3, 3) and (0, 0)


def test_r1_and_r2_are_half_the_squared_gradients_of_their_images():
    real, fake = seen(REAL.clone()), seen(FAKE.clone())
    assert R1(1.0)(None, real, fake).item() == pytest.approx((18 + 288) / 2 / 2)
    assert R2(1.0)(None, real, fake).item() == pytest.approx((18 + 0) / 2 / 2)


def test_the_gradient_penalty_is_of_evenly_spread_mixtures_of_real_and_fake():
    # Shares of real 1/4 and 3/4: pixels 1 and 1.5, gradients (3, 3) and (6.75, 6.75), norms times sqrt(2).
    looked: list[Tensor] = []

    def judge(images: Tensor, labels: Tensor | None) -> Seen:
        looked.append(images)
        return seen(images)

    value = GradientPenalty(10.0)(judge, seen(REAL.clone()), seen(FAKE.clone()))
    assert looked[0][:, 0, 0, 0].tolist() == [1.0, 1.5]
    assert value.item() == pytest.approx(((3 * 2**0.5 - 1) ** 2 + (6.75 * 2**0.5 - 1) ** 2) / 2)


def test_the_gradient_penalty_has_a_gradient_where_the_discriminator_is_flat():
    slope = torch.tensor(0.0, requires_grad=True)

    def judge(images: Tensor, labels: Tensor | None) -> Seen:
        return Seen(images, labels, slope * images.sum((1, 2, 3)))

    GradientPenalty(10.0)(judge, seen(REAL.clone()), seen(FAKE.clone())).backward()
    assert slope.grad.isfinite()


def test_lecam_holds_logits_at_the_other_kinds_anchor():
    penalty = LeCam(0.3)
    penalty.anchors.copy_(torch.tensor([0.5, -0.5]))
    real, fake = (Seen(None, None, torch.tensor(logits)) for logits in ([1.0, 1.0], [-1.0, -1.0]))
    assert penalty(None, real, fake).item() == pytest.approx(4.5)
    # Beyond its anchor a logit costs nothing.
    real, fake = (Seen(None, None, torch.tensor(logits)) for logits in ([-0.6, 0.5], [0.6, 0.3]))
    assert penalty(None, real, fake).item() == pytest.approx((0 + 1) / 2 + (0 + 0.04) / 2)


def test_lecams_anchors_follow_both_kinds_mean_logits():
    penalty = LeCam(0.3, momentum=0.75)
    said = {"logits/real": torch.tensor(4.0), "logits/fake": torch.tensor(-8.0)}
    for expected in ([1.0, -2.0], [1.75, -3.5]):
        penalty.follow(None, said)
        assert penalty.anchors.tolist() == pytest.approx(expected)
    assert "anchors" in penalty.state_dict()


def test_penalties_on_gradients_are_float32_under_bfloat16(recwarn):
    found: list[Tensor] = []
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(0)
        gan = build_model(settings(*SMALL_MODEL, "penalty=r1", "model.discriminator.normalization=none"))
        penalty = gan.penalties["r1"]
        forward = penalty.forward
        penalty.forward = lambda *seen, forward=forward: found.append(forward(*seen)) or found[-1]
        play(gan, [torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))], precision=precision)
    exact, low = found
    assert low.dtype == torch.float32
    assert low.item() == pytest.approx(exact.item(), rel=0.05)
    assert low.item() != exact.item()  # the convolutions were in bfloat16


def test_gradients_of_bfloat16_images_are_squared_in_float32():
    images = torch.full((2, 1, 1, 3), 1.03125, dtype=torch.bfloat16).requires_grad_()
    found = squared_gradient(Seen(images, None, (images * images).float().sum((1, 2, 3))))
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([3 * 2.0625**2] * 2, rel=1e-6)  # 12.76; bfloat16 has 12.75


def test_a_penalty_teaches_the_discriminator():
    # D(x) = w sum(x): the penalty is w^2 * pixels / 2, its derivative w * pixels.
    weight = torch.tensor(3.0, requires_grad=True)
    images = torch.rand(4, 1, 2, 2).requires_grad_()
    value = R1(1.0)(None, Seen(images, None, weight * images.sum((1, 2, 3))), None)
    value.backward()
    assert value.item() == pytest.approx(3.0**2 * 4 / 2)
    assert weight.grad.item() == pytest.approx(3.0 * 4)


class Two(Penalty):
    """Twice the discriminator's first bias: its gradient is 2 there and nowhere else."""

    def __init__(self, weight: float, interval: int, bias: nn.Parameter):
        super().__init__(weight, interval)
        self.bias = [bias]  # not a parameter of its own

    def forward(self, judge, real: Seen, fake: Seen) -> Tensor:
        return 2 * self.bias[0][0]


def bias_gradients(penalized: bool) -> list[float]:
    """Of the discriminator's first bias in each of four steps in which nothing moves."""
    gan = build_model(settings(*SMALL_MODEL, "model.discriminator.normalization=none"))
    gan.optimizer_factories = [partial(torch.optim.SGD, lr=0.0)] * 2
    bias, found = gan.discriminator[0].bias, []
    if penalized:
        gan.penalties["two"] = Two(0.5, 3, bias)
    descend = gan.descend

    def spy(loss, optimizer):
        descend(loss, optimizer)
        if optimizer is gan.trainer.optimizers[0]:
            found.append(bias.grad[0].item())

    gan.descend = spy
    play(gan, [torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(i)) for i in range(4)])
    return found


def test_a_lazy_penalty_counts_interval_times_at_every_interval_th_step(recwarn):
    both = zip(bias_gradients(True), bias_gradients(False), strict=True)
    added = [ours - theirs for ours, theirs in both]
    assert added == pytest.approx([2 * 0.5 * 3, 0, 0, 2 * 0.5 * 3], abs=1e-4)


@pytest.mark.parametrize(("weight", "interval"), [(-1.0, 1), (1.0, 0), (float("nan"), 1)])
def test_a_penalty_that_is_none_is_refused(weight: float, interval: int):
    with pytest.raises(SettingError, match="must be at least"):
        R1(weight, interval)


def test_what_the_discriminator_saw_is_what_is_penalized(recwarn):
    looked: list[Seen] = []

    class Look(Penalty):
        def forward(self, judge, real: Seen, fake: Seen) -> Tensor:
            looked.extend([real, fake, judge(real.images.detach(), real.labels)])
            return real.logits.sum() * 0

    gan = build_model(
        settings(*SMALL_MODEL, "augment=translate_flip", "model.discriminator.normalization=none")
    )
    gan.penalties["look"] = Look(1.0)
    batch = torch.rand(4, 1, 32, 32)
    play(gan, [batch])
    real, fake, again = looked
    assert real.images.requires_grad
    assert fake.images.requires_grad
    assert not torch.equal(real.images, batch)  # augmented
    assert torch.equal(again.logits, real.logits)  # as it was, not augmented once more
