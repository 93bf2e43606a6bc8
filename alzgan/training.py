"""One training run, from accepted settings to the lines that say what came out."""

import contextlib
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from alzgan.callbacks.checkpoint import RunCheckpoint
from alzgan.callbacks.record import RunRecord
from alzgan.callbacks.signals import StopOnSignal
from alzgan.data.datamodule import MRIDataModule
from alzgan.gan import GAN
from alzgan.runtime.checkpoints import AtomicCheckpointIO, check_continuable, check_weights, load_checkpoint
from alzgan.runtime.config import check_targets
from alzgan.runtime.errors import UserError
from alzgan.runtime.files import (
    disk_errors_told,
    remove_parts,
    replacing,
    write_json,
    written_by_one_process,
)
from alzgan.runtime.overhead import Unprofiled, leave_out_needless_work
from alzgan.runtime.provenance import provenance
from alzgan.runtime.quiet import quiet
from alzgan.runtime.resume import Previous
from alzgan.runtime.streams import purpose_key
from alzgan.runtime.tensorboard import RunLogger

log = logging.getLogger(__name__)


def run(settings: DictConfig, overrides: Sequence[str] = (), previous: Previous | None = None) -> float:
    """Build what the settings name, train it, and return the best objective (inf if none was measured).

    Args:
        settings: a composed `conf/train.yaml`, its `run_dir` included.
        overrides: what the user changed of it, for the record.
        previous: the run so far, to be continued.

    Raises:
        UserError: the run cannot be continued from there, another process writes to its folder, training
            diverged, or the disk does not take more.
    """
    run_dir = Path(settings.run_dir)
    check_targets(settings)
    leave_out_needless_work()
    # The first rank holds the lock for all.
    lock = contextlib.nullcontext() if rank_zero_only.rank else written_by_one_process(run_dir)
    with quiet(), disk_errors_told(run_dir), lock:
        data = build("data", settings.data)
        data.setup()
        gan = build_model(settings)
        record = describe_run(overrides, data, previous)
        trainer = build_trainer(settings, record, previous)
        if previous is not None:
            check_continuation(previous, record, gan)
            tell_steps_taken_again(previous)
        if trainer.is_global_zero:
            write_record(settings, record, data)
        log.info(
            f"{len(data)} of {len(data.files)} images to train on, {len(data.classes)} classes; generator "
            f"{parameters(gan.generator):,} and discriminator {parameters(gan.discriminator):,} parameters"
        )
        trainer.fit(gan, datamodule=data, ckpt_path=previous and previous.path, weights_only=True)
    if trainer.is_global_zero:
        report(trainer, run_dir)
    checkpoint = RunCheckpoint.of(trainer)
    return checkpoint.best_objective if checkpoint is not None else float("inf")


def describe_run(overrides: Sequence[str], data: MRIDataModule, previous: Previous | None) -> dict[str, Any]:
    """The run's record: what it is made of, and the command lines of all its sessions."""
    before = previous.provenance if previous else {}
    now = provenance()
    session = {"command": now["command"], "from_step": previous.step if previous else 0}
    return {
        **now,
        "overrides": list(dict.fromkeys([*before.get("overrides", []), *overrides])),
        "sessions": [*before.get("sessions", []), session],
        "data": data.describe(),
    }


def check_continuation(previous: Previous, record: dict[str, Any], gan: GAN) -> None:
    """Check that the run would go on as if it had never stopped, and say from where.

    Raises:
        UserError: the data, the number of processes or the model is not the one that it began with.
    """
    before, path = previous.provenance, previous.path
    check_weights(gan, previous.checkpoint, path)
    check_continuable(gan.configure_optimizers(), previous.checkpoint, path)
    if before["data"]["fingerprint"] != record["data"]["fingerprint"]:
        raise UserError(
            f"the training images in {record['data']['root']} are not those that {path} was trained on: set "
            "data.root to those, or start a new run"
        )
    if before["world_size"] != record["world_size"]:
        raise UserError(
            f"{path} was trained by {before['world_size']} processes, here are {record['world_size']}, which "
            f"would change its batches: set trainer.devices={before['world_size']}"
        )
    changed = [f"{name} {was}" for name, was in before["packages"].items() if record["packages"][name] != was]
    log.info(
        f"Continuing {path} from step {previous.step}"
        + (f"; not to the bit, since it was trained with {', '.join(changed)}" if changed else "")
    )


