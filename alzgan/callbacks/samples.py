"""What the generator makes of the same latents, all through the run, beside what is real."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from alzgan.callbacks.logging import show_image
from alzgan.callbacks.schedule import epoch_is_due, run_is_over
from alzgan.device.pixels import viewable
from alzgan.errors import at_least
from alzgan.files import replacing
from alzgan.gan import GAN


class FixedLatentSamples(Callback):
    """A grid of `count` samples from fixed latents, in TensorBoard and as `samples/step_*.png`.

    Drawn at the start, every n epochs (or steps, if set) and at the end; a conditional model's has a row for
    each of its first `count` classes, and one whose labels have numbers shows one latent a row, the first
    number rising from column to column. One grid of real images is logged at the start: `samples/real.png`.

    Args:
        count: images in the grid.
        every_n_epochs: None: at the start and end only.
        every_n_train_steps: in place of every_n_epochs.

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

    def on_train_start(self, trainer: Trainer, pl_module: GAN) -> None:
        """Log the real grid and the untrained generator's."""
        if not trainer.is_global_zero or trainer.global_step > 0:
            return
        images, _ = trainer.datamodule.sample_real(self.count)
        self.write(trainer, images, "real/grid", "real", round(self.count**0.5))
        self.draw(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: GAN, *args: Any) -> None:
        """Draw where the steps are counted."""
        every = self.every_n_train_steps
        if every and trainer.global_step % every == 0 and not run_is_over(trainer):
            self.draw(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: GAN) -> None:
        """Draw where the epochs are counted, and at the end."""
        if epoch_is_due(trainer, self.every_n_epochs):
            self.draw(trainer, pl_module)

    def draw(self, trainer: Trainer, gan: GAN) -> None:
        """Sample, and write the grid of this step."""
        if trainer.is_global_zero:
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
        """Write uint8 images (N, C, H, W) as one grid, to TensorBoard and to a PNG file."""
        grid = make_grid(viewable(images).cpu(), nrow=columns, padding=2)
        folder = Path(trainer.default_root_dir) / "samples"
        folder.mkdir(exist_ok=True)
        with replacing(folder / f"{name}.png") as part:
            Image.fromarray(grid.permute(1, 2, 0).numpy()).save(part, format="PNG")
        show_image(trainer, tag, grid)


def rising(rows: int, columns: int, gan: GAN) -> Tensor:
    """Numbers (rows * columns, m) of labels: the first from -1 to 1 in each row, the others in the middle."""
    numbers = torch.zeros(rows, columns, gan.numbers, device=gan.device)
    numbers[:, :, 0] = torch.linspace(-1, 1, columns, device=gan.device)
    return numbers.flatten(0, 1)
