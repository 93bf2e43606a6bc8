"""TensorBoard events in the run's own folder."""

import time
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger


class RunLogger(TensorBoardLogger):
    """Lightning's logger, writing to the run's folder itself and nothing but events.

    Args:
        run_dir: the run's folder.
        purge_step: hide what a killed session logged from this step on, since it will be logged again.
    """

    def __init__(self, run_dir: Path, purge_step: int | None = None):
        if purge_step is not None:
            wait_for_a_later_second(run_dir)
        super().__init__(
            save_dir=run_dir, name="", version="", default_hp_metric=False, purge_step=purge_step
        )

    def save(self) -> None:
        """Flush; `hparams.yaml`, which Lightning adds here, would repeat `config.yaml`."""
        self.experiment.flush()


def wait_for_a_later_second(run_dir: Path) -> None:
    """Wait until a new file of events will be read behind those that are there.

    TensorBoard reads them by name, which is the second in which they were made, then the process, "9999"
    behind "10000". What a session hides must have been read before it.
    """
    seconds = [int(path.name.split(".")[3]) for path in run_dir.glob("events.out.tfevents.*")]
    while seconds and int(time.time()) == max(seconds):
        time.sleep(0.02)
