"""Private names of torchmetrics and torch-fidelity, checked with 1.9 and 0.4."""

from pathlib import Path

from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
from torchmetrics.image.fid import NoTrainInceptionV3

INCEPTION_URL = URL_INCEPTION_V3


def inception(weights: Path) -> nn.Module:
    """The Inception network of 2015: uint8 images (N, 3, H, W) to pooled features (N, 2048).

    torch-fidelity resizes images to 299 x 299 as the original TensorFlow graph did.
    """
    return NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights), antialias=False)


def inception_logits(network: nn.Module, features: Tensor) -> Tensor:
    """Logits (N, 1008) of pooled features (N, 2048), without the bias, as the Inception Score uses them."""
    weight = network.get_parameter("fc.weight")
    return features.to(weight) @ weight.T
