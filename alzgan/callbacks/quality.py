"""How far the generated images are from the real ones, measured while the model trains."""

import hashlib
import logging
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor

from alzgan.callbacks.logging import log_metrics, show_text
from alzgan.callbacks.schedule import epoch_is_due
from alzgan.data.datamodule import MRIDataModule
from alzgan.device.pixels import viewable
from alzgan.errors import UserError, at_least
from alzgan.files import cache_folder, read_arrays, unwritable_cache, write_arrays
from alzgan.gan import GAN
from alzgan.metrics.distances import frechet, moments
from alzgan.metrics.features import default_extractor

log = logging.getLogger(__name__)


class Quality(Callback):
    """The Fréchet distance (Heusel et al. 2017) of generated to real training images; lower is better.

    Every k epochs and at the end, on the training device, always from the same latents. The features of the
    real images are computed once and kept in the cache; each class weighs as it is shown in training
    (`data.sampling`). The value is logged as `quality/<distance>`, `fid` only with Inception's weights, and
    as the metric `objective` that `best.ckpt` and sweeps use.

    Args:
        n_samples: generated images.
        every_n_epochs: between two evaluations; None: at the end only.
        batch_size: of generation and feature extraction.
        weights: path of Inception's weights; None: where torchmetrics keeps them.
        download: whether to try the network where they are missing.
        cache_dir: of the real images' features, see `alzgan.files.cache_folder`.

    Raises:
        SettingError: a value is out of its range.
        UserError: `weights` is given but is not the 2015 Inception network.
    """

    def __init__(
        self,
        n_samples: int = 2048,
        every_n_epochs: int | None = 5,
        batch_size: int = 64,
        weights: str | None = None,
        download: bool = True,
        cache_dir: str | None = None,
    ):
        at_least(2, n_samples=n_samples)  # a covariance needs two
        at_least(1, every_n_epochs=every_n_epochs, batch_size=batch_size)
        self.n_samples = n_samples
        self.every_n_epochs = every_n_epochs
        self.batch_size = batch_size
        self.cache_dir = cache_folder(cache_dir)
        self.extractor = default_extractor(weights, download)
        self.tag = f"quality/{self.extractor.distance}"

    def on_fit_start(self, trainer: Trainer, pl_module: GAN) -> None:
        """Say what will be measured and prepare the real side of it."""
        # Kept out of the module, where its states would enter every checkpoint.
        self.extractor.to(pl_module.device)
        self.describe(trainer)
        data, real = trainer.datamodule, None
        if trainer.is_global_zero:
            real = moments(self.real_features(data, pl_module.device), data.image_weights())
        self.real = trainer.strategy.broadcast(real)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: GAN) -> None:
        """Measure where it is due."""
        if not epoch_is_due(trainer, self.every_n_epochs):
            return
        value = self.measure(pl_module)
        pl_module.log("objective", value, logger=False, sync_dist=True)
        log_metrics(trainer, {self.tag: value})

    def measure(self, gan: GAN) -> float:
        """The distance of `n_samples` fresh samples, of which every rank generates its share."""
        strategy, ranks = gan.trainer.strategy, gan.trainer.world_size
        for buffer in gan.sampler.buffers():  # a checkpoint has the first rank's batch-norm statistics
            buffer.copy_(strategy.broadcast(buffer))
        rounds = -(-self.n_samples // (self.batch_size * ranks))
        # As many batches on each rank; the last ones may be more than is asked for.
        labels = gan.trainer.datamodule.draw_labels(self.n_samples, "quality").to(gan.device)
        labels = labels.repeat(2 + self.batch_size * ranks // self.n_samples).split(self.batch_size)
        found = []
        for batch in range(gan.global_rank, rounds * ranks, ranks):
            latents = gan.latents(self.batch_size, "quality", batch)
            found.append(self.extractor(viewable(gan.sample(latents, labels[batch]))))
        features = strategy.all_gather(torch.stack(found)).reshape(ranks, rounds, self.batch_size, -1)
        return frechet(self.real, moments(features.transpose(0, 1).flatten(0, 2)[: self.n_samples].cpu()))

    def real_features(self, data: MRIDataModule, device: torch.device) -> Tensor:
        """The features (N, F) of all real training images, from the cache or computed and put there.

        Raises:
            UserError: the cache cannot be written.
        """
        key = hashlib.sha256(f"{self.extractor.name} {data.fingerprint}".encode()).hexdigest()[:16]
        path = self.cache_dir / f"features-{key}.npz"
        stored = read_arrays(path).get("features")
        if stored is not None and stored.shape == (len(data), self.extractor.num_features):
            return torch.from_numpy(stored)
        batches = data.real_batches(self.batch_size)
        features = torch.cat([self.extractor(viewable(images).to(device)).cpu() for images in batches])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_arrays(path, features=features.numpy())
        except OSError as error:
            raise unwritable_cache(path.parent, error) from None
        return features

    def describe(self, trainer: Trainer) -> None:
        """Log the extractor, the counts and the resize setting: what the numbers mean."""
        text = (
            f"{self.tag}: extractor {self.extractor.name}, {self.n_samples} generated images, "
            f"{len(trainer.datamodule)} real training images, resize {self.extractor.resize}"
        )
        log.info(text)
        if trainer.ckpt_path is None:
            show_text(trainer, "quality/method", text)

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
