"""Loggers of a run.

They keep Lightning's contract and add to it. The constructor gets the run's folder and `purge_step`: from
this step on, a continued run repeats what an earlier session has logged. ``show_image(tag, image, step)``
takes uint8 (C, H, W), and ``show_text(tag, text, step)`` a text; a logger may lack either.
"""

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.tensorboard.summary import hparams

from alzgan.errors import UserError
from alzgan.files import replacing
from alzgan.runs.config import leaves
from alzgan.text import encodable
from alzgan.upstream.lightning import RANK_ZERO


class TensorBoardLog(TensorBoardLogger):
    """TensorBoard events, without Lightning's other files.

    Args:
        run_dir: the run's folder.
        purge_step: hide older events from this step on; None: hide none.

    Raises:
        UserError: the folder's name is not UTF-8, which TensorBoard cannot write to.
    """

    def __init__(self, run_dir: Path, purge_step: int | None = None):
        if (name := str(run_dir)) != encodable(name):
            raise UserError(f"run_dir={name} is not UTF-8: choose another, or logger=csv")
        if purge_step is not None:
            wait_for_a_later_second(run_dir)
        super().__init__(
            save_dir=run_dir, name="", version="", default_hp_metric=False, purge_step=purge_step
        )

    def save(self) -> None:
        """Flush. Lightning would also write `hparams.yaml`, but `config.yaml` has the settings."""
        self.experiment.flush()

    def show_image(self, tag: str, image: Tensor, step: int) -> None:
        """Show an image in the Images tab."""
        self.experiment.add_image(tag, image, step)

    @rank_zero_only
    def show_settings(self, metrics: Sequence[str], settings: dict[str, Any], step: int) -> None:
        """Add the run to the HParams tab, with columns for metrics that will be logged later."""
        row = ((name.replace(".", "/"), value) for name, value in leaves(settings))
        shown = {
            name: value if isinstance(value, int | float) else encodable(str(value)) for name, value in row
        }
        *summaries, _ = hparams(shown, dict.fromkeys(metrics, 0.0))
        for summary in summaries:
            self.experiment.file_writer.add_summary(summary)

    def show_text(self, tag: str, text: str, step: int) -> None:
        """Show a text verbatim; four spaces make it a code block in TensorBoard's markdown."""
        self.experiment.add_text(tag, "    " + encodable(text).replace("\n", "\n    "), step)


def wait_for_a_later_second(run_dir: Path) -> None:
    """Wait until a new file of events sorts after the existing ones.

    TensorBoard reads the files in the order of their names, which begin with the second in which they were
    made. It must read the events that a session hides before the session's own.
    """
    seconds = [int(path.name.split(".")[3]) for path in run_dir.glob("events.out.tfevents.*")]
    while seconds and int(time.time()) == max(seconds):
        time.sleep(0.02)


class CsvLog(Logger):
    """A table `metrics.csv` with a row `step,name,value` for each number.

    Args:
        run_dir: the run's folder.
        purge_step: remove older rows from this step on; None: remove none.
    """

    name, version = "csv", ""

    def __init__(self, run_dir: Path, purge_step: int | None = None):
        super().__init__()
        self.path = run_dir / "metrics.csv"
        self.purge_step = purge_step
        self.begun = False

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a row for each number."""
        if not self.begun:
            self.begin()
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerows((step, name, repr(float(value))) for name, value in metrics.items())

    def begin(self) -> None:
        """Keep the rows of earlier sessions, except those that will be logged again."""
        kept = [["step", "name", "value"]]
        if self.path.is_file():
            with self.path.open(newline="") as file:
                rows = [row for row in csv.reader(file) if len(row) == 3 and row[0].isdigit()]
            kept += [row for row in rows if self.purge_step is None or int(row[0]) < self.purge_step]
        with replacing(self.path) as part, part.open("w", newline="") as file:
            csv.writer(file).writerows(kept)
        self.begun = True

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing, because `config.yaml` has the settings."""


class WandbLog(WandbLogger):
    """Weights & Biases, under the name of the run's folder.

    The run's id is random, because other sweeps may use the same folder names. `wandb_id.txt` in the folder
    keeps it for continued runs.

    Args:
        run_dir: the run's folder.
        purge_step: not used, because wandb drops repeated steps.
        project: the project to log to.
        offline: log to the folder, and upload later with `wandb sync`.

    Raises:
        UserError: wandb is not installed.
    """

    def __init__(
        self, run_dir: Path, purge_step: int | None = None, project: str = "alzgan", offline: bool = False
    ):
        known = run_dir / "wandb_id.txt"
        run_id = known.read_text(encoding="utf-8") if known.exists() else uuid4().hex
        swept = (run_dir.parent / "multirun.yaml").exists()
        try:
            super().__init__(
                name=run_dir.name,
                id=run_id,
                group=run_dir.parent.name if swept else None,
                save_dir=run_dir,
                project=project,
                offline=offline,
                resume="allow",
            )
        except ModuleNotFoundError:
            raise UserError("logger=wandb needs wandb: pip install -e '.[wandb]'") from None
        if RANK_ZERO.rank == 0 and not known.exists():
            with replacing(known) as part:
                part.write_text(run_id, encoding="utf-8")

    def show_image(self, tag: str, image: Tensor, step: int) -> None:
        """Show an image."""
        self.log_image(tag, [image.permute(1, 2, 0).numpy()], step)
