"""Stop a run that has diverged before it writes another checkpoint."""

import math
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from alzgan.errors import UserError

LONGEST = 1000  # steps between two checks, however rarely the run logs


class DivergenceGuard(Callback):
    """Raise at the first loss that is NaN or infinite, and refuse to save weights that are.

    On a CPU every step is checked. Reading a loss from another device waits for it, so there the losses are
    read every `trainer.log_every_n_steps` steps and before each checkpoint.

    Raises:
        UserError: a loss or a weight is not finite; the line names the step.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Allocate a buffer for the losses between two checks."""
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # Lightning does not declare it
        self.sums = torch.zeros(min(every, LONGEST), device=pl_module.device)
        self.checked_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Check both losses on a CPU; keep them on any other device."""
        losses = outputs["loss/discriminator"], outputs["loss/generator"]
        if pl_module.device.type != "cpu":
            self.remember(trainer, losses)
        elif not all(math.isfinite(loss) for loss in losses):
            raise diverged("a loss", trainer.global_step)

    def remember(self, trainer: Trainer, losses: tuple[Tensor, Tensor]) -> None:
        """Keep the sum of this step's losses on the device, which is a single operation."""
        torch.add(*losses, out=self.sums[(trainer.global_step - 1) % len(self.sums)])
        if trainer.global_step % len(self.sums) == 0:
            self.check(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to save a state that has diverged."""
        self.check(trainer)
        if not all(parameter.isfinite().all() for parameter in pl_module.parameters()):
            raise diverged("a weight", trainer.global_step)

    def check(self, trainer: Trainer) -> None:
        """Read the losses of the steps since the last check."""
        sums, steps = self.sums.tolist(), range(self.checked_step + 1, trainer.global_step + 1)
        self.checked_step = trainer.global_step
        for step in steps:
            if not math.isfinite(sums[(step - 1) % len(sums)]):
                raise diverged("a loss", step)


def diverged(what: str, step: int) -> UserError:
    """The error of a run that has diverged."""
    return UserError(
        f"training diverged: {what} became NaN or infinite at step {step}; earlier checkpoints are kept. "
        "Try a lower learning rate (model.discriminator_optimizer.lr) or trainer.precision=32-true"
    )
