"""One training run, from accepted settings to the lines that say what came out."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import Trainer
from omegaconf import DictConfig, OmegaConf

from alzgan.callbacks.checkpoint import RunCheckpoint
from alzgan.callbacks.record import RunRecord
from alzgan.gan import GAN
from alzgan.runtime.checkpoints import AtomicCheckpointIO
from alzgan.runtime.config import check_targets
from alzgan.runtime.files import replacing, write_json
from alzgan.runtime.provenance import provenance
from alzgan.runtime.quiet import quiet
from alzgan.runtime.streams import purpose_key
from alzgan.runtime.tensorboard import RunLogger

log = logging.getLogger(__name__)


def run(settings: DictConfig, overrides: Sequence[str] = ()) -> float:
    """Build what the settings name, train it, and return the best objective (inf if none was measured).

    Args:
        settings: a composed `conf/train.yaml`, its `run_dir` included.
        overrides: what the user changed of it, for the record.
    """
    run_dir = Path(settings.run_dir)
    check_targets(settings)
    with quiet():
        data = instantiate(settings.data, _convert_="all")
        data.setup()
        gan = build_model(settings)
        record = {**provenance(), "overrides": list(overrides), "data": data.describe()}
        trainer = build_trainer(settings, record)
        if trainer.is_global_zero:
            data.write_split(run_dir / "split.csv")
        log.info(
            f"{len(data)} of {len(data.files)} images to train on, {len(data.classes)} classes; generator "
            f"{parameters(gan.generator):,} and discriminator {parameters(gan.discriminator):,} parameters"
        )
        trainer.fit(gan, datamodule=data)
    return report(trainer, run_dir)


def build_model(settings: DictConfig) -> GAN:
    """The model with its first weights, which are a function of the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(purpose_key(f"weights {settings.model.seed}") >> 32)
        gan = instantiate(settings.model, _convert_="all")
    # The layout of the decoded array; the arithmetic is the same, the convolutions are faster.
    return gan.to(memory_format=torch.channels_last)


def build_trainer(settings: DictConfig, record: dict[str, Any]) -> Trainer:
    """The Trainer with its callbacks and its logger; config and record are written to the run's folder."""
    config: Any = OmegaConf.to_container(settings, resolve=True)
    run_dir = Path(settings.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    callbacks = [instantiate(node, _convert_="all") for node in settings.callbacks.values() if node]
    trainer = instantiate(
        settings.trainer,
        _convert_="all",
        default_root_dir=run_dir,
        callbacks=[*callbacks, RunRecord(config, record)],
        logger=RunLogger(run_dir),
        plugins=[AtomicCheckpointIO()],
        use_distributed_sampler=False,  # ShuffledBatches gives each rank its own part
        enable_model_summary=False,
    )
    if trainer.is_global_zero:
        write_json(run_dir / "run.json", record)
        with replacing(run_dir / "config.yaml") as part:
            OmegaConf.save(config, part)
    return trainer


def parameters(module: torch.nn.Module) -> int:
    """How many numbers the module learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def report(trainer: Trainer, run_dir: Path) -> float:
    """Say where everything is; return the objective."""
    checkpoint = next((c for c in trainer.callbacks if isinstance(c, RunCheckpoint)), None)
    grids = sorted((run_dir / "samples").glob("step_*.png"))
    log.info(f"Trained {trainer.global_step} steps")
    if grids:
        log.info(f"Samples:     {grids[-1]}")
    if checkpoint is not None:
        log.info(f"Checkpoint:  {checkpoint.path(trainer, 'last')}")
    log.info(f"Log:         {run_dir / 'train.log'}")
    log.info(f"TensorBoard: tensorboard --logdir {shlex.quote(str(run_dir))} --samples_per_plugin images=500")
    return checkpoint.best_objective if checkpoint is not None else float("inf")
