"""The distance between generated and real images, measured during training."""

import logging
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer

from alzgan.callbacks import data_of, gan_of
from alzgan.callbacks.logging import log_metrics, show
from alzgan.callbacks.schedule import epoch_is_due
from alzgan.data.datamodule import MRIDataModule
from alzgan.data.features import features_of
from alzgan.data.loader import SliceDataset
from alzgan.errors import UserError, at_least, one_of
from alzgan.files import cache_folder
from alzgan.gan import GAN
from alzgan.metrics.distances import FRECHET, KERNEL_DISTANCE, frechet, kernel_distance, mean_kernel, moments
from alzgan.metrics.features import FeatureExtractor, RandomConvFeatures, feature_space
from alzgan.metrics.inception import INCEPTION_FILE, InceptionFeatures, is_at_hand, usual_place
from alzgan.text import counted, printable

log = logging.getLogger(__name__)

DISTANCES = {"frechet": FRECHET, "kernel": KERNEL_DISTANCE}
LEAST_PEOPLE = 10  # of validation; fewer people would choose a run by their own traits


class Quality(Callback):
    """The distance in a feature space between generated images and real ones of validation people.

    Lower is better. It is measured every n epochs and at the end, on the training device, always from the
    same latents. The features of the real images are cached. Each class weighs as much as in training
    (`data.sampling`). The value is logged as `quality/<distance>_<space>` (`fid` and `kid` only with
    Inception's weights) and as the metric `objective`, which `best.ckpt` and sweeps use.

    A generator that copies training people has the smallest distance to them. So they are the real side only
    if there are fewer than `LEAST_PEOPLE` validation people, or in a run that an older version began with
    them, since all values of a run must compare. They also stand in for a class without validation people.
    The log says so.

    Args:
        n_samples: number of generated images.
        every_n_epochs: epochs between two measurements; None: only at the end.
        batch_size: of generation and feature extraction.
        extractor: a feature space, see `alzgan.metrics.features.feature_space`; None: Inception if its
            weights are found or downloaded, else random convolutions.
        distance: "frechet" (Heusel et al. 2017) or "kernel" (Bińkowski et al. 2018).
        download: whether to download Inception's weights if they are missing and `extractor` is None.
        cache_dir: of the real images' features, see `alzgan.files.cache_folder`.

    Raises:
        SettingError: a value is out of its range.
        UserError: the weights are missing or not those of the space.
    """

    def __init__(
        self,
        n_samples: int = 2048,
        every_n_epochs: int | None = 5,
        batch_size: int = 64,
        extractor: str | None = None,
        distance: str = "frechet",
        download: bool = True,
        cache_dir: str | None = None,
    ):
        at_least(2, n_samples=n_samples)  # a covariance needs two
        one_of(DISTANCES, distance=distance)
        at_least(1, every_n_epochs=every_n_epochs, batch_size=batch_size)
        self.n_samples = n_samples
        self.every_n_epochs = every_n_epochs
        self.batch_size = batch_size
        self.cache_dir = cache_folder(cache_dir)
        self.extractor = feature_space(extractor)[0] if extractor else default_extractor(download)
        self.distance = distance
        self.tag = f"quality/{name_of(distance, self.extractor)}"
        self.people: str | None = None  # the part of the data that is the real side, once it is known
        self.real: Any = None  # moments; or features, weights and the mean kernel

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what will be measured, and prepare the real side."""
        # Not in the module, whose checkpoints would then hold the extractor's weights.
        self.extractor.to(pl_module.device)
        data = data_of(trainer)
        images, words = self.real_images(data)
        self.describe(trainer, words)
        real: Any = None
        if trainer.is_global_zero:
            pixels = data.shown(images[np.arange(len(images))][0])
            features = features_of(pixels, self.extractor, self.cache_dir, pl_module.device)
            weights = data.image_weights(images)
            if self.distance == "kernel":
                real = features, weights, mean_kernel(features, weights=weights)
            else:
                real = moments(features, weights)
        self.real = trainer.strategy.broadcast(real)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure if it is due."""
        if not epoch_is_due(trainer, self.every_n_epochs):
            return
        value = self.measure(gan_of(pl_module))
        pl_module.log("objective", value, logger=False, sync_dist=True)
        log_metrics(trainer, {self.tag: value})

    def measure(self, gan: GAN) -> float:
        """The distance of `n_samples` new samples; each rank generates its share."""
        strategy, ranks = gan.trainer.strategy, gan.trainer.world_size
        for buffer in gan.sampler.buffers():  # a checkpoint has the first rank's batch-norm statistics
            buffer.copy_(strategy.broadcast(buffer))
        rounds = -(-self.n_samples // (self.batch_size * ranks))
        # Each rank has the same number of batches, so there may be more samples than `n_samples`.
        data = data_of(gan.trainer)
        labels = data.draw_labels(self.n_samples, "quality").to(gan.device)
        again = torch.arange(rounds * ranks * self.batch_size) % self.n_samples
        labels = labels[again.to(gan.device)].split(self.batch_size)
        found = []
        for batch in range(gan.global_rank, rounds * ranks, ranks):
            latents = gan.latents(self.batch_size, "quality", batch)
            found.append(self.extractor(data.shown(gan.sample(latents, labels[batch]))))
        features = strategy.all_gather(torch.stack(found)).reshape(ranks, rounds, self.batch_size, -1)
        fake = features.transpose(0, 1).flatten(0, 2)[: self.n_samples].cpu()
        if self.distance == "frechet":
            return frechet(self.real, moments(fake))
        real, weights, known = self.real
        return kernel_distance(real, fake, real_weights=weights, real_kernel=known)

    def real_images(self, data: MRIDataModule) -> tuple[SliceDataset, str]:
        """The images to compare samples with, and how many people they show, in words."""
        unseen, trained = data.people_in("validation"), data.people_in("train")
        why = "as this run began"
        if self.people is None:
            self.people = "validation" if unseen >= LEAST_PEOPLE else "train"
            why = f"there are {unseen} of validation and {LEAST_PEOPLE} are needed"
        if self.people == "train":
            return data.train, (
                f"{len(data)} real images of {counted(trained, 'training person', 'training people')}, which "
                f"favours copies of them: {why}"
            )
        images, lacking = data.validation_images()
        words = f"{len(images)} real images of {unseen} validation people"
        if lacking:
            words += f" and, for lack of these in {', '.join(map(printable, lacking))}, of training people"
        return images, words

    def describe(self, trainer: Trainer, real: str) -> None:
        """Log what is compared. TensorBoard also has the extractor and its resizing."""
        text = f"{self.tag}: {self.n_samples} generated images beside {real}"
        log.info(text)
        if trainer.ckpt_path is None:
            method = f"{text}; extractor {self.extractor.name}: {self.extractor.method}"
            show(trainer, "show_text", "quality/method", method)

    def state_dict(self) -> dict[str, Any]:
        """The extractor, the distance and the people by which the run is measured."""
        return {"extractor": self.extractor.name, "distance": self.distance, "people": self.people}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that old and new values compare: the best of a run is chosen among them."""
        self.people = state_dict.get("people", "train")  # older versions had no others
        before = state_dict["extractor"], state_dict.get("distance", "frechet")
        if before != (self.extractor.name, self.distance):
            raise UserError(
                f"the run was measured by {' and '.join(before)}, here is {self.extractor.name} and "
                f"{self.distance}: give callbacks.quality the same extractor and distance, or "
                "callbacks.quality=null"
            )


def name_of(distance: str, extractor: FeatureExtractor) -> str:
    """The name of the distance in the extractor's features."""
    if isinstance(extractor, InceptionFeatures):
        return DISTANCES[distance].in_inception
    return f"{distance}_{extractor.space.replace('-', '_')}"


def default_extractor(download: bool) -> FeatureExtractor:
    """Inception if its weights are found or downloaded; else random convolutions, with a log line."""
    if is_at_hand(download):
        return InceptionFeatures()
    log.info(
        "Quality is measured in features of a random network. A better judge is "
        f"callbacks.quality.extractor=imagenet-lite0, or FID with {INCEPTION_FILE} in {usual_place().parent}"
    )
    return RandomConvFeatures()
