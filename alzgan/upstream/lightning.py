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
    "The 'train_dataloader' does not have many workers",  # the data is decoded already
    "The number of training batches",  # fewer batches in an epoch than log_every_n_steps: small data
    "The `srun` command is available on your system",  # and so it may be; one process needs none
    "GPU available but not used",  # trainer.accelerator=cpu says so
    "You're resuming from a checkpoint that ended before the epoch ended",  # ShuffledBatches goes on there
)


def count_step(optimizer: LightningOptimizer) -> None:
    """Let `trainer.global_step` count one step, which each `LightningOptimizer.step` would."""
    optimizer._on_before_step()
    optimizer._on_after_step()


def set_progress(checkpoint: dict[str, Any], batches: int) -> None:
    """Let a checkpoint's counters say exactly: `global_step` steps are done, of epochs of so many batches.

    Lightning's own depend on the hook that a checkpoint was saved in, and on how the run ended; the epoch
    that follows would then be skipped, begun anew or counted twice.
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
    """Whether `set_progress` can be told of a checkpoint."""
    try:
        loop = checkpoint["loops"]["fit_loop"]
        progress = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
        counts = [each[part] for each in progress for part in ("total", "current")]
        return all(isinstance(each, dict) for each in (*counts, loop["epoch_loop.state_dict"]))
    except (KeyError, TypeError):
        return False


def requeue_signal(trainer: Trainer) -> int | None:
    """The signal at which Lightning puts a Slurm job back into its queue; None where it does not."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        return environment.requeue_signal or signal.SIGUSR1
    return None


def know_the_node(num_nodes: int) -> None:
    """Let `rank_zero_only` know, before there is a trainer, that this is not the first of several nodes.

    Of nodes that are told their number by NODE_RANK, Lightning takes each for the first one until then.
    """
    if num_nodes > 1:
        rank_zero_only.rank = rank_zero_only.rank or LightningEnvironment().node_rank()


def kill_other_ranks(trainer: Trainer) -> None:
    """End the processes that Lightning has started for the other ranks, if it has."""
    if hasattr(trainer.strategy.launcher, "procs"):
        trainer.strategy.launcher.kill(signal.SIGKILL)


def scales_losses(trainer: Trainer) -> bool:
    """Whether the precision is float16 with its loss scale, which leaves steps out."""
    return getattr(trainer.precision_plugin, "scaler", None) is not None


def ask_the_runtime_for_devices() -> None:
    """Take back Lightning's choice that torch asks NVIDIA's management library whether there is a device.

    Where there is none, each step of Adam searches the disk for that library: 0.4 ms for both players' steps.
    """
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


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
