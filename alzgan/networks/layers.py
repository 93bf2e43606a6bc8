"""What several networks are made of."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from alzgan.errors import at_least, one_of

LEAKY_SLOPE = 0.2  # of every leaky ReLU


def stage_widths(image_size: int, width: int) -> list[int]:
    """Channels of the stages between the 4 x 4 map and the image, deepest first: 64 -> [8w, 4w, 2w, w].

    Raises:
        SettingError: image_size is not a power of two from 32 to 256, or width is below 1.
    """
    at_least(1, width=width)
    one_of((32, 64, 128, 256), image_size=image_size)
    stages = image_size.bit_length() - 3
    return [width * 2**i for i in reversed(range(stages))]


def with_spectral_norm(network: nn.Module) -> None:
    """Normalise the weights of all layers (Miyato et al. 2018, "Spectral normalization for GANs")."""
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.Embedding | nn.Linear):
            spectral_norm(module)


class UpsampledConvolution(nn.Module):
    """Nearest-neighbour upsampling by 2 and a 3 x 3 convolution, as one 4 x 4 transposed convolution.

    Odena et al. 2016, "Deconvolution and checkerboard artifacts": every output pixel depends on the same
    number of input pixels. The two linear maps are fused: the 4 x 4 weights are the 3 x 3 ones convolved with
    a 2 x 2 box. An output pixel takes 4 products for each pair of channels, not 9, as in the DCGAN.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) to (N, outputs, 2 H, 2 W)."""
        return F.conv_transpose2d(maps, smeared(self.weight), stride=2, padding=1)


def smeared(weight: Tensor) -> Tensor:
    """Kernels (..., 3, 3) convolved with ones (2, 2): (..., 4, 4)."""
    wide = F.pad(weight, (1, 1, 1, 1))
    return wide[..., 1:, 1:] + wide[..., :-1, 1:] + wide[..., 1:, :-1] + wide[..., :-1, :-1]
