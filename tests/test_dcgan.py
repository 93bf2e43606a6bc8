import pytest
import torch
from torch import nn

from alzgan.networks.dcgan import Discriminator, Generator
from alzgan.networks.layers import stage_widths


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_default_networks_have_the_known_parameter_counts():
    assert parameters(Generator()) == 3_576_704
    assert parameters(Discriminator()) == 2_765_568


def test_widths_double_with_each_halving_of_the_map():
    assert stage_widths(64, 64) == [512, 256, 128, 64]
    assert stage_widths(32, 8) == [32, 16, 8]
    assert stage_widths(256, 4) == [128, 64, 32, 16, 8, 4]


@pytest.mark.parametrize("image_size", [32, 64, 128, 256])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_images_and_logits_have_the_contracted_shapes(image_size: int, channels: int):
    images = Generator(7, image_size, channels, width=2)(torch.randn(2, 7))
    assert images.shape == (2, channels, image_size, image_size)
    assert -1 <= images.min() < images.max() <= 1
    assert Discriminator(image_size, channels, width=2)(images).shape == (2,)


@pytest.mark.parametrize("image_size", [0, 16, 48, 65, 512])
def test_other_sizes_are_refused(image_size: int):
    with pytest.raises(ValueError, match="32, 64, 128, 256"):
        Generator(image_size=image_size)
    with pytest.raises(ValueError, match="32, 64, 128, 256"):
        Discriminator(image_size=image_size)


@pytest.mark.parametrize("network", [Generator, Discriminator])
def test_weights_are_drawn_as_in_the_paper(network: type[nn.Module]):
    torch.manual_seed(0)
    for module in network():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            assert module.bias is None
            assert module.weight.mean().item() == pytest.approx(0, abs=2e-3)
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=8e-3)
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.3)
            assert not module.bias.any()


def test_batch_norm_is_absent_from_image_and_logit():
    normalized = [m.num_features for m in Discriminator() if isinstance(m, nn.BatchNorm2d)]
    assert normalized == [128, 256, 512]
    assert [m.num_features for m in Generator() if isinstance(m, nn.BatchNorm2d)] == [512, 256, 128, 64]
