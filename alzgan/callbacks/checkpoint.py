"""Write `checkpoints/last.ckpt`, from which a run continues, and `best.ckpt`, the one of best quality."""

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from alzgan.callbacks.schedule import run_is_over
from alzgan.errors import at_least


class RunCheckpoint(Checkpoint):
    """Save the last state every n steps and at the end, and the state with the best quality so far.

    Lightning's own ModelCheckpoint warns of a "pre-optimization state" at every save of a manually
    optimized module, and returns silently where it cannot write.

    Args:
        every_n_train_steps: steps between two saves of `last.ckpt`.
        keep_every_n_epochs: also keep a checkpoint `epoch_N.ckpt` every n epochs, to evaluate later; None
            keeps none.

    Raises:
        SettingError: a number of steps or epochs is below 1.
    """

    def __init__(self, every_n_train_steps: int = 200, keep_every_n_epochs: int | None = None):
        at_least(1, every_n_train_steps=every_n_train_steps, keep_every_n_epochs=keep_every_n_epochs)
        self.every_n_train_steps = every_n_train_steps
        self.keep_every_n_epochs = keep_every_n_epochs
        self.best_objective = float("inf")
        self.best_step: int | None = None
        self.last_saved_step = -1

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Save every n steps; the last step of an epoch waits for the epoch's end."""
        if trainer.global_step % trainer.num_training_batches != 0:
            self.save_if_due(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save `best.ckpt` if the objective has just improved, and the other checkpoints if due."""
        objective = float(trainer.callback_metrics.get("objective", float("inf")))
        if objective < self.best_objective:
            self.best_objective, self.best_step = objective, trainer.global_step
            self.save(trainer, "best")
        epoch, whole = trainer.current_epoch + 1, trainer.global_step % trainer.num_training_batches == 0
        if whole and self.keep_every_n_epochs and epoch % self.keep_every_n_epochs == 0:
            self.save(trainer, f"epoch_{epoch}")
        self.save_if_due(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last state."""
        self.save_last(trainer)

    def save_if_due(self, trainer: Trainer) -> None:
        """Write `last.ckpt` every n steps; `on_train_end` saves the run's last step."""
        if trainer.global_step % self.every_n_train_steps == 0 and not run_is_over(trainer):
            self.save_last(trainer)

    def save_last(self, trainer: Trainer) -> None:
        """Write `last.ckpt`, at most once a step."""
        if trainer.global_step != self.last_saved_step:
            self.save(trainer, "last")
            self.last_saved_step = trainer.global_step

    def save(self, trainer: Trainer, name: str) -> None:
        """Write a checkpoint, after the logs of the steps before it."""
        for logger in trainer.loggers:
            logger.save()
        trainer.save_checkpoint(self.path(trainer, name))

    @staticmethod
    def path(trainer: Trainer, name: str) -> Path:
        """The path of a checkpoint in the run's folder."""
        return Path(trainer.default_root_dir) / "checkpoints" / f"{name}.ckpt"

    def state_dict(self) -> dict[str, Any]:
        """The best objective and its step, so that a resumed run keeps a better `best.ckpt`."""
        return {"best_objective": self.best_objective, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_objective, self.best_step = state_dict["best_objective"], state_dict["best_step"]
