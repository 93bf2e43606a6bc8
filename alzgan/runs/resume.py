"""Continue a run or start a new one from it: which settings may change, and which folder is used."""

import contextlib
import copy
import functools
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from alzgan.errors import UserError
from alzgan.runs.config import (
    as_mapping,
    checkpoint_file,
    compose_config,
    hydra_at_work,
    leaves,
    networks_of,
    new_folder,
    shared_by_ranks,
)
from alzgan.runs.stored import OF_THE_MACHINE, PHANTOM, check_stored, names_in
from alzgan.text import shell_override
from alzgan.upstream.hydra import group_options

# Settings and nodes that do not change what the run is; * is any name.
CHANGEABLE = (
    "trainer.max_epochs",  # a longer run
    "trainer.max_steps",
    "trainer.accelerator",  # where and how the numbers are computed; the number of processes is checked
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.precision",
    "trainer.deterministic",
    "trainer.log_every_n_steps",
    "data.root",  # the folder may move; its content is checked
    "data.cache_dir",
    "data.num_workers",
    "logger",
    "callbacks.checkpoint",  # callbacks that only watch
    "callbacks.samples",
    "callbacks.progress",
    "callbacks.acceleration",
    "callbacks.divergence",
    "callbacks.health",
    "model.parts.*.network.view.features",  # its file may move; its content is checked
    "callbacks.quality.every_n_epochs",
    "callbacks.quality.cache_dir",
    "callbacks.quality.extractor",  # its file may move; its name is checked
    "callbacks.quality.download",
)
ABSENT = object()


@dataclass(frozen=True)
class Previous:
    """The run so far.

    Attributes:
        path: of the checkpoint.
        checkpoint: its content, see `alzgan.runs.checkpoints.load_checkpoint`.
        settings: those that the run was started with, changed by the overrides of `given`.
        unchanged: whether the overrides change none of them.
        departures: overrides that change what the run is, each with the run's own value. If there are any,
            a new run starts from its weights and optimizers; else the run continues.
    """

    path: Path
    checkpoint: dict[str, Any]
    settings: DictConfig = field(default_factory=OmegaConf.create)
    unchanged: bool = True
    departures: Mapping[str, str] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """The number of steps done."""
        return self.checkpoint["global_step"]

    @property
    def provenance(self) -> dict[str, Any]:
        """The record of the run's last session."""
        return self.checkpoint["alzgan"]["provenance"]

    def given(self, composed: DictConfig, overrides: Sequence[str]) -> "Previous":
        """The same run with its settings changed by a command line.

        Args:
            composed: the config of the command line alone.
            overrides: of the command line.
        """
        own, departures = self.own_settings(composed), dict[str, str]()
        settings = copy.deepcopy(own)
        started_with = self.provenance.get("overrides", [])
        for override in overrides:
            for name in touched(override, composed, overrides):
                new, old = OmegaConf.select(composed, name), OmegaConf.select(settings, name)
                unwatched = new is None and name.startswith("callbacks.")
                if unwatched or any(fnmatchcase(f"{name}.", f"{place}.*") for place in CHANGEABLE):
                    put(settings, name, composed)
                elif new != old and override not in started_with:
                    put(settings, name, composed)
                    has = "its own" if OmegaConf.is_config(old) else f"{name}={old}"
                    departures.setdefault(override, has)
        return replace(self, settings=settings, unchanged=settings == own, departures=departures)

    def to_train(self) -> DictConfig:
        """The settings of the session that continues the run, or of the new run that starts from it.

        Raises:
            UserError: the run would continue, but is finished.
        """
        if self.departures:
            return self.of_new_run()
        if (end := end_of(self.settings, self.checkpoint)) is not None:
            raise UserError(f"{self.path} {end}")
        return self.settings

    def of_new_run(self) -> DictConfig:
        """The settings of a new run, which does not repeat how this one started."""
        if typed := next((each for each in self.departures if each.startswith("model.start_")), None):
            raise UserError(f"{typed}: ckpt_path gives the weights; leave one of them out")
        settings = copy.deepcopy(self.settings)
        if "start_from" in settings.model:
            settings.model.start_from = None
        # The strength of the labels stays at the value that its schedule has reached.
        before = networks_of(OmegaConf.create(self.checkpoint["alzgan"]["config"]["model"]))
        for place, node in networks_of(settings.model).items():
            stored = before.get(place, OmegaConf.create())
            reached = [
                value.item()
                for name, value in self.checkpoint["state_dict"].items()
                if name.startswith(f"{place}.") and name.endswith(".strength")
            ]
            if reached and node.get("strength") == stored.get("strength"):
                node.strength = reached[0]
        return settings

    def finished(self) -> str | None:
        """A line if the run has reached its end and the command line asks for nothing new, else None."""
        end = end_of(self.settings, self.checkpoint) if self.unchanged else None
        return end and f"{self.path} {end}"

    def own_settings(self, composed: DictConfig) -> DictConfig:
        """The settings that the run was started with, but paths as on this machine."""
        stored = self.checkpoint["alzgan"]["config"]
        given = as_mapping(composed, resolve=False)
        allowed = names_in(given) | set(given.get("allow", []))
        check_stored(stored, self.path, allowed, retyped="allow" not in given)
        settings = OmegaConf.create({"logger": given.get("logger"), **stored})  # old runs stored no logger
        if quality := settings.callbacks.get("quality"):
            quality.pop("weights", None)  # a setting of old runs
        for name in OF_THE_MACHINE:
            if OmegaConf.select(settings, name.rpartition(".")[0]) is not None:
                put(settings, name, composed)
        if stored["data"].get("_target_") == PHANTOM:  # or images would be written to a path from the file
            settings.data.root = None
            put(settings, "data.root", composed)
        return settings


