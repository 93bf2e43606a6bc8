"""What a run was made of and what came out: in its folder, in TensorBoard and in every checkpoint."""

from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import Checkpoint
from omegaconf import OmegaConf

from alzgan.callbacks.checkpoint import RunCheckpoint
from alzgan.callbacks.logging import log_metrics, show, show_text
from alzgan.callbacks.quality import Quality
from alzgan.callbacks.schedule import run_is_over
from alzgan.files import write_json
from alzgan.gan import GAN
from alzgan.upstream.lightning import set_progress

OBJECTIVES = ("objective/best", "objective/final")


class RunRecord(Checkpoint):
    """Keep the resolved config and the provenance beside the weights, and the outcome beside both.

    Writes the config as text to TensorBoard, config and provenance into each checkpoint under the key
    `alzgan`, and at the end `metrics.json`; its objective is the metric of TensorBoard's HParams tab. A
    `Checkpoint`, since Lightning calls these last: the outcome comes after the last weights are on the disk.

    Args:
        config: the run's resolved config, plain containers only.
        provenance: see `alzgan.runs.provenance`.
    """

    def __init__(self, config: dict[str, Any], provenance: dict[str, Any]):
        self.config = config
        self.provenance = provenance

    def on_train_start(self, trainer: Trainer, pl_module: GAN) -> None:
        """Show the config, as text and among those of other runs."""
        if trainer.global_step == 0:
            show_text(trainer, "config", OmegaConf.to_yaml(self.config))
            settings = {key: self.config[key] for key in ("seed", "data", "model", "trainer")}
            show(trainer, "show_settings", OBJECTIVES, settings)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: GAN, checkpoint: dict[str, Any]) -> None:
        """Let the verbs rebuild the model from the file alone, and the run go on from it."""
        set_progress(checkpoint, trainer.num_training_batches)
        checkpoint["alzgan"] = {"config": self.config, "provenance": self.provenance}
        if run_is_over(trainer):  # whoever is killed before `metrics.json` is there can still write it
            checkpoint["alzgan"]["outcome"] = outcome(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: GAN) -> None:
        """Write what came out."""
        if not trainer.is_global_zero:
            return
        metrics = outcome(trainer)
        write_json(Path(trainer.default_root_dir) / "metrics.json", metrics)
        shown = {f"objective/{name}": metrics[name] for name in ("best", "final") if name in metrics}
        log_metrics(trainer, shown)


def outcome(trainer: Trainer) -> dict[str, Any]:
    """The run's length and, where its quality was measured, the final and the best value, by name."""
    quality = next((c for c in trainer.callbacks if isinstance(c, Quality)), None)
    checkpoint = RunCheckpoint.of(trainer)
    metrics: dict[str, Any] = {"steps": trainer.global_step}
    if quality is not None and "objective" in trainer.callback_metrics:
        metrics |= {"objective": quality.tag, "final": trainer.callback_metrics["objective"].item()}
        if checkpoint is not None:
            metrics |= {"best": checkpoint.best_objective, "best_step": checkpoint.best_step}
    return metrics
