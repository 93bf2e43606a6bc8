"""Log to all loggers of a run; skip those that cannot show an image or a text."""

from typing import Any

from lightning import Trainer


def log_metrics(trainer: Trainer, values: dict[str, float]) -> None:
    """Log numbers by tag, at the trainer's step."""
    for logger in trainer.loggers:
        logger.log_metrics(values, step=trainer.global_step)


def show(trainer: Trainer, method: str, tag: Any, value: Any) -> None:
    """Call a method, such as `show_image`, of each logger that has it; images are uint8 (C, H, W)."""
    for logger in trainer.loggers:
        if hasattr(logger, method):
            getattr(logger, method)(tag, value, trainer.global_step)
