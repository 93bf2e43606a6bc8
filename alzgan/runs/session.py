"""One session of a training run, from its settings to the lines about its result."""

import contextlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from omegaconf import DictConfig, OmegaConf

from alzgan.callbacks import callback_of
from alzgan.callbacks.checkpoint import RunCheckpoint
from alzgan.callbacks.quality import Quality
from alzgan.callbacks.record import outcome
from alzgan.data.datamodule import MRIDataModule
from alzgan.device.overhead import tune_process
from alzgan.device.pixels import to_float
from alzgan.device.ranks import reporting_lost_ranks
from alzgan.errors import UserError
from alzgan.files import remove_parts, replacing, reporting_disk_errors, write_json, written_by_one_process
from alzgan.gan import GAN
from alzgan.metrics.trained import is_trained
from alzgan.networks.frozen import FrozenFeatures
from alzgan.people.subjects import FEW_PEOPLE
from alzgan.runs.build import build_data, build_model, build_trainer, check_typed, conditioned, plain
from alzgan.runs.checkpoints import check_optimizers, check_weights, load_checkpoint, naming_the_file
from alzgan.runs.config import check_missing, check_plain, effective, made_folders
from alzgan.runs.data import refuse_older_split
from alzgan.runs.provenance import provenance
from alzgan.runs.resume import Previous
from alzgan.runs.signatures import check_types
from alzgan.runs.start import check_held_out, start_from, start_whole
from alzgan.runs.sweep import objective_of
from alzgan.text import counted, printable, shell_override, shell_word
from alzgan.upstream.lightning import RANK_ZERO, know_the_node, quiet

log = logging.getLogger(__name__)

# Settings that may change when a run continues, but change the last bits of its numbers.
OF_LAST_BITS = ("trainer.precision", "trainer.deterministic", "callbacks.acceleration.compile")

TO_STANDARDISE = 256  # real images from which the features' means and deviations are taken


def run(settings: DictConfig, overrides: Sequence[str] = (), previous: Previous | None = None) -> float:
    """Train what the settings describe, and return the best objective (inf if none was measured).

    Args:
        settings: a composed `conf/train.yaml`, its `run_dir` included.
        overrides: of the command line, for the record.
        previous: the run to continue, or to start from if it has departures.
    """
    source, previous = (previous, None) if previous and previous.departures else (None, previous)
    run_dir = Path(settings.run_dir)
    check_missing(settings)
    check_plain(settings)
    check_types(settings, {"seed": int})  # or the first setting that takes it would be named
    tune_process()
    know_the_node(settings.trainer.get("num_nodes", 1))
    # The first rank holds the lock for all ranks.
    lock = contextlib.nullcontext() if RANK_ZERO.rank else written_by_one_process(run_dir)
    with quiet(), reporting_disk_errors(run_dir), lock:
        record: dict[str, Any] = {}
        settings, data, gan, trainer = built(settings, overrides, record, previous, source)
        if previous is not None:
            refuse_older_split(previous)
        data.setup()
        if previous is None:
            standardise_features(gan, data)
        record |= describe_run(overrides, data, gan, trainer.world_size, previous, source)
        if record.get("started_from") and previous is None:
            check_held_out(record["started_from"], data)
        if previous is not None:
            check_continuation(previous, record, settings, gan)
        announce(run_dir, data, gan, previous, source)
        warn_of_flattery(trainer, gan)
        if trainer.is_global_zero:
            write_record(settings, record, data)
        with (
            undone_before_the_first_step(trainer, run_dir),
            reporting_lost_ranks(f"continue with {shell_override('ckpt_path', run_dir)}"),
        ):
            path = None if previous is None else previous.path
            trainer.fit(gan, datamodule=data, ckpt_path=path, weights_only=True)
    if trainer.is_global_zero:
        report(trainer, run_dir)
    return objective_of(outcome(trainer))


def built(
    settings: DictConfig,
    overrides: Sequence[str],
    record: dict[str, Any],
    previous: Previous | None,
    source: Previous | None,
) -> tuple[DictConfig, MRIDataModule, GAN, Trainer]:
    """The settings with the data's conditions, and the objects of the session.

    Their constructors check the settings, before any long work.
    """
    origin = previous or source
    with naming_the_file(origin.path, origin.checkpoint) if origin else contextlib.nullcontext():
        check_typed(settings, overrides)
        data = build_data(settings)
        settings = conditioned(settings, data)
        gan = build_model(settings)
        for view in frozen_features(gan):
            view.load()
        trainer = build_trainer(settings, record, previous)
        if previous is None and settings.model.get("start_from"):
            record["started_from"] = start_from(gan, settings.model.start_from, settings.model.start_with)
        check_model(gan, trainer)
    if source is not None:
        record["started_from"], optimizers = start_whole(gan, source)
        trainer.callbacks.insert(0, optimizers)  # type: ignore[attr-defined]  # Lightning sets it
    return settings, data, gan, trainer


