"""How a run goes on: where it is, and which of its settings may change on the way."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from alzgan.errors import UserError
from alzgan.runs.config import checkpoint_file, compose_config, group_options, leaves
from alzgan.runs.stored import OF_THE_MACHINE, PHANTOM, check_stored, names_in
from alzgan.text import shell_override

# What does not change the run's meaning, by the beginning of its name.
CHANGEABLE = (
    "trainer.max_epochs",  # more of the same
    "trainer.max_steps",
    "trainer.accelerator",  # where and how the same numbers are computed; how many processes is checked
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.precision",
    "trainer.deterministic",
    "trainer.log_every_n_steps",
    "data.root",  # a folder may move; its content is checked
    "data.cache_dir",
    "data.num_workers",
    "logger",
    "callbacks.checkpoint",  # what watches does not disturb
    "callbacks.samples",
    "callbacks.progress",
    "callbacks.acceleration",
    "callbacks.divergence",
    "callbacks.health",
    "callbacks.quality.every_n_epochs",
    "callbacks.quality.cache_dir",
    "callbacks.quality.weights",  # the file may move; which network it is, is checked
    "callbacks.quality.download",
)


ABSENT = object()


@dataclass(frozen=True)
class Previous:
    """The run so far.

    Attributes:
        path: of the checkpoint.
        checkpoint: its content, see `alzgan.runs.checkpoints.load_checkpoint`.
    """

    path: Path
    checkpoint: dict[str, Any]

    @property
    def step(self) -> int:
        """The steps that are done."""
        return self.checkpoint["global_step"]

    @property
    def provenance(self) -> dict[str, Any]:
        """What the run's last session was made of."""
        return self.checkpoint["alzgan"]["provenance"]

    def settings(self, composed: DictConfig, overrides: Sequence[str]) -> DictConfig:
        """The settings that the run was started with, and those of the overrides that keep its meaning.

        Args:
            composed: the config that the command line makes by itself.
            overrides: of the command line.
        """
        settings = self.changed_settings(composed, overrides)
        if (end := end_of(settings, self.checkpoint)) is not None:
            raise UserError(f"{self.path} {end}")
        return settings

    def finished(self, composed: DictConfig, overrides: Sequence[str]) -> str | None:
        """A line, if the run has reached its end and the overrides ask for nothing new."""
        settings = self.changed_settings(composed, overrides)
        end = end_of(settings, self.checkpoint)
        return f"{self.path} {end}" if end and settings == self.own_settings(composed) else None

    def data_settings(self, composed: DictConfig, overrides: Sequence[str]) -> DictConfig:
        """The same of its data alone, for a verb that does not train.

        Args:
            composed: the verb's config.
            overrides: those of the command line that are about the data.
        """
        return self.changed_settings(composed, overrides).data

    def changed_settings(self, composed: DictConfig, overrides: Sequence[str]) -> DictConfig:
        """The settings that the run was started with, changed by overrides that keep its meaning."""
        settings = self.own_settings(composed)
        for override in overrides:
            apply(override, settings, composed, overrides, self.provenance.get("overrides", []))
        return settings

    def own_settings(self, composed: DictConfig) -> DictConfig:
        """The settings that the run was started with, but for what is this machine's to say."""
        stored = self.checkpoint["alzgan"]["config"]
        given = OmegaConf.to_container(composed, resolve=False)
        check_stored(stored, self.path, names_in(given) | set(given.get("allow", [])))
        settings = OmegaConf.create({"logger": given.get("logger"), **stored})  # which old ones lack
        for name in OF_THE_MACHINE:
            if OmegaConf.select(settings, name.rpartition(".")[0]) is not None:
                put(settings, name, composed)
        if stored["data"].get("_target_") == PHANTOM:  # it would be written there
            settings.data.root = None
            put(settings, "data.root", composed)
        return settings


def run_to_continue(settings: DictConfig, run_dir: Path, again: bool = False) -> Previous | None:
    """The run of `ckpt_path`; else the one that is in the folder, if the same command may be given again.

    It may in a sweep, and where Slurm has put a job back into its queue.
    """
    path = run_dir / "checkpoints" / "last.ckpt"
    if settings.ckpt_path is not None:
        path = checkpoint_file(settings.ckpt_path)
    elif not path.is_file():
        return None
    elif not again and "SLURM_RESTART_COUNT" not in os.environ:
        raise UserError(
            f"{run_dir} holds a run already; continue it with {shell_override('ckpt_path', run_dir)} or "
            "choose another run_dir"
        )
    from alzgan.runs.checkpoints import check_state, load_checkpoint  # load torch

    checkpoint = load_checkpoint(path)
    check_state(checkpoint, path)
    return Previous(path, checkpoint)


def apply(
    override: str,
    settings: DictConfig,
    composed: DictConfig,
    overrides: Sequence[str],
    started_with: Sequence[str],
) -> None:
    """Let one override of the command line have its effect on a run's own settings."""
    for name in touched(override, composed, overrides):
        new, old = OmegaConf.select(composed, name), OmegaConf.select(settings, name)
        unwatched = new is None and name.startswith("callbacks.")
        if name.startswith(CHANGEABLE) or unwatched:
            put(settings, name, composed)
        elif new != old and override not in started_with and name not in ("ckpt_path", "run_dir"):
            has = "its own" if OmegaConf.is_config(old) else f"{name}={old}"
            raise UserError(f"{override} would make it another run: it has {has}; leave it out or start anew")


def touched(override: str, composed: DictConfig, overrides: Sequence[str]) -> list[str]:
    """The settings that an override is about.

    Those of a choice from a group, `trainer=fast`, are the ones in which the group's choices differ.
    """
    key = override.lstrip("+~").partition("=")[0].partition("@")[0]
    here = dict(leaves(OmegaConf.to_container(composed, resolve=False)))
    if not (options := group_options(key)):
        return [name for name in here if f"{name}.".startswith(f"{key}.")] or [key]
    others, found = [text for text in overrides if text != override], {}
    for option in options:
        with contextlib.suppress(HydraException):  # a choice that needs more than is given
            chosen = compose_config("train", [*others, f"{key}={option}"])
            there = dict(leaves(OmegaConf.to_container(chosen, resolve=False)))
            found |= {name: None for name in {**here, **there} if here.get(name) != there.get(name)}
    return list(found)


def put(settings: DictConfig, name: str, composed: DictConfig) -> None:
    """Give a setting the value, or the absence, that it has on the command line."""
    if OmegaConf.is_missing(composed, name):
        return
    value = OmegaConf.select(composed, name, default=ABSENT)
    place, _, key = name.rpartition(".")
    if value is not ABSENT:
        OmegaConf.update(settings, name, value, merge=False, force_add=True)
    elif (node := OmegaConf.select(settings, place)) is not None:
        node.pop(key, None)


def end_of(settings: DictConfig, checkpoint: dict[str, Any]) -> str | None:
    """Where a run has finished, and how it goes on; None: steps are left."""
    step, epoch = checkpoint["global_step"], checkpoint["epoch"]
    limits = {name: settings.trainer.get(name) for name in ("max_steps", "max_epochs")}
    limits = {name: value if isinstance(value, int) else -1 for name, value in limits.items()}
    if 0 <= limits["max_steps"] <= step:
        return f"is finished at step {step}; to go on, give a larger trainer.max_steps="
    if 0 < limits["max_epochs"] <= epoch:
        return f"is finished after {epoch} epochs; to go on, give a larger trainer.max_epochs="
    return None
