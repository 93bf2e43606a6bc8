import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from conftest import settings
from test_game import SMALL_MODEL, play
from torch import Tensor, nn

from alzgan.errors import SettingError
from alzgan.networks.dcgan import Discriminator
from alzgan.parts import judge
from alzgan.penalties import R1, R2, GradientPenalty, LeCam, Mismatch, Penalty, Seen, squared_gradient
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


def test_mismatch_compares_an_image_with_its_own_label_and_with_the_next_images():
    images = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1)

    def judge(images: Tensor, labels: Tensor) -> Seen:
        return Seen(images, labels, images.flatten() * labels)

    real = judge(images, torch.tensor([0.5, 2.0, -1.0]))  # logits 0.5, 4, -3; with the next labels 2, -2, 1.5
    expected = sum(math.log1p(math.exp(each)) for each in (2 - 0.5, -2 - 4, 1.5 + 3)) / 3
    assert Mismatch(1.0)(judge, real, None).item() == pytest.approx(expected)


def test_mismatch_is_of_images_that_are_judged_with_their_label_alone():
    """Whether a label is known stays with its image; other images cost log 2 and teach nothing."""
    torch.manual_seed(0)
    network = Discriminator(32, 1, 4, "none", numbers=1)
    nn.init.normal_(network[-1].waves.weight)
    images, known = torch.rand(3, 1, 32, 32), torch.tensor([1.0, 0.0, 0.0])
    labels = torch.stack([torch.zeros(3), torch.tensor([-0.5, 0.2, 0.9]), known], 1)
    value = Mismatch(1.0, numbers=1)(partial(judge, network), judge(network, images, labels), None)
    others = torch.tensor([[0.0, 0.2, 1.0]])
    rise = network(images[:1], others) - network(images[:1], labels[:1])
    assert rise.abs() > 1e-3
    assert value.item() == pytest.approx((F.softplus(rise).item() + 2 * math.log(2)) / 3)
    value.backward()
    of_all = network[-1].waves.weight.grad.clone()
    network.zero_grad()
    (F.softplus(network(images[:1], others) - network(images[:1], labels[:1])).mean() / 3).backward()
    torch.testing.assert_close(of_all, network[-1].waves.weight.grad)


def test_mismatch_teaches_a_discriminator_what_a_label_asks_for():
    """Images whose grey is their label's number: the discriminator learns to prefer the right number."""
    torch.manual_seed(0)
    network = Discriminator(32, 1, 4, "none", numbers=1)
    grey = torch.linspace(-1, 1, 16)
    images, labels = grey.view(-1, 1, 1, 1).expand(-1, 1, 32, 32).clone(), torch.stack([0 * grey, grey], 1)
    penalty, optimizer = Mismatch(1.0, numbers=1), torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        losses.append(penalty(partial(judge, network), judge(network, images, labels), None))
        losses[-1].backward()
        optimizer.step()
    assert losses[0].item() == pytest.approx(math.log(2), abs=0.02)
    assert losses[-1] < 0.5 * losses[0]
    opposite = labels * torch.tensor([1.0, -1.0])
    preferred = network(images, labels) > network(images, opposite)
    assert preferred[[0, 1, 2, -3, -2, -1]].all()


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
