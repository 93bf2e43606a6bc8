"""The DCGAN of Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional GANs".

Images are 64 x 64, as in the paper, or of any power of two from 32 to 256: each doubling of the size adds a
stage of stride-2 convolution and doubles the width of the deepest stage. With classes the networks are
conditional (`alzgan.networks.conditioning`).
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from alzgan.errors import at_least, one_of
from alzgan.networks.conditioning import LabelledLatents, Projection
from alzgan.networks.layers import LEAKY_SLOPE, UpsampledConvolution, stage_widths, with_spectral_norm

GROWTH: dict[str, Callable[[int, int], nn.Module]] = {
    "transposed": partial(nn.ConvTranspose2d, kernel_size=4, stride=2, padding=1, bias=False),
    "nearest": UpsampledConvolution,
}


def initialize(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02) and batch-norm scales from N(1, 0.02), as the paper and its code do."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | UpsampledConvolution):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class Generator(nn.Sequential):
    """Latents (N, latent_dim) to images (N, channels, image_size, image_size) in [-1, 1].

    Args:
        latent_dim: length of a latent vector.
        image_size: 32, 64, 128 or 256.
        channels: of the images.
        width: channels of the last stage; each stage before it has twice as many as the next.
        upsampling: "transposed" convolutions, as in the paper, or "nearest": nearest-neighbour upsampling and
            a convolution, which cost the same and leave no checkerboard artifacts.
        **conditions: how labels enter, see `alzgan.networks.conditioning.Conditioned`.

    Raises:
        SettingError: a value is out of its range.
    """

    shared_out_to = (LabelledLatents,)

    def __init__(
        self,
        latent_dim: int = 100,
        image_size: int = 64,
        channels: int = 3,
        width: int = 64,
        upsampling: str = "transposed",
        **conditions: Any,
    ):
        at_least(1, latent_dim=latent_dim, channels=channels)
        one_of(GROWTH, upsampling=upsampling)
        widths = stage_widths(image_size, width)
        labelled = LabelledLatents(latent_dim, **conditions)
        layers: list[nn.Module] = [
            labelled,
            nn.ConvTranspose2d(labelled.width, widths[0], 4, 1, 0, bias=False),
        ]
        for wide, narrow in zip(widths, [*widths[1:], channels], strict=True):
            layers += [
                nn.BatchNorm2d(wide),
                nn.ReLU(inplace=True),
                GROWTH[upsampling](wide, narrow),
            ]
        super().__init__(*layers, nn.Tanh())
        self.apply(initialize)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate images of labels, or of None if the network is unconditional."""
        labelled, *layers = self
        maps = labelled(latents, labels)[:, :, None, None]
        for layer in layers:
            maps = layer(maps)
        return maps


class Discriminator(nn.Sequential):
    """Images (N, channels, image_size, image_size) in [-1, 1] to logits (N,), higher for more real images.

    Args:
        image_size: 32, 64, 128 or 256.
        channels: of the images.
        width: channels of the first stage; each later stage has twice as many as the one before.
        normalization: "batch", as in the paper; "none", for gradient penalties, because with batch norm an
            image's gradient depends on the other images; or "spectral" (Miyato et al. 2018, "Spectral
            normalization for GANs"). Without batch norm the convolutions have biases and PyTorch's default
            initialization, since N(0, 0.02) relies on batch norm to rescale the maps.
        **conditions: how labels enter, see `alzgan.networks.conditioning.Projection`.

    Raises:
        SettingError: a value is out of its range.
    """

    shared_out_to = (Projection,)

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        width: int = 64,
        normalization: str = "batch",
        **conditions: Any,
    ):
        at_least(1, channels=channels)
        one_of(("batch", "none", "spectral"), normalization=normalization)
        widths = stage_widths(image_size, width)[::-1]
        batch, bias = normalization == "batch", normalization != "batch"
        # As in the paper, the first layer has no batch norm.
        layers: list[nn.Module] = [
            nn.Conv2d(channels, widths[0], 4, 2, 1, bias=bias),
            nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
        ]
        for narrow, wide in pairwise(widths):
            layers += [
                nn.Conv2d(narrow, wide, 4, 2, 1, bias=bias),
                *([nn.BatchNorm2d(wide)] if batch else []),
                nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
            ]
        score = nn.Conv2d(widths[-1], 1, 4, 1, 0, bias=bias)
        labelled = Projection(widths[-1], **conditions)
        super().__init__(*layers, score, labelled)
        if batch:
            self.apply(initialize)
        if normalization == "spectral":
            with_spectral_norm(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Judge images with their labels, or None if the network is unconditional."""
        *layers, score, projection = self
        maps = images
        for layer in layers:
            maps = layer(maps)
        return projection(score(maps), maps, labels)
