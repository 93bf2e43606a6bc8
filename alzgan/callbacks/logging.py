"""Log to all loggers of a run; skip those that cannot show an image or a text."""

from typing import Any

from lightning import Trainer
from torch import Tensor


def log_metrics(trainer: Trainer, values: dict[str, float]) -> None:
    """Log numbers by tag, at the trainer's step."""
    for logger in trainer.loggers:
        logger.log_metrics(values, step=trainer.global_step)


def show_image(trainer: Trainer, tag: str, image: Tensor) -> None:
    """Show a uint8 image (C, H, W)."""
    show(trainer, "show_image", tag, image)


def show_text(trainer: Trainer, tag: str, text: str) -> None:
    """Show a text."""
    show(trainer, "show_text", tag, text)


def show(trainer: Trainer, method: str, tag: Any, value: Any) -> None:
    """Call a method of each logger that has it."""
    for logger in trainer.loggers:
        if hasattr(logger, method):
            getattr(logger, method)(tag, value, trainer.global_step)
