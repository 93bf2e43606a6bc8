"""Feature extractors: uint8 images (N, 1 or 3, H, W) to features (N, F).

The `name` of an extractor stands beside every number computed from it; the name of its `space` chooses it.
One space alone can flatter: samples that were as close as unseen people in random features were many times as
far away in features of a network that was trained on photographs.
"""

import importlib
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alzgan.device.streams import stream
from alzgan.errors import UserError

PIXEL_SIDE = 32  # height and width in the space of pixels
RANDOM_NETWORKS = 3  # their numbers are averaged


class FeatureExtractor(nn.Module):
    """A fixed network, without gradients and always in evaluation mode.

    Attributes:
        name: the name of the network with its version.
        space: the name of the feature space, by which the user chooses it.
        method: a description of the network and of how it resizes images.
        num_features: the number of features F.
    """

    name: str
    space: str
    method: str
    num_features: int

    def train(self, mode: bool = True) -> "FeatureExtractor":
        """Stay in evaluation mode."""
        return super().train(False)

    def probabilities(self, features: Tensor) -> Tensor | None:
        """Class probabilities (N, K) of features (N, F); None if the network has no classes."""
        return None


class RandomConvFeatures(FeatureExtractor):
    """Features of a fixed random convolution network, which needs no weights.

    Random networks separate large differences of texture and contrast. That is enough to see a run improve
    and to rank the runs of one sweep. The numbers cannot be compared with those of other networks.

    Args:
        seed: the seed of the weights.
    """

    space = "random-conv"
    method = "random convolutions, 3 x 3 with stride 2, 32, 64 and 128 channels: mean and deviation of each"
    widths = (32, 64, 128)
    num_features = 2 * sum(widths)

    def __init__(self, seed: int = 0):
        super().__init__()
        self.name = "random-conv-v1" if seed == 0 else f"random-conv-v1, seed {seed}"
        inputs = 3
        for stage, width in enumerate(self.widths):
            draws = stream(seed, "random-conv-v1", stage)
            weight = draws.standard_normal((width, inputs, 3, 3), dtype="float32")
            self.register_buffer(f"weight_{stage}", torch.from_numpy(weight) * (2 / (9 * inputs)) ** 0.5)
            inputs = width

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 448): mean and standard deviation of every channel after every stage."""
        maps = images.expand(-1, 3, -1, -1).float() / 127.5 - 1
        features = []
        for stage in range(len(self.widths)):
            maps = F.leaky_relu(F.conv2d(maps, getattr(self, f"weight_{stage}"), stride=2, padding=1), 0.2)
            features += [maps.mean((2, 3)), maps.std((2, 3))]
        return torch.cat(features, 1)


class PixelFeatures(FeatureExtractor):
    """Grey values, 32 x 32, moved so that their centre of mass is in the middle."""

    name = "pixels-v1"
    space = "pixels"
    method = "grey values averaged to 32 x 32, moved by whole pixels until their centre of mass is central"
    num_features = PIXEL_SIDE**2

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 1024), from 0 to 1."""
        grey = images.float().mean(1) / 255
        moved = torch.stack([centred(image) for image in grey])
        return F.interpolate(moved[:, None], PIXEL_SIDE, mode="area").flatten(1)


def centred(image: Tensor) -> Tensor:
    """An image (H, W), rolled by whole pixels so that its centre of mass is in the middle."""
    shifts = []
    for axis in (0, 1):
        profile = image.sum(1 - axis)
        places = torch.arange(len(profile), device=image.device)
        centre = (profile * places).sum() / profile.sum().clamp(min=1e-9)
        shifts.append(round((len(profile) - 1) / 2 - float(centre)) if profile.any() else 0)
    return image.roll(shifts, (0, 1))


def random_convs() -> list[FeatureExtractor]:
    """The random networks."""
    return [RandomConvFeatures(seed) for seed in range(RANDOM_NETWORKS)]


# The module, the function and its arguments of each space. A module is loaded only if its space is chosen.
SPACES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "inception": ("alzgan.metrics.inception", "InceptionFeatures", ()),
    "imagenet-lite0": ("alzgan.metrics.lite", "LiteFeatures", ("imagenet-lite0",)),
    "imagenet-lite2": ("alzgan.metrics.lite", "LiteFeatures", ("imagenet-lite2",)),
    "random-conv": ("alzgan.metrics.features", "random_convs", ()),
    "pixels": ("alzgan.metrics.features", "PixelFeatures", ()),
}


def feature_space(name: str) -> list[FeatureExtractor]:
    """The extractors of a feature space. Numbers are averaged over them if there are several.

    Args:
        name: one of `SPACES`; "inception:FILE" with its weights; or "NETWORK:FILE" with a network of
            torchvision and its weights.

    Raises:
        UserError: the space is unknown, or its weights are missing; the line says how to get them.
    """
    network, _, file = name.partition(":")
    if network not in SPACES and not file:
        raise UserError(f"features={name} must be one of {', '.join(SPACES)}, or NETWORK:FILE of torchvision")
    if file and network in SPACES and network != "inception":
        raise UserError(f"features={name}: {network} takes no file")
    backbone = "alzgan.metrics.backbone", "BackboneFeatures", (network,)
    module, attribute, arguments = SPACES.get(network, backbone)
    make: Callable = getattr(importlib.import_module(module), attribute)
    made = make(*arguments, *([Path(file).expanduser()] if file else []))
    return made if isinstance(made, list) else [made]
