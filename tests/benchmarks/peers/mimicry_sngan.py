"""The SNGAN of torch-mimicry 0.1.16 (Lee & Town 2020), with the settings of its example on CIFAR-10.

Its networks for 64 x 64. The learning rate is constant; in the example it falls to 0 over 100,000 steps.
Hinge loss, batches of 64, five turns of the discriminator for each of the generator, Adam with 2e-4 and betas
0 and 0.9. A grey image is shown to its networks three times, as colours, and the mean of the colours is the
sample.
"""

import sys
from unittest.mock import MagicMock

import torch
from common import compete
from torch import Tensor

# These parts of its package need TensorFlow and an older PyTorch, and are not used here.
for part in ("datasets", "metrics", "training"):
    sys.modules[f"torch_mimicry.{part}"] = MagicMock()
from torch_mimicry.nets.sngan import SNGANDiscriminator64, SNGANGenerator64  # noqa: E402


class SNGAN:
    """See `common.Peer`; a step of the generator follows five batches of the discriminator's."""

    turns = 5
    batch_size = 64

    def __init__(self, side: int):
        assert side == 64, "its networks are for 64 x 64"
        self.generator, self.discriminator = SNGANGenerator64(), SNGANDiscriminator64()
        self.optimizers = [
            torch.optim.Adam(each.parameters(), 2e-4, (0.0, 0.9))
            for each in (self.generator, self.discriminator)
        ]
        self.steps = 0
        self.log = MagicMock()

    def step(self, real: Tensor) -> None:
        """One turn of the discriminator, and after the fifth one of the generator."""
        of_generator, of_discriminator = self.optimizers
        self.generator.train()
        batch = real.expand(-1, 3, -1, -1), None
        self.discriminator.train_step(batch, self.generator, of_discriminator, self.log)
        self.steps += 1
        if self.steps % self.turns == 0:
            self.generator.train_step(batch, self.discriminator, of_generator, self.log)

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """See `common.Peer`."""
        return self.generator.eval().generate_images(count).mean(1, keepdim=True)


if __name__ == "__main__":
    compete("SNGAN of mimicry", SNGAN, ["torch-mimicry"])
