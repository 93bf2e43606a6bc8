"""Features of any network of torchvision, with weights from the user's file."""

import hashlib
import io
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.models import get_model, list_models

from alzgan.errors import UserError
from alzgan.metrics.features import FeatureExtractor
from alzgan.text import printable

INPUT_SIDE = 224  # pixels
# The mean and deviation of ImageNet, with which torchvision's networks are trained.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class BackboneFeatures(FeatureExtractor):
    """The inputs of the last linear layer of a network of torchvision.

    Args:
        network: the name in torchvision, such as "resnet50".
        weights: a file with the state dict.

    Raises:
        UserError: torchvision has no such network, or the file is not its state dict.
    """

    space = "backbone"
    mean: Tensor
    deviation: Tensor

    def __init__(self, network: str, weights: Path):
        super().__init__()
        if network not in list_models(module=models):
            raise UserError(f"features={network}:{weights}: torchvision has no network {network}")
        self.network = get_model(network, weights=None)
        digest = load_state(self.network, weights)
        *_, last = (None, *(layer for layer in self.network.modules() if isinstance(layer, nn.Linear)))
        if last is None:
            raise UserError(
                f"features={network}:{weights}: {network} has no linear layer to take features from"
            )
        self.name = self.space = f"{network}-{digest}"
        self.method = f"{network} of torchvision, weights {weights.name}; bilinear 224 x 224, antialiased"
        self.num_features = last.in_features
        last.register_forward_pre_hook(lambda layer, inputs: self.seen.append(inputs[0]))
        self.seen: list[Tensor] = []
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None])
        self.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features (N, F)."""
        large = F.interpolate(images.float() / 255, (INPUT_SIDE, INPUT_SIDE), mode="bilinear", antialias=True)
        self.network((large - self.mean) / self.deviation)
        return self.seen.pop()


def load_state(network: nn.Module, weights: Path) -> str:
    """Load weights into the network; return the first 8 digits of the file's SHA-256."""
    try:
        content = weights.read_bytes()
        network.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except OSError as error:
        raise UserError(f"cannot read the weights {printable(weights)}: {error.strerror}") from None
    except Exception as error:  # torch.load fails on other files with many kinds of exceptions
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{printable(weights)} does not hold the state of this network: {reason}") from None
    return hashlib.sha256(content).hexdigest()[:8]
