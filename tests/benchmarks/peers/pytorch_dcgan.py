"""The DCGAN of pytorch/examples, commit 77f55b9, with the settings of its file: `dcgan/main.py`.

    PYTORCH_EXAMPLES=CLONE python tests/benchmarks/peers/pytorch_dcgan.py RUN OUT

Networks and optimizers are made by the file itself, which is run for no epoch on images that it makes up.
Binary cross-entropy, batches of 64, Adam with 2e-4 and betas 0.5 and 0.999. A grey image is shown to its
networks three times, as colours, and the mean of the colours is the sample.
"""

import os
import runpy
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import torch
from common import compete
from torch import Tensor


class DCGAN:
    """See `common.Peer`."""

    batch_size = 64

    def __init__(self, side: int):
        assert side == 64, "its networks are for 64 x 64"
        script = Path(os.environ["PYTORCH_EXAMPLES"]) / "dcgan/main.py"
        seed = torch.initial_seed()
        with tempfile.TemporaryDirectory() as out:
            words = [script, "--dataset", "fake", "--niter", "0", "--outf", out, "--manualSeed", seed]
            with patch.object(sys, "argv", [str(word) for word in words]):
                self.made = runpy.run_path(str(script))

    def step(self, real: Tensor) -> None:
        """One turn of the discriminator, one of the generator."""
        generator, discriminator = self.made["netG"], self.made["netD"]
        loss, ones = self.made["criterion"], torch.ones(len(real))
        fake = generator(torch.randn(len(real), self.made["nz"], 1, 1))
        discriminator.zero_grad()
        loss(discriminator(real.expand(-1, 3, -1, -1)), ones).backward()
        loss(discriminator(fake.detach()), 0 * ones).backward()
        self.made["optimizerD"].step()
        generator.zero_grad()
        loss(discriminator(fake), ones).backward()
        self.made["optimizerG"].step()

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """See `common.Peer`. Its generator samples in training mode, as its file does."""
        return self.made["netG"](torch.randn(count, self.made["nz"], 1, 1)).mean(1, keepdim=True)


if __name__ == "__main__":
    compete("DCGAN of pytorch/examples", DCGAN, [])