def check_model(gan: GAN, trainer: Trainer) -> None:
    """Check that the trainer has the end and the precision that the model needs."""
    if gan.schedules and trainer.max_epochs == trainer.max_steps == -1:
        raise UserError(
            "the model has schedules over the run's length: set trainer.max_epochs or trainer.max_steps"
        )
    owners = gan, *gan.parts.values()
    penalties = (penalty for owner in owners for penalty in owner.penalties.values())
    for component in (gan.augment, gan.average, *penalties):
        # Its state changes by small steps, which bfloat16 would round to nothing.
        if trainer.precision == "bf16-true" and component is not None and component.state_dict():
            raise UserError(
                f"trainer.precision=bf16-true: the small steps of {type(component).__name__} are lost in "
                "bfloat16; choose bf16-mixed"
            )


def announce(
    run_dir: Path, data: MRIDataModule, gan: GAN, previous: Previous | None, source: Previous | None
) -> None:
    """Log where the session starts, and its data and model."""
    if source is not None:
        log.info(
            f"A new run in {run_dir} with {', '.join(source.departures)}: it starts from the weights and "
            f"optimizers of {source.path} at step {source.step}, and counts its steps from 0"
        )
    warn_of_portraits(data, gan)
    if previous is not None:
        log_repeated_steps(previous)
    log.info(
        f"Training on {len(data)} of {len(data.files)} images, "
        f"{counted(len(data.classes), 'class', 'classes')}; generator {parameters(gan.generator):,} and "
        f"discriminator {parameters(gan.player('discriminator')):,} parameters"
    )


@contextlib.contextmanager
def undone_before_the_first_step(trainer: Trainer, run_dir: Path) -> Iterator[None]:
    """Remove the run's folder if its name is a default and the run is refused before its first step."""
    try:
        yield
    except UserError:
        if trainer.global_step == 0 and run_dir in made_folders:
            shutil.rmtree(run_dir, ignore_errors=True)
        raise


def describe_run(
    overrides: Sequence[str],
    data: MRIDataModule,
    gan: GAN,
    world_size: int,
    previous: Previous | None,
    source: Previous | None = None,
) -> dict[str, Any]:
    """The run's record: code, machine, data, and the command lines of all of its sessions."""
    before = previous.provenance if previous else {}
    now = provenance()
    session = {"command": now["command"], "from_step": previous.step if previous else 0}
    started = {"started_from": before["started_from"]} if "started_from" in before else {}
    # Sweeps and evaluations compare runs by their overrides, and ckpt_path is not a setting of the run.
    settings = [each for each in overrides if not each.startswith("ckpt_path=")]
    origin = previous or source
    given = origin.provenance.get("overrides", []) if origin else []
    return {
        **now,
        **started,
        "world_size": world_size,
        "overrides": effective([*given, *settings]),
        "sessions": [*before.get("sessions", []), session],
        "data": data.describe(),
        "trained_features": trained_features(gan),
    }


def check_continuation(previous: Previous, record: dict[str, Any], settings: DictConfig, gan: GAN) -> None:
    """Check that the run would continue as if it had never stopped, and log from where."""
    before, path = previous.provenance, previous.path
    check_weights(gan, previous.checkpoint, path)
    check_optimizers(gan.configure_optimizers(), previous.checkpoint, path)
    if before["data"].get("fingerprint") != record["data"]["fingerprint"]:
        raise UserError(
            f"the images in {record['data']['root']} are not those that {path} was trained on: set "
            "data.root to the folder of those, or start a new run"
        )
    if (features := before.get("trained_features", {})) != record["trained_features"]:
        told = " and ".join(f"{space}, whose file has the SHA-256 {sha}" for space, sha in features.items())
        raise UserError(
            f"the discriminator of {path} was trained on features of {told or 'no frozen network'}: give "
            "that file in model.parts"
        )
    if before["world_size"] != record["world_size"]:
        raise UserError(
            f"{path} was trained by {before['world_size']} processes, and {record['world_size']} would make "
            f"other batches: set trainer.devices={before['world_size']}"
        )
    stored = OmegaConf.create(previous.checkpoint["alzgan"]["config"])
    changed = [*differences(before, record), *changes(stored, settings)]
    log.info(
        f"Continuing {path} from step {previous.step}"
        + (f"; the last bits will differ, as it was trained with {', '.join(changed)}" if changed else "")
    )
    if gan.schedules:
        log.info("The schedules of this run span its whole length as it is set now")


