import pytest
import torch
from torch import nn

from alzgan.errors import SettingError
from alzgan.networks.residual import Block, Discriminator, Generator, stage_channels


@pytest.mark.parametrize("group", [0, 16])
@pytest.mark.parametrize(("image_size", "channels"), [(32, 1), (64, 3), (128, 5)])
def test_shapes_are_those_asked_for(image_size: int, channels: int, group: int):
    torch.manual_seed(0)
    generator = Generator(7, image_size, channels, 8, group, classes=3)
    discriminator = Discriminator(image_size, channels, 8, group, classes=3)
    labels = torch.tensor([0, 1])
    images = generator(torch.randn(2, 7), labels)
    assert images.shape == (2, channels, image_size, image_size)
    assert images.abs().max() <= 1
    assert discriminator(images, labels).shape == (2,)


def test_stages_are_at_most_eight_times_the_width():
    assert stage_channels(64, 16) == [128, 128, 64, 32, 16]
    assert stage_channels(256, 16) == [128, 128, 128, 128, 64, 32, 16]


@pytest.mark.parametrize("group", [0, 16])
def test_a_block_changes_nothing_at_first_and_learns(group: int):
    block, maps = Block(16, 4, group), torch.randn(2, 16, 8, 8)
    assert torch.equal(block(maps), maps)
    last = [m for m in block.modules() if isinstance(m, nn.Conv2d)][-1]
    block(maps).square().sum().backward()
    assert last.weight.grad.abs().max() > 0


def test_first_weights_have_the_deviation_of_the_paper():
    torch.manual_seed(0)
    first, _ = (m for m in Block(64, blocks=16).modules() if isinstance(m, nn.Conv2d))
    assert first.weight.std().item() == pytest.approx(
        (2 / 1.04) ** 0.5 * 16**-0.5 / (64 * 9) ** 0.5, rel=0.03
    )
    block = Block(64, blocks=16, group=16)
    wide, grouped, _ = (m for m in block.modules() if isinstance(m, nn.Conv2d))
    gain = (2 / 1.04) ** 0.5 * 16**-0.25
    assert wide.weight.std().item() == pytest.approx(gain / 64**0.5, rel=0.03)
    assert grouped.weight.shape == (128, 16, 3, 3)
    assert grouped.weight.std().item() == pytest.approx(gain / (16 * 9) ** 0.5, rel=0.03)


def test_signals_keep_their_size_through_both_networks_at_first():
    torch.manual_seed(0)
    generator, discriminator = Generator(100, 64, 1, 16), Discriminator(64, 1, 16)
    before_tanh = generator.image[:2](generator.stages(torch.randn(64, 128, 4, 4)))
    assert 0.2 < before_tanh.std() < 2
    # The mean of a ball of noise is near 0: so is the logit, whose deviation is the weights'.
    assert 0.02 < discriminator(torch.randn(64, 1, 64, 64)).std() < 2


@pytest.mark.parametrize("group", [0, 16])
def test_the_discriminator_is_differentiable_twice(group: int):
    torch.manual_seed(0)
    discriminator = Discriminator(32, 1, 8, group).double()
    for module in discriminator.modules():  # where the last convolutions are 0 there would be little to see
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0, 0.1)
    images = torch.randn(2, 1, 32, 32, dtype=torch.double, requires_grad=True)
    (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    gradient.square().sum().backward()
    weight, step = discriminator.image.weight, 1e-6
    found = weight.grad[0, 0, 1, 1].item()
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[0, 0, 1, 1] += sign * step
        (gradient,) = torch.autograd.grad(discriminator(images).sum(), images)
        values.append(gradient.square().sum().item())
        with torch.no_grad():
            weight[0, 0, 1, 1] -= sign * step
    assert found == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"image_size": 48}, "image_size=48 must be one of 32, 64, 128, 256"),
        ({"width": 9, "group": 16}, "group=16 must divide twice the width, 18"),
        ({"blocks": 0}, "blocks=0 must be at least 1"),
    ],
)
def test_networks_that_are_none_are_refused(options: dict, told: str):
    for network in (Generator, Discriminator):
        with pytest.raises(SettingError, match=told):
            network(**options)


def test_batch_norm_is_none_of_a_residual_discriminators_choices():
    with pytest.raises(SettingError, match="normalization=batch must be one of none, spectral"):
        Discriminator(normalization="batch")
