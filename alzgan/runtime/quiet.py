"""Keep a normal run free of lines that its user can do nothing about."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

from lightning.pytorch.utilities import rank_zero_only

HARMLESS = (
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning 2.6 on torch from 2.13 on
    "The 'train_dataloader' does not have many workers",  # the data is decoded already
    "The number of training batches",  # fewer batches in an epoch than log_every_n_steps: small data
    "GPU available but not used",  # trainer.accelerator=cpu says so
    "You're resuming from a checkpoint that ended before the epoch ended",  # ShuffledBatches goes on there
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide Lightning's tips and the warnings listed here; all others pass.

    Of several processes only the first says what is not a warning.
    """
    names = ["lightning.pytorch", "lightning.fabric"] + (["alzgan"] if rank_zero_only.rank else [])
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in HARMLESS:
            warnings.filterwarnings("ignore", message)
        yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
