"""Callbacks that watch and save a run. Their hooks get Lightning's types, which two functions narrow."""

from typing import cast

from lightning import LightningModule, Trainer

from alzgan.data.datamodule import MRIDataModule
from alzgan.gan import GAN


def gan_of(pl_module: LightningModule) -> GAN:
    """The module in training: alzgan trains no other kind."""
    return cast(GAN, pl_module)


def data_of(trainer: Trainer) -> MRIDataModule:
    """The run's data."""
    return trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it without declaring it
