"""How far the generated images are from the real ones, measured while the model trains."""

import hashlib
import logging
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from lightning import Callback, Trainer
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from alzgan.callbacks.schedule import epoch_is_due
from alzgan.data.arrays import cache_folder, unwritable_cache
from alzgan.gan import GAN
from alzgan.metrics.features import default_extractor
from alzgan.runtime.errors import UserError
from alzgan.runtime.files import replacing
from alzgan.runtime.images import viewable

log = logging.getLogger(__name__)

REAL_STATISTICS = ("real_features_sum", "real_features_cov_sum", "real_features_num_samples")


class Quality(Callback):
    """The Fréchet distance (Heusel et al. 2017) of generated to real training images; lower is better.

    Every k epochs and at the end, on the training device, always from the same latents. The statistics of
    the real images are computed once and kept in the cache. The value is logged as `quality/<distance>`,
    `fid` only with Inception's weights, and as the metric `objective` that `best.ckpt` and sweeps use.

    Args:
        n_samples: generated images.
        every_n_epochs: between two evaluations.
        batch_size: of generation and feature extraction.
        weights: path of Inception's weights; None: where torchmetrics keeps them.
        download: whether to try the network where they are missing.
        cache_dir: of the real images' statistics; None: the data's cache.

    Raises:
        UserError: `weights` is given but is not the 2015 Inception network.
    """

    def __init__(
        self,
        n_samples: int = 2048,
        every_n_epochs: int = 5,
        batch_size: int = 64,
        weights: str | None = None,
        download: bool = True,
        cache_dir: str | None = None,
    ):
        self.n_samples = n_samples
        self.every_n_epochs = every_n_epochs
        self.batch_size = batch_size
        self.cache_dir = cache_folder(cache_dir)
        self.extractor = default_extractor(weights, download)
        self.tag = f"quality/{self.extractor.distance}"

    def on_fit_start(self, trainer: Trainer, pl_module: GAN) -> None:
        """Say what will be measured and prepare the real side of it."""
        # Kept out of the module, where its states would enter every checkpoint.
        self.distance = FrechetInceptionDistance(self.extractor, reset_real_features=False)
        self.distance.to(pl_module.device)
        self.distance.orig_dtype = torch.float32  # set by its updates only: a rank may have none
        self.describe(trainer)
        self.load_real(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: GAN) -> None:
        """Measure where it is due."""
        if not epoch_is_due(trainer, self.every_n_epochs):
            return
        value = self.measure(pl_module)
        pl_module.log("objective", value, logger=False, sync_dist=True)
        if trainer.logger is not None:
            trainer.logger.log_metrics({self.tag: value}, step=trainer.global_step)

    def measure(self, gan: GAN) -> float:
        """The distance of `n_samples` fresh samples; every rank generates its share of the batches."""
        for buffer in gan.generator.buffers():  # a checkpoint has the first rank's batch-norm statistics
            buffer.copy_(gan.trainer.strategy.broadcast(buffer))
        starts = range(0, self.n_samples, self.batch_size)
        for batch in range(gan.global_rank, len(starts), gan.trainer.world_size):
            count = min(self.batch_size, self.n_samples - starts[batch])
            self.distance.update(viewable(gan.sample(gan.latents(count, "quality", batch))), real=False)
        value = self.distance.compute().item()
        self.distance.reset()
        return value

    def state_dict(self) -> dict[str, Any]:
        """What the run's values were measured by."""
        return {"extractor": self.extractor.name}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that they stay comparable: the best of a run is chosen among them."""
        if state_dict["extractor"] != self.extractor.name:
            raise UserError(
                f"the run was measured by {state_dict['extractor']}, here is {self.extractor.name}: set "
                "callbacks.quality.weights to the file that the run began with, or callbacks.quality=null"
            )

    def load_real(self, trainer: Trainer) -> None:
        """Take the real statistics from the cache, or compute them and put them there."""
        data = trainer.datamodule
        key = hashlib.sha256(f"{self.extractor.name} {data.fingerprint}".encode()).hexdigest()[:16]
        path = self.cache_dir / f"statistics-{key}.npz"
        if trainer.is_global_zero and not self.holds_real(path):
            self.compute_real(data.real_batches(self.batch_size))
            self.save_real(path)
        trainer.strategy.barrier()
        for name, values in read_statistics(path).items():
            # Under DDP the ranks' sums are added: one rank brings the real ones.
            setattr(self.distance, name, (values * int(trainer.is_global_zero)).to(self.distance.device))

    def holds_real(self, path: Path) -> bool:
        """Whether the file has whole statistics of this extractor's features; what is damaged is replaced."""
        try:
            stored = read_statistics(path)
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile, zlib.error):
            return False
        return all(values.shape == getattr(self.distance, name).shape for name, values in stored.items())

    def compute_real(self, batches: Iterable[Tensor]) -> None:
        """Extract the features of all real training images."""
        for images in batches:
            self.distance.update(viewable(images).to(self.distance.device), real=True)

    def save_real(self, path: Path) -> None:
        """Write the sums of the real features to the cache.

        Raises:
            UserError: it cannot be written.
        """
        sums = {name: getattr(self.distance, name).cpu().numpy() for name in REAL_STATISTICS}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as part, part.open("wb") as file:
                np.savez(file, **sums)
        except OSError as error:
            raise UserError(unwritable_cache(path.parent, error)) from None

    def describe(self, trainer: Trainer) -> None:
        """Log the extractor, the counts and the resize setting: what the numbers mean."""
        text = (
            f"{self.tag}: extractor {self.extractor.name}, {self.n_samples} generated images, "
            f"{len(trainer.datamodule)} real training images, resize {self.extractor.resize}"
        )
        log.info(text)
        if trainer.logger is not None and trainer.ckpt_path is None:
            trainer.logger.experiment.add_text("quality/method", text, trainer.global_step)


def read_statistics(path: Path) -> dict[str, Tensor]:
    """The sums of the real features that `Quality.save_real` wrote, by name."""
    # Opened here: numpy leaves a file that is no zip archive open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in REAL_STATISTICS}