def frozen_features(gan: GAN) -> list[FrozenFeatures]:
    """The views of the discriminator's parts that are frozen networks."""
    return [module for module in gan.modules() if isinstance(module, FrozenFeatures)]


def standardise_features(gan: GAN, data: MRIDataModule) -> None:
    """Standardise frozen features by real images, a function of the data and the seed alone."""
    for view in frozen_features(gan):
        view.standardise(to_float(data.sample_real(TO_STANDARDISE)[0]))


def warn_of_flattery(trainer: Trainer, gan: GAN) -> None:
    """Warn if the quality, which chooses `best.ckpt`, is measured in features that the game trains on."""
    quality = callback_of(trainer, Quality)
    if quality is not None and is_trained(quality.extractor.space, trained_features(gan)):
        log.warning(
            f"{quality.tag} flatters: the discriminator is trained on features of the same network; "
            "choose another callbacks.quality.extractor"
        )


def trained_features(gan: GAN) -> dict[str, str]:
    """The spaces of the frozen features that the discriminator is trained on, with their files' SHA-256."""
    return {view.space: view.sha256 for view in frozen_features(gan)}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Packages and parts of the machine that have changed, on which the last bits of a run depend."""
    packages = before["packages"].items()
    machine = ("device", "threads", "instructions")  # older runs did not record the last one
    return [
        *(f"{name} {was}" for name, was in packages if now["packages"].get(name) != was),
        *(f"{name} {before[name]}" for name in machine if before.get(name, now[name]) != now[name]),
    ]


def changes(before: DictConfig, now: DictConfig) -> list[str]:
    """Settings that have changed and on which the last bits depend."""
    found = {name: (OmegaConf.select(before, name), OmegaConf.select(now, name)) for name in OF_LAST_BITS}
    return [f"{name}={was}" for name, (was, given) in found.items() if was != given]


def log_repeated_steps(previous: Previous) -> None:
    """Log which steps are repeated, if a run does not continue from its last checkpoint."""
    last = previous.path.with_name("last.ckpt")
    if previous.path == last or previous.path.parent.name != "checkpoints" or not last.is_file():
        return
    with contextlib.suppress(UserError):  # last.ckpt may be damaged
        done = load_checkpoint(last)["global_step"]
        if done > previous.step:
            log.info(f"Steps {previous.step + 1} to {done} are repeated; {last} has reached step {done}")


def warn_of_portraits(data: MRIDataModule, gan: GAN) -> None:
    """Warn of classes with so few people that their samples will be portraits of them."""
    if not gan.classes:
        return
    few = [
        f"{printable(name)} ({people})"
        for name, people in data.people_trained_on().items()
        if people < FEW_PEOPLE
    ]
    if few:
        log.warning(
            f"Fewer than {FEW_PEOPLE} training people in {', '.join(few)}: samples of such a class will be "
            "portraits of them"
        )


def write_record(settings: DictConfig, record: dict[str, Any], data: MRIDataModule) -> None:
    """Write the run's record, settings and tables to its folder."""
    run_dir = Path(settings.run_dir)
    remove_parts(run_dir)
    write_json(run_dir / "run.json", record)
    with replacing(run_dir / "config.yaml") as part:
        OmegaConf.save(plain(settings), part)
    data.write_tables(run_dir)


def parameters(module: torch.nn.Module) -> int:
    """The module's number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def report(trainer: Trainer, run_dir: Path) -> None:
    """Log where the results are."""
    checkpoint = callback_of(trainer, RunCheckpoint)
    grids = sorted((run_dir / "samples").glob("step_*.png"))
    log.info(f"Trained {trainer.global_step} steps")
    if grids:
        log.info(f"Samples:     {grids[-1]}")
    if checkpoint is not None:
        log.info(f"Checkpoint:  {checkpoint.path(trainer, 'last')}")
    log.info(f"Log:         {run_dir / 'train.log'}")
    log.info(f"TensorBoard: tensorboard --logdir {shell_word(str(run_dir))} --samples_per_plugin images=500")
