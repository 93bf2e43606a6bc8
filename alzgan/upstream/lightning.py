"""Private names of Lightning, checked with 2.6."""

import contextlib
import logging
import os
import signal
import warnings
from collections.abc import Iterator
from typing import Any

from lightning import Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_only

HARMLESS = (
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning 2.6 on torch from 2.13 on
    "torch.distributed.nn.functional.all_gather is deprecated",  # Lightning calls it in ddp
    "The 'train_dataloader' does not have many workers",  # none are needed: the data is already decoded
    "The number of training batches",  # small data: an epoch is shorter than log_every_n_steps
    "The `srun` command is available on your system",  # a single process needs no srun
    "GPU available but not used",  # as trainer.accelerator=cpu asks
    "You're resuming from a checkpoint that ended before the epoch ended",  # ShuffledBatches continues there
)
RANK_ZERO: Any = rank_zero_only  # a function with an attribute `rank`, which its annotations lack


def count_step(optimizer: LightningOptimizer) -> None:
    """Add one to `trainer.global_step`, as each `LightningOptimizer.step` would."""
    optimizer._on_before_step()
    optimizer._on_after_step()


def set_progress(checkpoint: dict[str, Any], batches: int) -> None:
    """Set a checkpoint's counters to exactly `global_step` steps, in epochs of `batches` steps.

    Lightning's counters depend on the hook in which a checkpoint was saved and on how the run ended: a
    resumed run would skip the next epoch, restart it or count it twice.
    """
    step = checkpoint["global_step"]
    epoch, batch = divmod(step, batches)
    loop = checkpoint["loops"]["fit_loop"]
    for counts in ("total", "current"):
        begun = epoch + (batch > 0)
        loop["epoch_progress"][counts] |= {"ready": begun, "started": begun}
        loop["epoch_progress"][counts] |= {"processed": epoch, "completed": epoch}
        steps = step if counts == "total" else batch
        loop["epoch_loop.batch_progress"][counts] |= dict.fromkeys(
            ("ready", "started", "processed", "completed"), steps
        )
    loop["epoch_loop.batch_progress"]["is_last_batch"] = False
    loop["epoch_loop.state_dict"]["_batches_that_stepped"] = step
    checkpoint["epoch"] = epoch


def has_progress(checkpoint: dict[str, Any]) -> bool:
    """Whether a checkpoint has the counters that `set_progress` sets."""
    try:
        loop = checkpoint["loops"]["fit_loop"]
        progress = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
        counts = [each[part] for each in progress for part in ("total", "current")]
        return all(isinstance(each, dict) for each in (*counts, loop["epoch_loop.state_dict"]))
    except (KeyError, TypeError):
        return False


def requeue_signal(trainer: Trainer) -> int | None:
    """The signal on which Lightning requeues a Slurm job; None if it does not."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        return environment.requeue_signal or signal.SIGUSR1
    return None


def know_the_node(num_nodes: int) -> None:
    """Set the rank of `rank_zero_only` on nodes after the first, before there is a trainer.

    Until then, Lightning takes every node that gets its number from NODE_RANK for the first.
    """
    if num_nodes > 1:
        RANK_ZERO.rank = RANK_ZERO.rank or LightningEnvironment().node_rank()


def kill_other_ranks(trainer: Trainer) -> None:
    """Kill the processes that Lightning has started for the other ranks, if there are any."""
    launcher = trainer.strategy.launcher
    if launcher is not None and hasattr(launcher, "procs"):
        launcher.kill(signal.SIGKILL)


def scales_losses(trainer: Trainer) -> bool:
    """Whether the precision is float16 with loss scaling, which skips steps whose gradients overflow."""
    return getattr(trainer.precision_plugin, "scaler", None) is not None


def ask_the_runtime_for_devices() -> None:
    """Undo Lightning's setting that lets torch ask NVIDIA's management library for devices.

    Without that library each step of Adam searches the disk for it: 0.4 ms for both players' steps.
    """
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide Lightning's tips and the warnings in `HARMLESS`; show all others.

    Of several processes only the first logs anything below a warning.
    """
    names = ["lightning.pytorch", "lightning.fabric"] + (["alzgan"] if RANK_ZERO.rank else [])
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in HARMLESS:
            warnings.filterwarnings("ignore", message)
        yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
