"""The times at which periodic callbacks act."""

from lightning import Trainer


def run_is_over(trainer: Trainer) -> bool:
    """Whether the step just taken is the last of the run."""
    return trainer.should_stop or trainer.global_step >= trainer.estimated_stepping_batches


def epoch_is_due(trainer: Trainer, every_n_epochs: int | None) -> bool:
    """Whether the epoch just ended is one of every n, or the last of the run."""
    due = every_n_epochs is not None and (trainer.current_epoch + 1) % every_n_epochs == 0
    return due or run_is_over(trainer)