def run_to_continue(
    settings: DictConfig, run_dir: Path, overrides: Sequence[str], again: bool = False
) -> Previous | None:
    """The run of `ckpt_path`, or the run that an earlier start of the same command has left in the folder.

    Args:
        settings: composed by the command line alone.
        run_dir: the run's folder.
        overrides: of the command line.
        again: whether the command may be repeated, as in a sweep; a job that Slurm has requeued may, too.

    Raises:
        UserError: the folder holds a run that may not be continued.
    """
    own = run_dir / "checkpoints" / "last.ckpt"
    if settings.ckpt_path is not None:
        previous = previous_of(checkpoint_file(settings.ckpt_path)).given(settings, overrides)
        if not previous.departures or not own.is_file():
            return previous
    elif not own.is_file():
        return None
    if not again and "SLURM_RESTART_COUNT" not in os.environ:
        advice = f"continue it with {shell_override('ckpt_path', run_dir)} or choose another run_dir"
        if settings.ckpt_path is not None:
            advice = f"choose another run_dir, because {next(iter(previous.departures))} makes a new run"
        raise UserError(f"{run_dir} holds a run already; {advice}")
    previous = previous_of(own).given(settings, overrides)
    refuse(previous.departures)
    return previous


def previous_of(path: Path) -> Previous:
    """The run of a checkpoint.

    Raises:
        UserError: no run can continue from it.
    """
    from alzgan.runs.checkpoints import check_state, load_checkpoint  # load torch

    checkpoint = load_checkpoint(path)
    check_state(checkpoint, path)
    return Previous(path, checkpoint)


def run_folder(ckpt_path: str | None, new: str, *, _root_: DictConfig | None = None) -> str:
    """The folder of the run to continue, or else a new folder, which is made once for each config."""
    path = None if ckpt_path is None else checkpoint_file(ckpt_path)
    if path is not None and path.parent.name == "checkpoints" and not departs(path, _root_):
        return str(path.parent.parent)
    # A sweep copies this cache to its jobs' configs. OmegaConf caches no resolver that takes the root.
    made = {} if _root_ is None else OmegaConf.get_cache(_root_)["run_folder"]
    if new not in made:
        made[new] = shared_by_ranks(lambda: new_folder(new))
    return made[new]


OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)


def departs(path: Path, root: DictConfig | None) -> bool:
    """Whether the command line changes what the run of a checkpoint is."""
    if root is None or not (overrides := OmegaConf.select(root, "hydra.overrides.task")):
        return False
    if root.hydra.mode == RunMode.MULTIRUN:  # a sweep's job may not continue a run
        return False
    composed = OmegaConf.masked_copy(root, [str(key) for key in root if key != "hydra"])
    return bool(previous_of(path).given(composed, overrides).departures)


def refuse(departures: Mapping[str, str]) -> None:
    """Raise UserError if there is a departure."""
    for override, has in departures.items():
        raise UserError(f"{override} would make it another run: it has {has}; leave it out or start anew")


def touched(override: str, composed: DictConfig, overrides: Sequence[str]) -> list[str]:
    """The settings that an override changes, and those that interpolate them.

    A choice from a group, such as `trainer=fast`, changes the settings in which the group's choices differ.
    """
    key = override.lstrip("+~").partition("=")[0].partition("@")[0]
    if key in ("ckpt_path", "run_dir"):
        return []
    here = unresolved(composed)
    with hydra_at_work():
        options = group_options(key)
    if not options:
        return followers([name for name in here if f"{name}.".startswith(f"{key}.")] or [key], here)
    others = [text for text in overrides if text != override]
    found: dict[str, None] = {}
    for option in options:
        with contextlib.suppress(HydraException):  # a choice that needs other settings too
            there = settings_of((*others, f"{key}={option}"))
            found |= {name: None for name in {**here, **there} if here.get(name) != there.get(name)}
    return followers(list(found), here)


@functools.cache  # Hydra's resolver and the verb ask the same
def settings_of(overrides: tuple[str, ...]) -> dict[str, Any]:
    """The settings of a training with these overrides, by name."""
    return unresolved(compose_config("train", overrides))


def unresolved(composed: DictConfig) -> dict[str, Any]:
    """The settings of a config by name, with interpolations as they are written."""
    return dict(leaves(OmegaConf.to_container(composed, resolve=False)))


def followers(names: list[str], here: dict[str, Any]) -> list[str]:
    """The names, and the names of all settings that interpolate them, directly or not."""
    for name in names:  # grows
        wholes = [f"${{{whole}}}" for whole in prefixes(name)]
        names += [
            each
            for each, value in here.items()
            if each not in names and isinstance(value, str) and any(whole in value for whole in wholes)
        ]
    return names


def prefixes(name: str) -> list[str]:
    """A dotted name and the names of the nodes around it."""
    return list(itertools.accumulate(name.split("."), lambda node, key: f"{node}.{key}"))


def put(settings: DictConfig, name: str, composed: DictConfig) -> None:
    """Give a setting the value that it has on the command line, or remove it if it is not there."""
    if OmegaConf.is_missing(composed, name):
        return
    value = OmegaConf.select(composed, name, default=ABSENT)
    place, _, key = name.rpartition(".")
    if value is not ABSENT:
        OmegaConf.update(settings, name, value, merge=False, force_add=True)
    elif (node := OmegaConf.select(settings, place)) is not None:
        node.pop(key, None)


def end_of(settings: DictConfig, checkpoint: dict[str, Any]) -> str | None:
    """Where a run has ended, and how to continue it; None if steps are left."""
    step, epoch = checkpoint["global_step"], checkpoint["epoch"]
    limits = {name: settings.trainer.get(name) for name in ("max_steps", "max_epochs")}
    limits = {name: value if isinstance(value, int) else -1 for name, value in limits.items()}
    if 0 <= limits["max_steps"] <= step:
        return f"is finished at step {step}; to go on, give a larger trainer.max_steps="
    if 0 < limits["max_epochs"] <= epoch:
        return f"is finished after {epoch} epochs; to go on, give a larger trainer.max_epochs="
    return None
