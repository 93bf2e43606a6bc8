"""The DCGAN of Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional GANs".

The well-known 64 x 64 form, and the same construction at any power of two from 32 to 256: each doubling
of the size adds one stage of stride-2 convolution and doubles the width of the deepest stage.
"""

from itertools import pairwise

from torch import Tensor, nn


def stage_widths(image_size: int, width: int) -> list[int]:
    """Channels of the stages between the 4 x 4 map and the image, deepest first: 64 -> [8w, 4w, 2w, w].

    Raises:
        ValueError: image_size is not a power of two from 32 to 256, or width is below 1.
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, not {width}")
    if image_size not in (32, 64, 128, 256):
        raise ValueError(f"image_size must be 32, 64, 128 or 256, not {image_size}")
    stages = image_size.bit_length() - 3
    return [width * 2**i for i in reversed(range(stages))]


def initialize(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02) and batch-norm scales from N(1, 0.02), as the paper and its code do."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class Generator(nn.Sequential):
    """Latents (N, latent_dim) to images (N, channels, image_size, image_size) in [-1, 1].

    Raises:
        ValueError: image_size is not a power of two from 32 to 256, or width is below 1.
    """

    def __init__(self, latent_dim: int = 100, image_size: int = 64, channels: int = 3, width: int = 64):
        widths = stage_widths(image_size, width)
        layers: list[nn.Module] = [
            nn.Unflatten(1, (latent_dim, 1, 1)),
            nn.ConvTranspose2d(latent_dim, widths[0], 4, 1, 0, bias=False),
        ]
        for wide, narrow in zip(widths, [*widths[1:], channels], strict=True):
            layers += [
                nn.BatchNorm2d(wide),
                nn.ReLU(inplace=True),
                nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False),
            ]
        super().__init__(*layers, nn.Tanh())
        self.apply(initialize)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate images; labels are ignored, since the DCGAN is unconditional."""
        return super().forward(latents)


class Discriminator(nn.Sequential):
    """Images (N, channels, image_size, image_size) in [-1, 1] to logits (N,), high where they look real.

    Raises:
        ValueError: image_size is not a power of two from 32 to 256, or width is below 1.
    """

    def __init__(self, image_size: int = 64, channels: int = 3, width: int = 64):
        widths = stage_widths(image_size, width)[::-1]
        # The paper: no batch norm directly on the image.
        layers: list[nn.Module] = [
            nn.Conv2d(channels, widths[0], 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for narrow, wide in pairwise(widths):
            layers += [
                nn.Conv2d(narrow, wide, 4, 2, 1, bias=False),
                nn.BatchNorm2d(wide),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        super().__init__(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 0, bias=False), nn.Flatten(0))
        self.apply(initialize)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Judge images; labels are ignored, since the DCGAN is unconditional."""
        return super().forward(images)
