"""Stop a run whose numbers are no longer numbers, before they reach a checkpoint."""

from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor

from alzgan.gan import GAN
from alzgan.runtime.errors import UserError


class DivergenceGuard(Callback):
    """Raise at the first loss that is NaN or infinite, and never let such weights be saved.

    On a CPU every step is read. Elsewhere the first bad step is remembered on the device and read every
    `trainer.log_every_n_steps` steps and before a checkpoint is written, so that no step waits.

    Raises:
        UserError: with the step at which a loss stopped being finite.
    """

    def on_train_start(self, trainer: Trainer, pl_module: GAN) -> None:
        """Nothing has gone wrong yet."""
        self.bad_step = torch.tensor(-1, device=pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: GAN, outputs: dict[str, Tensor], *args: Any
    ) -> None:
        """Look at both losses."""
        finite = (outputs["discriminator_loss"] + outputs["generator_loss"]).isfinite()
        self.bad_step = torch.where((self.bad_step < 0) & ~finite, trainer.global_step, self.bad_step)
        if pl_module.device.type == "cpu" or trainer.global_step % trainer.log_every_n_steps == 0:
            self.check()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: GAN, checkpoint: dict[str, Any]) -> None:
        """Refuse to save a state that has diverged."""
        self.check()
        if not all(parameter.isfinite().all() for parameter in pl_module.parameters()):
            raise diverged("a weight", trainer.global_step)

    def check(self) -> None:
        """Read the device's verdict."""
        if (step := int(self.bad_step)) >= 0:
            raise diverged("a loss", step)


def diverged(what: str, step: int) -> UserError:
    """The line that tells so."""
    return UserError(
        f"training diverged: {what} became NaN or infinite at step {step}; the checkpoints before it are "
        "kept. Try a lower learning rate (model.discriminator_optimizer.lr) or trainer.precision=32-true"
    )