def tell_steps_taken_again(previous: Previous) -> None:
    """Say which steps of the run are done already, where an earlier checkpoint than its last is continued."""
    last = previous.path.with_name("last.ckpt")
    if previous.path == last or previous.path.parent.name != "checkpoints" or not last.is_file():
        return
    with contextlib.suppress(UserError):  # a damaged last.ckpt may be why another is continued
        done = load_checkpoint(last)["global_step"]
        if done > previous.step:
            log.info(f"Steps {previous.step + 1} to {done} are taken again: {last} goes on to step {done}")


def build(name: str, node: DictConfig, **arguments: Any) -> Any:
    """Make what a node of the config names.

    Raises:
        UserError: the class refuses the values that it was given.
    """
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | MisconfigurationException):
            reason = " ".join(str(error.__cause__).split())
            raise UserError(f"{name}: {reason}") from error
        raise


def build_model(settings: DictConfig) -> GAN:
    """The model with its first weights, which are a function of the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(purpose_key(f"weights {settings.model.seed}") >> 32)
        gan = build("model", settings.model)
    # The layout of the decoded array; the arithmetic is the same, the convolutions are faster.
    return gan.to(memory_format=torch.channels_last)


def build_trainer(settings: DictConfig, record: dict[str, Any], previous: Previous | None) -> Trainer:
    """The Trainer with its callbacks and its logger; the number of processes is added to the record."""
    run_dir = Path(settings.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    callbacks = [build(f"callbacks.{name}", node) for name, node in settings.callbacks.items() if node]
    trainer = build(
        "trainer",
        settings.trainer,
        default_root_dir=run_dir,
        callbacks=[*callbacks, RunRecord(plain(settings), record), StopOnSignal()],
        logger=RunLogger(run_dir, purge_step=previous.step + 1 if previous else None),
        plugins=[AtomicCheckpointIO()],
        profiler=Unprofiled(),
        use_distributed_sampler=False,  # ShuffledBatches gives each rank its own part
        enable_model_summary=False,
    )
    record["world_size"] = trainer.world_size
    return trainer


def write_record(settings: DictConfig, record: dict[str, Any], data: MRIDataModule) -> None:
    """Write what the run is made of to its folder."""
    run_dir = Path(settings.run_dir)
    remove_parts(run_dir)
    write_json(run_dir / "run.json", record)
    with replacing(run_dir / "config.yaml") as part:
        OmegaConf.save(plain(settings), part)
    data.write_tables(run_dir)


def plain(settings: DictConfig) -> dict[str, Any]:
    """The resolved config as plain containers, without `ckpt_path`, which is of a session, not the run."""
    return OmegaConf.to_container(settings, resolve=True) | {"ckpt_path": None}


def parameters(module: torch.nn.Module) -> int:
    """How many numbers the module learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def report(trainer: Trainer, run_dir: Path) -> None:
    """Say where everything is."""
    checkpoint = RunCheckpoint.of(trainer)
    grids = sorted((run_dir / "samples").glob("step_*.png"))
    log.info(f"Trained {trainer.global_step} steps")
    if grids:
        log.info(f"Samples:     {grids[-1]}")
    if checkpoint is not None:
        log.info(f"Checkpoint:  {checkpoint.path(trainer, 'last')}")
    log.info(f"Log:         {run_dir / 'train.log'}")
    log.info(f"TensorBoard: tensorboard --logdir {shlex.quote(str(run_dir))} --samples_per_plugin images=500")
