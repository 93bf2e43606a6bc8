"""Grids of samples from the same latents throughout the run, and one grid of real images."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from alzgan.callbacks import data_of, gan_of
from alzgan.callbacks.logging import show
from alzgan.callbacks.schedule import epoch_is_due, run_is_over
from alzgan.errors import at_least
from alzgan.files import replacing
from alzgan.gan import GAN


class FixedLatentSamples(Callback):
    """A grid of `count` samples from fixed latents, in TensorBoard and as `samples/step_*.png`.

    The callback draws it at the start, every n epochs (or steps, if set) and at the end. A conditional
    model's grid has one row for each of its first `count` classes. If its labels have numbers, each row shows
    one latent while the first number rises from column to column. At the start there is also a grid of real
    images, `samples/real.png`.

    Args:
        count: images in the grid.
        every_n_epochs: epochs between two grids; None: only at the start and the end.
        every_n_train_steps: steps between two grids, in place of every_n_epochs.

    Raises:
        SettingError: a value is out of its range.
    """

    def __init__(
        self, count: int = 64, every_n_epochs: int | None = 5, every_n_train_steps: int | None = None
    ):
        at_least(1, count=count, every_n_epochs=every_n_epochs, every_n_train_steps=every_n_train_steps)
        self.count = count
        self.every_n_epochs = None if every_n_train_steps else every_n_epochs
        self.every_n_train_steps = every_n_train_steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log a grid of real images and one of the untrained generator."""
        if not trainer.is_global_zero or trainer.global_step > 0:
            return
        images, _ = data_of(trainer).sample_real(self.count)
        self.write(trainer, images, "real/grid", "real", round(self.count**0.5))
        self.draw(trainer)

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Draw every n steps."""
        every = self.every_n_train_steps
        if every and trainer.global_step % every == 0 and not run_is_over(trainer):
            self.draw(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw every n epochs and at the end."""
        if epoch_is_due(trainer, self.every_n_epochs):
            self.draw(trainer)

    def draw(self, trainer: Trainer) -> None:
        """Write a grid of samples of this step."""
        if trainer.is_global_zero:
            gan = gan_of(trainer.lightning_module)
            rows = min(gan.classes or round(self.count**0.5), self.count)
            columns = self.count // rows
            labels = torch.arange(rows, device=gan.device).repeat_interleave(columns)
            count = len(labels) if gan.conditional else self.count
            latents = gan.latents(count, "samples")
            if gan.numbers:
                labels = torch.cat([labels[:, None] % max(1, gan.classes), rising(rows, columns, gan)], 1)
                latents = latents[::columns].repeat_interleave(columns, 0)
            images = gan.sample(latents, labels)
            self.write(trainer, images, "samples/grid", f"step_{trainer.global_step:07d}", columns)

    def write(self, trainer: Trainer, images: Tensor, tag: str, name: str, columns: int) -> None:
        """Write uint8 images (N, C, H, W) as one grid, to the loggers and to a PNG file."""
        grid = make_grid(data_of(trainer).shown(images).cpu(), nrow=columns, padding=2)
        folder = Path(trainer.default_root_dir) / "samples"
        folder.mkdir(exist_ok=True)
        with replacing(folder / f"{name}.png") as part:
            Image.fromarray(grid.permute(1, 2, 0).numpy()).save(part, format="PNG")
        show(trainer, "show_image", tag, grid)


def rising(rows: int, columns: int, gan: GAN) -> Tensor:
    """Numbers (rows * columns, m) of labels: the first rises from -1 to 1 in each row, the others are 0."""
    numbers = torch.zeros(rows, columns, gan.numbers, device=gan.device)
    numbers[:, :, 0] = torch.linspace(-1, 1, columns, device=gan.device)
    return numbers.flatten(0, 1)
