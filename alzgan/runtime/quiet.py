"""Keep a normal run free of lines that its user can do nothing about."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

HARMLESS = (
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning 2.6 on torch from 2.13 on
    "The 'train_dataloader' does not have many workers",  # the data is decoded already
    "The number of training batches",  # fewer batches in an epoch than log_every_n_steps: small data
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide Lightning's tips and the warnings listed here; all others pass."""
    lightning = logging.getLogger("lightning.pytorch")
    level = lightning.level
    lightning.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in HARMLESS:
            warnings.filterwarnings("ignore", message)
        yield
    lightning.setLevel(level)
