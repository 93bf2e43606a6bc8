"""A discriminator of patches.

Isola et al. 2017, "Image-to-image translation with conditional adversarial networks": each logit sees only a
square of the image, so that texture is judged everywhere.
"""

from typing import Any

from torch import Tensor, nn

from alzgan.errors import at_least
from alzgan.networks.conditioning import Projection
from alzgan.networks.layers import LEAKY_SLOPE


class Discriminator(nn.Module):
    """Images (N, channels, H, W) in [-1, 1] to logits (N, k), one for each patch.

    Args:
        channels: of the images.
        width: channels of the first stage; each later stage has twice as many as the one before.
        stages: of stride-2 convolutions; with n stages a patch is 3 * 2^n - 2 pixels wide, and neighbouring
            patches are 2^n pixels apart.
        **conditions: how labels enter, see `alzgan.networks.conditioning.Projection`.

    Raises:
        SettingError: a value is out of its range.
    """

    shared_out_to = (Projection,)

    def __init__(self, channels: int = 3, width: int = 32, stages: int = 2, **conditions: Any):
        super().__init__()
        at_least(1, channels=channels, width=width, stages=stages)
        layers: list[nn.Module] = []
        inputs = channels
        for outputs in (width * 2**stage for stage in range(stages)):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(LEAKY_SLOPE, inplace=True)]
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.score = nn.Conv2d(inputs, 1, 1)
        self.labelled = Projection(inputs, **conditions)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Judge images with their labels, or None if the network is unconditional."""
        maps = self.layers(images)
        of_image = self.labelled(maps.new_zeros(len(maps)), maps, labels)
        return self.score(maps).flatten(1) + of_image[:, None]
