"""The two-player game: one discriminator step, one generator step, over and over.

Devices, files, pictures, metrics and the source of randomness live elsewhere.
"""

from collections.abc import Callable, Iterable

import torch
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.optim import Optimizer

from alzgan.losses import NonSaturatingLoss
from alzgan.runtime.devices import to_device
from alzgan.runtime.images import to_uint8
from alzgan.runtime.streams import stream

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


class GAN(LightningModule):
    """A generator and a discriminator that train against each other (Goodfellow et al. 2014).

    Args:
        generator: latents (N, latent_dim) to images (N, C, H, W) in [-1, 1].
        discriminator: images (N, C, H, W) in [-1, 1] to logits (N,).
        loss: turns logits into each player's scalar, see `alzgan.losses`.
        generator_optimizer: makes an optimizer of the generator's parameters.
        discriminator_optimizer: the same for the discriminator's.
        latent_dim: length of a latent vector, drawn from N(0, I).
        seed: of every latent drawn.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: NonSaturatingLoss,
        generator_optimizer: OptimizerFactory,
        discriminator_optimizer: OptimizerFactory,
        latent_dim: int = 100,
        seed: int = 0,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.generator = generator
        self.discriminator = discriminator
        self.loss = loss
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.latent_dim = latent_dim
        self.seed = seed

    def configure_optimizers(self) -> tuple[Optimizer, Optimizer]:
        """The discriminator's optimizer, then the generator's: the order in which they play."""
        return (
            self.discriminator_optimizer(self.discriminator.parameters()),
            self.generator_optimizer(self.generator.parameters()),
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> STEP_OUTPUT:
        """One alternation on real images (N, C, H, W) in [-1, 1].

        Returns detached tensors, to be read only when something is logged: reading them waits for the
        device.
        """
        real, _ = batch
        latents = self.latents(len(real), "train", self.global_step, self.global_rank)
        outputs = self.alternation(real, latents)
        self.count_step()
        return outputs

    def alternation(self, real: Tensor, latents: Tensor) -> dict[str, Tensor]:
        """The discriminator's step, then the generator's, on the same fakes, as in the DCGAN's own loop.

        All that changes from step to step comes in as a tensor, so that it can be captured as a CUDA graph
        (`alzgan.runtime.graphs`).
        """
        fake = self.generator(latents)
        real_logits, fake_logits, discriminator_loss = self.discriminator_step(real, fake.detach())
        fake_logits_after, generator_loss = self.generator_step(fake, real_logits)
        return {
            "discriminator_loss": discriminator_loss,
            "generator_loss": generator_loss,
            "real_logits": real_logits,
            "fake_logits": fake_logits,
            "fake_logits_after": fake_logits_after,
        }

    def discriminator_step(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Teach the discriminator; returns its logits for real and fake (N,) each, and its loss."""
        # Two passes, so that batch norm sees each kind of image by itself.
        real_logits, fake_logits = self.discriminator(real), self.discriminator(fake)
        loss = self.loss.discriminator(real_logits, fake_logits)
        optimizer, _ = self.optimizers()
        self.descend(loss, optimizer)
        return real_logits.detach(), fake_logits.detach(), loss.detach()

    def generator_step(self, fake: Tensor, real_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Teach the generator by its fakes (with graph); returns their new logits (N,) and its loss."""
        # Gradients flow through the discriminator, not into it: a quarter of its backward pass is saved.
        self.discriminator.requires_grad_(False)
        fake_logits = self.discriminator(fake)
        loss = self.loss.generator(fake_logits, real_logits)
        _, optimizer = self.optimizers()
        self.descend(loss, optimizer)
        self.discriminator.requires_grad_(True)
        return fake_logits.detach(), loss.detach()

    def descend(self, loss: Tensor, optimizer: LightningOptimizer) -> None:
        """One step of a player's optimizer down its loss."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        # Past LightningOptimizer.step, which would count each player's: one alternation is one step.
        self.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None)

    def count_step(self) -> None:
        """Tell the trainer that an alternation is done: this is what its `global_step` counts."""
        optimizer, _ = self.optimizers()
        optimizer._on_before_step()
        optimizer._on_after_step()

    def latents(self, count: int, purpose: str, step: int = 0, rank: int = 0) -> Tensor:
        """Latents (count, latent_dim) from N(0, I), the same ones for the same arguments and seed."""
        draws = stream(self.seed, f"latents/{purpose}", step, rank).standard_normal(
            (count, self.latent_dim), dtype="float32"
        )
        return to_device(draws, self.device).to(self.dtype)

    @torch.no_grad()
    def sample(self, latents: Tensor) -> Tensor:
        """Images (N, C, H, W), uint8, for latents (N, latent_dim), in evaluation mode.

        Training is not disturbed: no batch-norm statistic moves and nothing is drawn.
        """
        training = self.generator.training
        self.generator.eval()
        images = to_uint8(self.generator(latents))
        self.generator.train(training)
        return images
