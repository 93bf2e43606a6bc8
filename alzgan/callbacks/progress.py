"""Losses, verdicts and speed: to TensorBoard, and on one line of the terminal for the whole run."""

import time
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ProgressBar
from torch import Tensor
from tqdm import tqdm

from alzgan.gan import GAN


class TrainingProgress(ProgressBar):
    """What the steps say, every `trainer.log_every_n_steps` steps, and a bar that counts images.

    Between two logs no value is read from the device, so that training never waits for it. What a step does
    not say, a penalty that was not due, is logged as it was said last.

    Args:
        bar: whether to show the bar.
    """

    def __init__(self, bar: bool = True):
        super().__init__()
        self.enabled = bar
        self.bar: tqdm | None = None
        self.said: dict[str, Tensor] = {}

    def disable(self) -> None:
        """Show no bar; scalars are logged all the same."""
        self.enabled = False

    def enable(self) -> None:
        """Show the bar."""
        self.enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: GAN) -> None:
        """Start the clock and the bar."""
        self.images_a_step = trainer.datamodule.batch_size * trainer.world_size
        self.last_step, self.last_time = trainer.global_step, time.perf_counter()
        steps = trainer.estimated_stepping_batches
        self.bar = tqdm(
            total=None if steps == float("inf") else int(steps) * self.images_a_step,
            initial=trainer.global_step * self.images_a_step,
            unit="img",
            desc="Training",
            dynamic_ncols=True,
            disable=not (self.enabled and trainer.is_global_zero),
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: GAN, outputs: dict[str, Tensor], *args: Any
    ) -> None:
        """Log this step if it is one of every n."""
        self.said |= outputs
        if trainer.global_step % trainer.log_every_n_steps == 0:
            self.report(trainer)

    def report(self, trainer: Trainer) -> None:
        """Read the values and show them."""
        values = {name: value.item() for name, value in self.said.items()}
        now, steps = time.perf_counter(), trainer.global_step - self.last_step
        values["speed/images_per_second"] = steps * self.images_a_step / (now - self.last_time)
        self.last_step, self.last_time = trainer.global_step, now
        if trainer.logger is not None:
            trainer.logger.log_metrics(values, step=trainer.global_step)
        self.bar.set_postfix(
            D=f"{values['loss/discriminator']:.3f}", G=f"{values['loss/generator']:.3f}", refresh=False
        )
        self.bar.update(trainer.global_step * self.images_a_step - self.bar.n)

    def on_train_end(self, trainer: Trainer, pl_module: GAN) -> None:
        """Complete the bar."""
        self.bar.update(trainer.global_step * self.images_a_step - self.bar.n)
        self.bar.close()

    def on_exception(self, trainer: Trainer, pl_module: GAN, exception: BaseException) -> None:
        """Leave the terminal clean for what follows."""
        if self.bar is not None:
            self.bar.close()
