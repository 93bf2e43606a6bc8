"""TensorBoard events in the run's own folder."""

from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger


class RunLogger(TensorBoardLogger):
    """Lightning's logger, writing to the run's folder itself and nothing but events.

    Args:
        run_dir: the run's folder.
        purge_step: hide what a killed session logged from this step on, since it will be logged again.
    """

    def __init__(self, run_dir: Path, purge_step: int | None = None):
        super().__init__(
            save_dir=run_dir, name="", version="", default_hp_metric=False, purge_step=purge_step
        )

    def save(self) -> None:
        """Flush; `hparams.yaml`, which Lightning adds here, would repeat `config.yaml`."""
        self.experiment.flush()
