"""The settings and the outcome of a run: in its folder, in TensorBoard and in every checkpoint."""

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from omegaconf import OmegaConf

from alzgan.callbacks import callback_of
from alzgan.callbacks.checkpoint import RunCheckpoint
from alzgan.callbacks.logging import log_metrics, show
from alzgan.callbacks.quality import Quality
from alzgan.callbacks.schedule import run_is_over
from alzgan.files import write_json
from alzgan.upstream.lightning import set_progress

OBJECTIVES = ("objective/best", "objective/final")


class RunRecord(Checkpoint):
    """Record the config, the provenance and the outcome of a run.

    Writes the config as text to TensorBoard; config and provenance into each checkpoint under the key
    `alzgan`; and at the end `metrics.json`. TensorBoard's HParams tab shows the objective. This is a
    `Checkpoint` because Lightning calls those last: the last weights are on the disk before the outcome.

    Args:
        config: the run's resolved config, plain containers only.
        provenance: see `alzgan.runs.provenance`.
    """

    def __init__(self, config: dict[str, Any], provenance: dict[str, Any]):
        self.config = config
        self.provenance = provenance

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the config as text and in the table of runs."""
        if trainer.global_step == 0:
            show(trainer, "show_text", "config", OmegaConf.to_yaml(self.config))
            settings = {key: self.config[key] for key in ("seed", "data", "model", "trainer")}
            show(trainer, "show_settings", OBJECTIVES, settings)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add all that rebuilds the model, and continues the run, from the file alone."""
        set_progress(checkpoint, int(trainer.num_training_batches))
        checkpoint["alzgan"] = {"config": self.config, "provenance": self.provenance}
        if run_is_over(trainer):  # a run that is killed before it writes `metrics.json` writes it later
            checkpoint["alzgan"]["outcome"] = outcome(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the outcome."""
        if not trainer.is_global_zero:
            return
        metrics = outcome(trainer)
        write_json(Path(trainer.default_root_dir) / "metrics.json", metrics)
        shown = {f"objective/{name}": metrics[name] for name in ("best", "final") if name in metrics}
        log_metrics(trainer, shown)


def outcome(trainer: Trainer) -> dict[str, Any]:
    """The number of steps and, if quality was measured, its final and best values, by name."""
    quality, checkpoint = callback_of(trainer, Quality), callback_of(trainer, RunCheckpoint)
    metrics: dict[str, Any] = {"steps": trainer.global_step}
    if quality is not None and "objective" in trainer.callback_metrics:
        metrics |= {"objective": quality.tag, "final": trainer.callback_metrics["objective"].item()}
        if checkpoint is not None:
            metrics |= {"best": checkpoint.best_objective, "best_step": checkpoint.best_step}
    return metrics
