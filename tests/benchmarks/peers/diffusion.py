"""The diffusion model of denoising-diffusion-pytorch 2.3.4 (Ho et al. 2020), with the settings of its README.

A U-Net of width 64 with multipliers 1, 2, 4, 8, and 1,000 time steps. Adam has a learning rate of 8e-5, and
gradients have norm 1 at most. The average has decay 0.995 and moves every 10 steps. Batches have 16 images;
its README sums two batches of 32. Samples take 50 steps (Song et al. 2021), 250 in its README: on a CPU, more
would take hours.
"""

import torch
from common import compete
from denoising_diffusion_pytorch import GaussianDiffusion, Unet
from ema_pytorch import EMA
from torch import Tensor

FEW = 8  # samples at a time: on a CPU, 100 at once take twice as long


class Diffusion:
    """See `common.Peer`."""

    batch_size = 16

    def __init__(self, side: int):
        network = Unet(dim=64, dim_mults=(1, 2, 4, 8), channels=1)
        self.model = GaussianDiffusion(network, image_size=side, timesteps=1000, sampling_timesteps=50)
        self.average = EMA(self.model, beta=0.995, update_every=10)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 8e-5, (0.9, 0.99))

    def step(self, real: Tensor) -> None:
        """See `common.Peer`."""
        self.optimizer.zero_grad()
        self.model(real / 2 + 0.5).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update()

    def sample(self, count: int) -> Tensor:
        """See `common.Peer`."""
        self.average.ema_model.eval()
        each = [min(FEW, count - first) for first in range(0, count, FEW)]
        return torch.cat([self.average.ema_model.sample(number) for number in each]) * 2 - 1


if __name__ == "__main__":
    compete("denoising diffusion", Diffusion, ["denoising-diffusion-pytorch", "ema-pytorch"])
