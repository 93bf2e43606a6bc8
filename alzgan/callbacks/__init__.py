"""Callbacks that watch and save a run. Three functions narrow Lightning's types in their hooks."""

from typing import TypeVar, cast

from lightning import Callback, LightningModule, Trainer

from alzgan.data.datamodule import MRIDataModule
from alzgan.gan import GAN

Kind = TypeVar("Kind", bound=Callback)


def gan_of(pl_module: LightningModule) -> GAN:
    """The module in training, which is always a `GAN`."""
    return cast(GAN, pl_module)


def data_of(trainer: Trainer) -> MRIDataModule:
    """The run's data."""
    return trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it without declaring it


def callback_of(trainer: Trainer, kind: type[Kind]) -> Kind | None:
    """The trainer's callback of this class, if it has one."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it without declaring it
    return next((callback for callback in callbacks if isinstance(callback, kind)), None)
