"""Build objects from settings. If a class refuses a value, the error names the setting in one line."""

import copy
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf, open_dict

from alzgan.callbacks.record import RunRecord
from alzgan.callbacks.signals import StopOnSignal
from alzgan.data.datamodule import MRIDataModule
from alzgan.device.overhead import Unprofiled
from alzgan.device.streams import purpose_key
from alzgan.errors import SettingError, UserError, user_error
from alzgan.gan import GAN
from alzgan.people.cohort import CLASS_COLUMN
from alzgan.runs.checkpoints import AtomicCheckpointIO
from alzgan.runs.config import as_mapping, networks_of
from alzgan.runs.resume import Previous
from alzgan.runs.signatures import check_targets
from alzgan.schedules import make_optimizer
from alzgan.text import counted
from alzgan.upstream.hydra import full_key

# Options of Lightning's Trainer that the game or its batches would not follow, and what to set instead.
INSTEAD = {
    "gradient_clip_val": "model.gradient_clip",
    "accumulate_grad_batches": "data.batch_size",
    "limit_train_batches": "trainer.max_steps",
    "overfit_batches": "trainer.max_steps",
    "fast_dev_run": "trainer.max_steps=1",
}
START = ("start_from", "start_with")
# What a model may have none of, with the groups to choose it from: one of each, or several by name.
ONE = {"augment": "augment", "average": "average"}
SEVERAL = {"penalties": "penalty", "parts": "part"}
REFUSALS = (ValueError, MisconfigurationException)
OF_THE_TRAINER = (*REFUSALS, RuntimeError, TypeError, ImportError)  # about Slurm or a missing package


def build(name: str, node: DictConfig, **arguments: Any) -> Any:
    """Build the object of a config node; `arguments` are added to its settings.

    Raises:
        UserError: the class refuses a setting, or a setting has the name of an argument.
    """
    check_targets(node, name)
    for option in arguments:
        if node.get(option) is not None:
            raise UserError(f"{name}.{option} is not used here: alzgan sets it, leave it out")
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        told = user_error(error)
        if told is not None and not isinstance(told, SettingError):
            raise told from None
        if not isinstance(error.__cause__, OF_THE_TRAINER if name == "trainer" else REFUSALS):
            raise
        place = full_key(error) or name
        if isinstance(told, SettingError) and (source := source_of(node, name, place, told)):
            raise UserError(source) from error
        raise refused(place, error.__cause__) from error


def source_of(node: DictConfig, name: str, place: str, error: SettingError) -> str | None:
    """The error's text about the setting that gives the refused one its value; None if none does."""
    option, separator, rest = str(error).partition("=")
    inner = OmegaConf.select(node, place.removeprefix(name).lstrip("."))
    source = re.fullmatch(r"\$\{([\w.]+)\}", str(as_mapping(inner, resolve=False).get(option)))
    return f"{source[1]}{separator}{rest}" if source else None


def refused(place: str, error: Exception) -> UserError:
    """A constructor's error with the place of the setting."""
    reason = " ".join(str(error).split())
    return UserError(f"{place}.{reason}" if isinstance(error, SettingError) else f"{place}: {reason}")


def build_data(settings: DictConfig) -> MRIDataModule:
    """The data module; its images are not read yet."""
    data = build("data", settings.data)
    of_classes = settings.model.get("classes", 0) != 0 and "class" in data.conditions
    if data.cohort.classes == "csv" and not of_classes and not all(file.label for file in data.found):
        raise UserError(f"{CLASS_COLUMN}, or model=cdcgan, which trains on the other images without a label")
    return data


def conditioned(settings: DictConfig, data: MRIDataModule) -> DictConfig:
    """A copy of the settings in which a conditional model takes the conditions of the data.

    Raises:
        UserError: the model takes other conditions.
    """
    settings = copy.deepcopy(settings)
    if settings.model.get("classes", 0) is None:
        settings.model.classes = len(data.classes) if "class" in data.conditions else 0
    if settings.model.get("numbers", 0) is None:
        settings.model.numbers = len(data.numbers)
    if (taken := settings.model.get("numbers", 0)) != len(data.numbers):
        raise UserError(
            f"data.conditions has {counted(len(data.numbers), 'number')} besides the class, but "
            f"model.numbers={taken}: choose model=cdcgan, or conditioning=gradual"
        )
    if "class" in data.conditions and 0 < (taken := settings.model.get("classes", 0)) < len(data.classes):
        raise UserError(
            f"the data has {len(data.classes)} classes, but model.classes={taken} is fewer: leave it out, or "
            "choose classes with data.classes"
        )
    return settings


