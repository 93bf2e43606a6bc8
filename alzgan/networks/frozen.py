"""Features of a frozen network that was trained on photographs, as a discriminator's view of an image.

Sauer et al. 2021, "Projected GANs converge faster", and Kumari et al. 2022, "Ensembling off-the-shelf models
for GAN training": a discriminator that already knows edges and textures needs fewer images to learn from. The
weights are no parameters and are in no checkpoint; a run records their SHA-256 instead.
"""

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.models import get_model, list_models
from torchvision.models.feature_extraction import create_feature_extractor

from alzgan.errors import SettingError, at_least
from alzgan.metrics import backbone, lite
from alzgan.metrics.features import feature_space

STANDARDISE_BATCH = 64  # images at a time in `FrozenFeatures.standardise`


class FrozenFeatures(nn.Module):
    """Images (N, C, H, W) in [-1, 1] to standardised features (N, F) of a frozen network.

    The maps of several stages are flattened and joined; `split` gives them back. Images are enlarged to
    `side` by bilinear interpolation, or reduced by averaging and antialiased interpolation. Grey images are
    repeated to three channels; of neighbouring slices the first, the middle and the last are the channels.
    The network computes in autocast's precision.

    Args:
        features: "imagenet-lite0" or "imagenet-lite2", which the extra `features` brings, or "NETWORK:FILE":
            a network of torchvision and its weights.
        stages: names of its modules, in order, whose outputs (N, C, H, W) are the features.
        side: of the images that the network sees, in pixels.

    Raises:
        SettingError: there is no such network or stage.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        features: str = "imagenet-lite0",
        stages: Sequence[str] = ("blocks.2", "blocks.4", "blocks.10", "blocks.15"),
        side: int = 64,
    ):
        super().__init__()
        at_least(32, side=side)
        self.features = features
        self.stages = list(stages)
        self.side = side
        self.shapes = self.shapes_of_maps()
        channels = sum(shape[0] for shape in self.shapes)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        # By device and precision. A plain dictionary: these are no submodules, and so in no checkpoint.
        self.networks: dict[tuple[torch.device, torch.dtype], nn.Module] = {}

    def shapes_of_maps(self) -> list[tuple[int, int, int]]:
        """Shape (C, H, W) of each stage's map, without the weights."""
        name = self.features.partition(":")[0]
        size = lite.SIZES.get(self.features)
        if size is None and (":" not in self.features or name not in list_models(module=models)):
            known = ", ".join(lite.SIZES)
            raise SettingError(
                f"features={self.features} must be one of {known}, or NETWORK:FILE of torchvision"
            )
        with torch.device("meta"):
            network = lite.EfficientNetLite(size) if size else get_model(name, weights=None)
            images = torch.zeros(1, 3, self.side, self.side)
        modules = {name for name, _ in network.named_modules()}
        if not self.stages or not modules.issuperset(self.stages):
            raise SettingError(f"stages={self.stages} must be names of modules of {name}, at least one")
        maps = create_feature_extractor(network.eval(), self.stages)(images).values()
        return [tuple(each.shape[1:]) for each in maps]

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file with the weights."""
        if self.features in lite.SIZES:
            return lite.SIZES[self.features].sha256  # of the only file that is taken
        return hashlib.sha256(Path(self.features.partition(":")[2]).expanduser().read_bytes()).hexdigest()

    @property
    def space(self) -> str:
        """The name of the space that an evaluation in the same features has."""
        if self.features in lite.SIZES:
            return self.features
        return f"{self.features.partition(':')[0]}-{self.sha256[:8]}"

    def load(self) -> nn.Module:
        """The network with its weights, float32 on the CPU, as far as the last stage.

        Raises:
            UserError: the weights are not there, or are not this network's.
        """
        place = torch.device("cpu"), torch.float32
        if place not in self.networks:
            with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and overwritten
                (extractor,) = feature_space(self.features)
            network: Any = extractor.network
            network.eval().requires_grad_(False)
            with_fast_gradients(network)
            leaves = {"leaf_modules": [Depthwise]}
            network = create_feature_extractor(network, self.stages, tracer_kwargs=leaves)
            self.networks[place] = network.to(memory_format=torch.channels_last)
        return self.networks[place]

    def network_at(self, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """The network on a device in a precision."""
        if (device, dtype) not in self.networks:
            self.networks[device, dtype] = copy.deepcopy(self.load()).to(device, dtype)
        return self.networks[device, dtype]

    def forward(self, images: Tensor) -> Tensor:
        """Standardised features (N, F), in the images' precision."""
        maps = self.maps(images)
        counts = [shape[0] for shape in self.shapes]
        means, deviations = self.mean.split(counts), self.deviation.split(counts)
        flat = [
            # Channels last, as they lie in memory.
            ((each.permute(0, 2, 3, 1).to(images.dtype) - mean) / deviation).flatten(1)
            for each, mean, deviation in zip(maps, means, deviations, strict=True)
        ]
        return torch.cat(flat, 1)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Each stage's features (N, C, H, W), as the network gives them."""
        device = images.device
        low = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if low else images.dtype
        inputs = self.inputs(images).to(dtype).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, enabled=False):
            return list(self.network_at(device, dtype)(inputs).values())

    def inputs(self, images: Tensor) -> Tensor:
        """Images (N, 3, side, side) in the units of the network."""
        factor = images.shape[-1] // self.side
        if factor > 1:
            images = F.avg_pool2d(images, factor)
        if images.shape[-1] != self.side:
            smaller = images.shape[-1] > self.side
            images = F.interpolate(images, (self.side, self.side), mode="bilinear", antialias=smaller)
        last = images.shape[1] - 1
        images = torch.stack([images[:, place] for place in (0, last // 2, last)], 1)
        if self.features in lite.SIZES:
            return (127.5 * images + 0.5) / 128
        mean, deviation = (
            images.new_tensor(values)[:, None, None] for values in (backbone.MEAN, backbone.DEVIATION)
        )
        return ((images + 1) / 2 - mean) / deviation

    def split(self, features: Tensor) -> list[Tensor]:
        """Each stage's features (N, C, H, W) of the joined ones (N, F)."""
        sizes = [channels * height * width for channels, height, width in self.shapes]
        return [
            flat.unflatten(1, (height, width, channels)).permute(0, 3, 1, 2)
            for flat, (channels, height, width) in zip(features.split(sizes, 1), self.shapes, strict=True)
        ]

    @torch.no_grad()
    def standardise(self, images: Tensor) -> None:
        """Give each channel mean 0 and deviation 1 over images (N, C, H, W) in [-1, 1], once.

        A view that was standardised before keeps its statistics: heads have been trained on them.
        """
        if self.mean.any():
            return
        chunks = [self.maps(chunk.to(self.mean)) for chunk in images.split(STANDARDISE_BATCH)]
        stages = [torch.cat(maps) for maps in zip(*chunks, strict=True)]
        self.mean.copy_(torch.cat([maps.mean((0, 2, 3)) for maps in stages]))
        # Some channels are constant on brain slices.
        self.deviation.copy_(torch.cat([maps.std((0, 2, 3)) for maps in stages]).clamp(min=1e-3))


class Depthwise(nn.Module):
    """A strided depthwise convolution with a fast gradient.

    Its gradient with respect to the maps, the only one here, takes oneDNN up to 20 times as long as the
    gradient of the same convolution with stride 1. So where there is one, this convolves with stride 1 and
    keeps every other pixel: the same numbers.
    """

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.convolution = convolution

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, channels, H / stride, W / stride)."""
        given = self.convolution
        if not maps.requires_grad:
            return given(maps)
        down, right = given.stride
        whole = F.conv2d(maps, given.weight, given.bias, 1, given.padding, given.dilation, given.groups)
        return whole[:, :, ::down, ::right].contiguous(memory_format=torch.channels_last)


def with_fast_gradients(network: nn.Module) -> None:
    """Replace the strided depthwise convolutions of a network."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child.groups == child.in_channels > 1 < max(child.stride):
                setattr(parent, name, Depthwise(child))
