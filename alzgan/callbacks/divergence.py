"""Stop a run that has diverged before it writes another checkpoint."""

import math
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from alzgan.errors import UserError


class DivergenceGuard(Callback):
    """Raise if a loss is NaN or infinite, and refuse to save weights that are.

    On a CPU the losses are checked at every step. To read them from another device is to wait for it, so
    there they are checked every `trainer.log_every_n_steps` steps and before each checkpoint.

    Raises:
        UserError: a loss or a weight is not finite; the line names the step of the check.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Allocate the sum of the losses since the last check."""
        self.sum = torch.zeros((), device=pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Add both losses to the sum, which is finite only if all of them are."""
        self.sum += outputs["loss/discriminator"] + outputs["loss/generator"]
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # Lightning does not declare it
        if pl_module.device.type == "cpu" or trainer.global_step % every == 0:
            self.check(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to save a state that has diverged."""
        self.check(trainer)
        if not all(parameter.isfinite().all() for parameter in pl_module.parameters()):
            raise diverged("a weight", trainer.global_step)

    def check(self, trainer: Trainer) -> None:
        """Read the sum of the losses and begin a new one."""
        if not math.isfinite(self.sum):
            raise diverged("a loss", trainer.global_step)
        self.sum.zero_()


def diverged(what: str, step: int) -> UserError:
    """The error of a run that has diverged."""
    return UserError(
        f"training diverged: {what} became NaN or infinite by step {step}; earlier checkpoints are kept. "
        "Try a lower learning rate (model.discriminator_optimizer.lr) or trainer.precision=32-true"
    )