def game_settings(settings: DictConfig) -> DictConfig:
    """The model's settings without the source of its weights, which the session handles."""
    node = copy.deepcopy(settings.model)
    OmegaConf.set_struct(node, False)
    for name in START:
        node.pop(name, None)
    return node


def check_typed(settings: DictConfig, overrides: Sequence[str]) -> None:
    """Check that the command line sets no option of a component that the run lacks.

    A recipe may set such options, see `drop_options_of_nothing`.

    Raises:
        UserError: an override sets such an option.
    """
    for override in overrides:
        place, _, name = override.lstrip("+").partition("=")[0].rpartition(".")
        node = OmegaConf.select(settings, place)
        group = {**ONE, **SEVERAL}.get(place.removeprefix("model.").partition(".")[0])
        added = OmegaConf.select(settings, f"{place}.{name}") if place.rpartition(".")[2] in SEVERAL else None
        if isinstance(added, DictConfig) and "_target_" in added:
            continue  # a new penalty or part
        if group and name != "_target_" and OmegaConf.is_dict(node) and "_target_" not in node:
            raise UserError(
                f"{override.lstrip('+')}: the run has no {place}; choose one with {group}=, or leave it out"
            )


def drop_options_of_nothing(model: DictConfig) -> None:
    """Remove a recipe's options of components that the command line has set to none."""
    for component in SEVERAL:
        pieces = model.get(component) or OmegaConf.create()
        for name in [name for name, node in pieces.items() if node and "_target_" not in node]:
            with open_dict(pieces):
                del pieces[name]
    for name in ONE:
        if model.get(name) and "_target_" not in model[name]:
            model[name] = None


def build_model(settings: DictConfig) -> GAN:
    """The model with its initial weights, which depend on the seed alone."""
    drop_options_of_nothing(settings.model)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(purpose_key(f"weights {settings.model.seed}") >> 32)
        gan = build("model", game_settings(settings))
    for player, factory in zip(("discriminator", "generator"), gan.optimizer_factories, strict=True):
        try:  # Hydra has only made a factory; an optimizer checks its options when it is made
            make_optimizer(factory, gan.player(player).parameters())
        except (ValueError, TypeError) as error:
            raise refused(f"model.{player}_optimizer", error) from error
    # The layout of the decoded images. Convolutions are faster in it, with the same arithmetic.
    return gan.to(memory_format=torch.channels_last)


