"""The diffusion model of MONAI 1.6.1 (Pinaya et al. 2023), with the settings of its tutorial on 64 x 64.

A U-Net of widths 128, 256 and 256 with attention in the last two, 1,000 time steps, Adam with 2.5e-5, batches
of 16 (128 in the tutorial). Samples take 16 steps: 1,000 would take more than ten minutes of a core for each.
"""

import torch
from common import compete
from monai.networks.nets import DiffusionModelUNet
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
from torch import Tensor

FEW = 4  # samples at a time: on a CPU, more take longer for each


class Diffusion:
    """See `common.Peer`."""

    batch_size = 16

    def __init__(self, side: int):
        self.side = side
        self.network = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            channels=(128, 256, 256),
            attention_levels=(False, True, True),
            num_res_blocks=1,
            num_head_channels=256,
        )
        self.noisier = DDPMScheduler(num_train_timesteps=1000)
        self.cleaner = DDIMScheduler(num_train_timesteps=1000)
        self.cleaner.set_timesteps(16)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 2.5e-5)

    def step(self, real: Tensor) -> None:
        """See `common.Peer`."""
        images, noise = real / 2 + 0.5, torch.randn_like(real)
        times = torch.randint(0, 1000, (len(real),))
        self.optimizer.zero_grad()
        found = self.network.train()(self.noisier.add_noise(images, noise, times), times)
        torch.nn.functional.mse_loss(found, noise).backward()
        self.optimizer.step()

    def sample(self, count: int) -> Tensor:
        """See `common.Peer`."""
        return torch.cat([self.cleaned(min(FEW, count - first)) for first in range(0, count, FEW)])

    @torch.no_grad()
    def cleaned(self, count: int) -> Tensor:
        """Samples that are made at once."""
        images = torch.randn(count, 1, self.side, self.side)
        self.network.eval()
        for time in self.cleaner.timesteps:
            found = self.network(images, time.expand(count))
            images, _ = self.cleaner.step(found, time, images)
        return images.clamp(0, 1) * 2 - 1


if __name__ == "__main__":
    compete("diffusion model of MONAI", Diffusion, ["monai"])
