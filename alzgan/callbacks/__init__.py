"""Callbacks that watch and save a run. Two functions narrow Lightning's types in their hooks."""

from typing import cast

from lightning import LightningModule, Trainer

from alzgan.data.datamodule import MRIDataModule
from alzgan.gan import GAN


def gan_of(pl_module: LightningModule) -> GAN:
    """The module in training, which is always a `GAN`."""
    return cast(GAN, pl_module)


def data_of(trainer: Trainer) -> MRIDataModule:
    """The run's data."""
    return trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it without declaring it