def build_trainer(settings: DictConfig, record: dict[str, Any], previous: Previous | None) -> Trainer:
    """The Trainer with its callbacks and its logger.

    Args:
        settings: of the run.
        record: its provenance, which may be filled in until the first checkpoint.
        previous: the run so far, if it continues.
    """
    run_dir = Path(settings.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    check_targets(settings.trainer, "trainer")
    check_together(settings)
    callbacks = [build(f"callbacks.{name}", node) for name, node in settings.callbacks.items() if node]
    # A run that was killed before its first checkpoint has left events, too.
    purge_step = previous.step + 1 if previous else 0
    loggers = [
        build(f"logger.{name}", node, run_dir=run_dir, purge_step=purge_step)
        for name, node in (settings.get("logger") or {}).items()
        if node
    ]
    if settings.trainer.strategy == "auto" and several_devices(settings.trainer):
        # DDP must know that each player's step leaves the other player's parameters without gradients.
        settings.trainer.strategy = "ddp_find_unused_parameters_true"
    return build(
        "trainer",
        settings.trainer,
        default_root_dir=run_dir,
        callbacks=[*callbacks, RunRecord(plain(settings), record), StopOnSignal()],
        logger=loggers or False,
        plugins=[AtomicCheckpointIO()],
        profiler=Unprofiled(),
        use_distributed_sampler=False,  # ShuffledBatches gives each rank its own part
        enable_model_summary=False,
    )


def plain(settings: DictConfig) -> dict[str, Any]:
    """The resolved config as plain containers, without `ckpt_path`, which is a setting of one session."""
    return {**as_mapping(settings), "ckpt_path": None}


def check_together(settings: DictConfig) -> None:
    """Check combinations of settings that no single constructor sees."""
    trainer, turns = settings.trainer, settings.model.get("turns", 1)
    for name, instead in INSTEAD.items():
        if trainer.get(name) is not None:
            raise UserError(f"trainer.{name} is not used here: set {instead}")
    clipped = settings.model.get("gradient_clip") is not None
    if clipped and str(trainer.get("precision")) in ("16", "16-mixed"):
        raise UserError(
            f"model.gradient_clip cannot be used with trainer.precision={trainer.precision}, which scales "
            "gradients; choose bf16-mixed"
        )
    if str(trainer.get("precision")) in ("16-true", "transformer-engine-float16"):
        raise UserError(
            f"trainer.precision={trainer.precision}: float16 is too small for Adam's numbers; choose "
            "16-mixed, bf16-mixed or bf16-true"
        )
    if trainer.get("max_epochs") is None and trainer.get("max_steps", -1) < 0:
        raise UserError("set trainer.max_epochs or trainer.max_steps: without both, the run would never end")
    for name in ("max_steps", "max_epochs"):
        if (value := trainer.get(name)) is not None and value != -1 and value < 1:
            raise UserError(f"trainer.{name}={value} must be at least 1, or -1 for no limit")
    steps = trainer.get("log_every_n_steps", 1)
    if not isinstance(steps, int) or steps < 1:
        raise UserError(f"trainer.log_every_n_steps={steps} must be a whole number from 1 on")
    check_sizes(settings)
    if settings.data.batch_size % turns:
        raise UserError(
            f"data.batch_size={settings.data.batch_size} must be a multiple of model.turns={turns}: the "
            "turns share each batch"
        )
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))  # of srun
    if tasks > 1 and not several_devices(trainer):
        raise UserError(
            f"srun has started {tasks} tasks, and each would train this whole run: set trainer=ddp "
            f"trainer.devices={tasks}, or --ntasks-per-node=1"
        )
    check_devices(trainer)


def check_sizes(settings: DictConfig) -> None:
    """Check that the networks fit the images, because convolutions accept other sizes without an error."""
    wanted = {
        "image_size": settings.data.get("image_size"),
        "channels": settings.data.get("channels"),
        "latent_dim": settings.model.get("latent_dim"),
    }
    for place, network in networks_of(settings.model).items():
        for name, value in wanted.items():
            given = network.get(name)
            if None not in (given, value) and given != value:
                where = "model" if name == "latent_dim" else "data"
                raise UserError(
                    f"model.{place}.{name}={given} differs from {where}.{name}={value}: leave it out"
                )


def several_devices(trainer: DictConfig) -> bool:
    """Whether the settings ask for more than one process, in any notation."""
    devices = trainer.devices
    if devices in ("auto", "-1", -1):
        on_cpu = trainer.accelerator == "cpu" or not torch.cuda.is_available()
        count = 1 if on_cpu else torch.cuda.device_count()
    elif isinstance(devices, int):
        count = devices
    else:
        count = len(str(devices).strip("[]").split(",")) if "," in str(devices) else 1
    return count > 1 or trainer.get("num_nodes", 1) > 1


def check_devices(trainer: DictConfig) -> None:
    """Check that the machine has the devices."""
    accelerator, devices = trainer.accelerator, trainer.devices
    gpus = torch.cuda.device_count()
    if accelerator in ("gpu", "cuda") and gpus == 0:
        raise UserError(f"trainer.accelerator={accelerator}: there is no CUDA device; use cpu or auto")
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and gpus == 0)
    if trainer.get("sync_batchnorm") and on_cpu:
        raise UserError("trainer.sync_batchnorm=true needs CUDA devices; set it to false")
    if not isinstance(devices, int) or devices == -1 or accelerator not in ("auto", "cpu", "gpu", "cuda"):
        return  # "auto", a list, all, or another kind: Lightning checks it
    available = os.cpu_count() or 1 if on_cpu else gpus
    if not 1 <= devices <= available:
        kind = "CPU cores, one for each process" if on_cpu else "CUDA devices"
        raise UserError(f"trainer.devices={devices}: this machine has {available} {kind}")
