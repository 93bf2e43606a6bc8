"""The networks of lightweight-gan 1.2.1 (Liu et al. 2021, "Towards faster and stabilized GAN training").

Its trainer insists on CUDA. So a step is made here, of its networks and its losses, with the defaults of its
command line. Adam has a learning rate of 2e-4 and betas 0.5 and 0.9. Every fourth step has a gradient penalty
of weight 10. Attention is at 32 x 32. Nothing blurs where sizes change. Gradients of 4 batches of 10 are
summed. Images are augmented with probability 0.29, which its trainer chooses for 3,840 images. Samples are
the generator's own, because its average begins at step 20,000.
"""

from unittest.mock import patch

import torch
from common import compete
from torch import Tensor

with patch("torch.cuda.is_available", lambda: True):  # its import asserts it
    from lightweight_gan import lightweight_gan

lightweight_gan.Blur = torch.nn.Identity  # its trainer does so, unless told to antialias


class Lightweight:
    """See `common.Peer`; a batch is four of its batches of 10."""

    batch_size = 40

    def __init__(self, side: int):
        with patch("torch.nn.Module.cuda", lambda module, *_: module):
            self.gan = lightweight_gan.LightweightGAN(
                latent_dim=256, image_size=side, attn_res_layers=[32], disc_output_size=1, greyscale=True
            )
        self.augmented = {"prob": 0.29, "types": ["cutout", "translation"]}
        self.steps = 0

    def step(self, real: Tensor) -> None:
        """One step of the discriminator, one of the generator."""
        gan, penalized = self.gan.train(), self.steps % 4 == 0
        gan.D_opt.zero_grad()
        for images in (real / 2 + 0.5).chunk(4):
            with torch.no_grad():
                fake = gan.G(torch.randn(len(images), 256))
            images = images.clone().requires_grad_(penalized)
            fake, (of_fake, of_fake_small, _) = gan.D_aug(
                fake, detach=True, input_requires_grad=penalized, return_discr_input=True, **self.augmented
            )
            of_real, of_real_small, restored = gan.D_aug(images, calc_aux_loss=True, **self.augmented)
            hinge = lightweight_gan.hinge_loss
            loss = hinge(of_real, of_fake) + hinge(of_real_small, of_fake_small) + restored
            if penalized:
                judged = (images, of_real, of_real_small), (fake, of_fake, of_fake_small)
                slopes = [
                    torch.autograd.grad(logits.sum() + small.sum(), inputs, create_graph=True)[0]
                    for inputs, logits, small in judged
                ]
                loss = loss + 10 * torch.cat(slopes).flatten(1).square().sum(1).mean()
            (loss / 4).backward()
        gan.D_opt.step()
        gan.G_opt.zero_grad()
        for images in real.chunk(4):
            of_fake, of_fake_small, _ = gan.D_aug(gan.G(torch.randn(len(images), 256)), **self.augmented)
            ((of_fake.mean() + of_fake_small.mean()) / 4).backward()
        gan.G_opt.step()
        self.steps += 1

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """See `common.Peer`."""
        return self.gan.G.eval()(torch.randn(count, 256)).clamp(0, 1) * 2 - 1


if __name__ == "__main__":
    compete("light-weight GAN", Lightweight, ["lightweight-gan"])
