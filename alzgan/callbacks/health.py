"""Warn of two failures of a GAN in which all numbers stay finite: a winning discriminator, mode collapse."""

import logging
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from alzgan.callbacks import data_of, gan_of
from alzgan.callbacks.logging import log_metrics
from alzgan.errors import at_least
from alzgan.gan import GAN

log = logging.getLogger(__name__)

ADVICE = {
    "won": (
        "the discriminator has won: for {steps} steps its loss has been below {limit:.0%} of a guessing "
        "discriminator's, so the generator no longer learns. Try a lower model.discriminator_optimizer.lr, a "
        "smaller model.discriminator.width or more data"
    ),
    "collapsed": (
        "the generator has collapsed: for {steps} steps its samples have differed by less than {limit:.0%} "
        "of the difference between real images. Try a lower model.generator_optimizer.lr, a larger "
        "data.batch_size or another seed"
    ),
}


class TrainingHealth(Callback):
    """Warn once if the discriminator has won, and once if the generator has collapsed.

    `health/discriminator_won` in TensorBoard counts the steps in a row with a discriminator loss near 0.
    `health/sample_diversity` is the root mean square distance between samples of fixed latents over that
    between real images: 1 is as diverse as the data, 0 is one image.

    Args:
        every_n_train_steps: steps between two checks.
        patience: number of steps that a failure must last; a healthy game recovers within about ten.
        won_share: the discriminator has won below this share of the loss at logits of 0; with cross-entropy,
            D(x) and 1 - D(G(z)) are then above 0.97 on average. Wasserstein's loss at logits of 0 is 0, so it
            causes no warning.
        collapsed_diversity: the generator has collapsed below this diversity; real slices of a single class
            have about 0.9.
        count: number of samples, and of real images, in the comparison.
    """

    def __init__(
        self,
        every_n_train_steps: int = 100,
        patience: int = 500,
        won_share: float = 0.036,
        collapsed_diversity: float = 0.1,
        count: int = 64,
    ):
        at_least(1, every_n_train_steps=every_n_train_steps, patience=patience)
        at_least(2, count=count)
        self.every_n_train_steps = every_n_train_steps
        self.patience = patience
        self.won_share = won_share
        self.collapsed_diversity = collapsed_diversity
        self.count = count
        self.won_for: Tensor | int = 0
        self.collapsed_for = 0
        self.warned: list[str] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the diversity of real images and the loss of a discriminator that guesses."""
        self.won_for = torch.as_tensor(self.won_for, device=pl_module.device)
        self.real_spread = spread(data_of(trainer).sample_real(self.count)[0])
        nothing = torch.zeros(1)
        self.won_loss = self.won_share * float(gan_of(pl_module).loss.discriminator(nothing, nothing))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Count on the device; every n steps read the count and check samples."""
        if self.won_loss > 0:
            won = outputs["loss/discriminator"] < self.won_loss
            self.won_for = torch.where(won, self.won_for + 1, 0)
        if trainer.global_step % self.every_n_train_steps == 0 and trainer.is_global_zero:
            self.check(trainer, gan_of(pl_module))

    def check(self, trainer: Trainer, gan: GAN) -> None:
        """Log both numbers, and warn of a lasting failure."""
        labels = data_of(trainer).draw_labels(self.count, "health").to(gan.device)
        diversity = spread(gan.sample(gan.latents(self.count, "health"), labels)) / self.real_spread
        collapsed = diversity < self.collapsed_diversity
        self.collapsed_for = self.collapsed_for + self.every_n_train_steps if collapsed else 0
        won_for = int(self.won_for)
        log_metrics(trainer, {"health/discriminator_won": won_for, "health/sample_diversity": diversity})
        self.warn("won", won_for, self.won_share)
        self.warn("collapsed", self.collapsed_for, self.collapsed_diversity)

    def warn(self, what: str, steps: int, limit: float) -> None:
        """Warn once of a failure that has lasted, and say what to try."""
        if steps >= self.patience and what not in self.warned:
            self.warned.append(what)
            log.warning(ADVICE[what].format(steps=steps, limit=limit))

    def state_dict(self) -> dict[str, Any]:
        """The counts, and which warnings have been given."""
        return {
            "won_for": int(self.won_for),
            "collapsed_for": self.collapsed_for,
            "warned": list(self.warned),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.won_for, self.collapsed_for = state_dict["won_for"], state_dict["collapsed_for"]
        self.warned = list(state_dict["warned"])


def spread(images: Tensor) -> float:
    """The root mean square difference of a pixel between two of the images (N, C, H, W), in grey levels."""
    # Two independent draws are sqrt(2) standard deviations apart.
    return float((2 * images.float().var(dim=0).mean()).sqrt())
