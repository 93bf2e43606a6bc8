"""Log losses and speed, and show a progress bar."""

import logging
import sys
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from torch import Tensor
from tqdm import tqdm

from alzgan.callbacks import data_of
from alzgan.callbacks.logging import log_metrics

LINES = 20  # progress lines of a run whose stderr is not a terminal

log = logging.getLogger(__name__)


class TrainingProgress(ProgressBar):
    """Log the steps' scalars every `trainer.log_every_n_steps` steps, and show a bar that counts images.

    If stderr is not a terminal, occasional lines replace the bar. Training waits for the device only when
    values are logged. A scalar that a step lacks, such as a penalty that is not due, keeps its last value.

    Args:
        bar: whether to show the bar.
    """

    def __init__(self, bar: bool = True):
        super().__init__()
        self.enabled = bar
        self.in_lines = bar and not sys.stderr.isatty()
        self.bar = tqdm(disable=True)
        self.said: dict[str, Tensor | float] = {}

    def disable(self) -> None:
        """Hide the bar; scalars are still logged."""
        self.enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock and the bar."""
        self.images_a_step = data_of(trainer).batch_size * trainer.world_size
        self.last_step, self.last_time = trainer.global_step, time.perf_counter()
        steps = trainer.estimated_stepping_batches
        self.bar = tqdm(
            total=None if steps == float("inf") else int(steps) * self.images_a_step,
            initial=trainer.global_step * self.images_a_step,
            unit="img",
            desc="Training",
            dynamic_ncols=True,
            disable=self.in_lines or not (self.enabled and trainer.is_global_zero),
        )
        self.steps_a_line = max(1, steps // LINES) if steps != float("inf") else 1000
        self.next_line = trainer.global_step + self.steps_a_line

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Log every n steps."""
        self.said |= outputs
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # Lightning does not declare it
        if trainer.global_step % every == 0:
            self.report(trainer)

    def report(self, trainer: Trainer) -> None:
        """Read the scalars from the device, log them and move the bar."""
        values = {name: float(value) for name, value in self.said.items()}
        now, steps = time.perf_counter(), trainer.global_step - self.last_step
        values["speed/images_per_second"] = steps * self.images_a_step / (now - self.last_time)
        self.last_step, self.last_time = trainer.global_step, now
        log_metrics(trainer, values)
        losses = {"D": f"{values['loss/discriminator']:.3f}", "G": f"{values['loss/generator']:.3f}"}
        self.bar.set_postfix(losses, refresh=False)
        self.bar.update(trainer.global_step * self.images_a_step - self.bar.n)
        if self.in_lines and trainer.global_step >= self.next_line:
            self.next_line = trainer.global_step + self.steps_a_line
            of = f" of {self.bar.total // self.images_a_step}" if self.bar.total else ""
            speed = f"{values['speed/images_per_second']:.0f} images/s"
            log.info(f"Step {trainer.global_step}{of}: {speed}, D {losses['D']}, G {losses['G']}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Complete the bar."""
        self.bar.update(trainer.global_step * self.images_a_step - self.bar.n)
        self.bar.close()

    def state_dict(self) -> dict[str, Any]:
        """The last scalars, which a resumed run logs until it gets new ones."""
        return {"said": {name: float(value) for name, value in self.said.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.said = dict(state_dict["said"])

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the error begins on its own line."""
        self.bar.close()
