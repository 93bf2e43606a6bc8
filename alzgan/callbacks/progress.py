"""Losses, probabilities and speed: to TensorBoard, and on one line of the terminal for the whole run."""

import time
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ProgressBar
from torch import Tensor
from tqdm import tqdm

from alzgan.gan import GAN


class TrainingProgress(ProgressBar):
    """Scalars every `trainer.log_every_n_steps` steps, and a bar that counts images.

    Between two logs no value is read from the device, so that training never waits for it.

    Args:
        bar: whether to show the bar.
    """

    def __init__(self, bar: bool = True):
        super().__init__()
        self.enabled = bar
        self.bar: tqdm | None = None

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
        if trainer.global_step % trainer.log_every_n_steps == 0:
            self.report(trainer, outputs)

    def report(self, trainer: Trainer, outputs: dict[str, Tensor]) -> None:
        """Read the step's values and show them."""
        values = scalars(outputs)
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


def scalars(outputs: dict[str, Tensor]) -> dict[str, float]:
    """A training step's tensors as the numbers that one watches, by TensorBoard tag.

    D(x) and D(G(z)) are mean probabilities in [0, 1]; D(G(z)) before and after the discriminator's step.
    """
    return {
        "loss/discriminator": outputs["discriminator_loss"].item(),
        "loss/generator": outputs["generator_loss"].item(),
        "probability/D(x)": outputs["real_logits"].sigmoid().mean().item(),
        "probability/D(G(z))_before_D_step": outputs["fake_logits"].sigmoid().mean().item(),
        "probability/D(G(z))_after_D_step": outputs["fake_logits_after"].sigmoid().mean().item(),
    }
