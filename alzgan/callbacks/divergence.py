"""Stop a run whose numbers are no longer numbers, before they reach a checkpoint."""

import math
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor

from alzgan.errors import UserError
from alzgan.gan import GAN

LONGEST = 1000  # steps between two looks, however rarely is logged


class DivergenceGuard(Callback):
    """Raise at the first loss that is NaN or infinite, and never let such weights be saved.

    On a CPU every step is read. Elsewhere the losses stay on the device and are read every
    `trainer.log_every_n_steps` steps and before a checkpoint is written, so that no step waits.

    Raises:
        UserError: with the step at which a loss stopped being finite.
    """

    def on_train_start(self, trainer: Trainer, pl_module: GAN) -> None:
        """Make room for as many sums of losses as there are steps between two looks."""
        self.sums = torch.zeros(min(trainer.log_every_n_steps, LONGEST), device=pl_module.device)
        self.checked_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: GAN, outputs: dict[str, Tensor], *args: Any
    ) -> None:
        """Look at both losses, or remember them on the device."""
        losses = outputs["loss/discriminator"], outputs["loss/generator"]
        if pl_module.device.type != "cpu":
            self.remember(trainer, losses)
        elif not all(math.isfinite(loss) for loss in losses):
            raise diverged("a loss", trainer.global_step)

    def remember(self, trainer: Trainer, losses: tuple[Tensor, Tensor]) -> None:
        """Keep this step's losses on the device, in one operation."""
        torch.add(*losses, out=self.sums[(trainer.global_step - 1) % len(self.sums)])
        if trainer.global_step % len(self.sums) == 0:
            self.check(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: GAN, checkpoint: dict[str, Any]) -> None:
        """Refuse to save a state that has diverged."""
        self.check(trainer)
        if not all(parameter.isfinite().all() for parameter in pl_module.parameters()):
            raise diverged("a weight", trainer.global_step)

    def check(self, trainer: Trainer) -> None:
        """Read what the device remembers of the steps since the last look."""
        sums, steps = self.sums.tolist(), range(self.checked_step + 1, trainer.global_step + 1)
        self.checked_step = trainer.global_step
        for step in steps:
            if not math.isfinite(sums[(step - 1) % len(sums)]):
                raise diverged("a loss", step)


def diverged(what: str, step: int) -> UserError:
    """The line that tells so."""
    return UserError(
        f"training diverged: {what} became NaN or infinite at step {step}; the checkpoints before it are "
        "kept. Try a lower learning rate (model.discriminator_optimizer.lr) or trainer.precision=32-true"
    )
