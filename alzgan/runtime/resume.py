"""How a run goes on: where it is, and which of its settings may change on the way.

Loads nothing heavy, since `conf/train.yaml` asks it for the run's folder.
"""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from alzgan.runtime.errors import UserError

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
    "callbacks.checkpoint",  # what watches does not disturb
    "callbacks.samples",
    "callbacks.progress",
    "callbacks.health",
    "callbacks.quality.every_n_epochs",
    "callbacks.quality.cache_dir",
    "callbacks.quality.weights",  # the file may move; which network it is, is checked
    "callbacks.quality.download",
)


def checkpoint_file(ckpt_path: str) -> Path:
    """The checkpoint that a user means by a run's folder or a file.

    Raises:
        UserError: there is none.
    """
    path = Path(ckpt_path).expanduser().absolute()
    if not path.exists():
        raise UserError(f"ckpt_path={ckpt_path}: there is no such run or file")
    if path.is_file():
        return path
    last = path / "checkpoints" / "last.ckpt"
    if not last.is_file():
        raise UserError(f"ckpt_path={ckpt_path}: there is no checkpoints/last.ckpt in it; start the run anew")
    return last


def run_folder(ckpt_path: str | None, new: str) -> str:
    """Where a run writes: in the folder of the run that it continues, else in a new one.

    Raises:
        UserError: there is nothing to continue.
    """
    if ckpt_path is None:
        return new
    folder = checkpoint_file(ckpt_path).parent
    return str(folder.parent) if folder.name == "checkpoints" else new


@dataclass(frozen=True)
class Previous:
    """The run so far.

    Attributes:
        path: of the checkpoint.
        checkpoint: its content, see `alzgan.runtime.checkpoints.load_checkpoint`.
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

        Raises:
            UserError: an override would make it another run; the stored config is of another version; the
                run has ended.
        """
        settings = conform(self.checkpoint["alzgan"]["config"], composed)
        for override in overrides:
            apply(override, settings, composed, self.provenance.get("overrides", []))
        check_unfinished(settings, self.checkpoint, self.path)
        return settings


def run_to_continue(settings: DictConfig, run_dir: Path) -> Previous | None:
    """The run of `ckpt_path`, or that of a job which Slurm has put back into its queue; None for a new one.

    Raises:
        UserError: the checkpoint cannot be used, or the folder of a new run holds one already.
    """
    path = run_dir / "checkpoints" / "last.ckpt"
    if settings.ckpt_path is not None:
        path = checkpoint_file(settings.ckpt_path)
    elif not path.is_file():
        return None
    elif "SLURM_RESTART_COUNT" not in os.environ:
        raise UserError(
            f"{run_dir} holds a run already; continue it with ckpt_path={run_dir} or choose another run_dir"
        )
    from alzgan.runtime.checkpoints import load_checkpoint  # loads torch

    return Previous(path, load_checkpoint(path))


def apply(override: str, settings: DictConfig, composed: DictConfig, started_with: Sequence[str]) -> None:
    """Let one override of the command line have its effect on a run's own settings.

    Raises:
        UserError: it would make it another run.
    """
    name = override.lstrip("+~").partition("=")[0]
    if name in ("ckpt_path", "run_dir"):
        return
    new, old = OmegaConf.select(composed, name), OmegaConf.select(settings, name)
    if name.startswith(CHANGEABLE):
        OmegaConf.update(settings, name, new, merge=False, force_add=True)
    elif new != old and override not in started_with:
        has = "its own" if OmegaConf.is_config(old) else f"{name}={old}"
        raise UserError(f"{override} would make it another run: it has {has}; leave it out or start anew")


def conform(stored: dict[str, Any], composed: DictConfig) -> DictConfig:
    """The stored config, with the types of the schema.

    Raises:
        UserError: this version has no such setting, or another type for it.
    """
    schema = OmegaConf.structured(OmegaConf.get_type(composed))
    try:
        return OmegaConf.merge(schema, stored)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the run's config is of another version of alzgan: {reason}") from None


def check_unfinished(settings: DictConfig, checkpoint: dict[str, Any], path: Path) -> None:
    """Check that there is something left to do.

    Raises:
        UserError: the run has ended.
    """
    step, epoch = checkpoint["global_step"], checkpoint["epoch"]
    limits = settings.trainer
    if 0 <= limits.max_steps <= step:
        raise UserError(f"{path} is finished at step {step}: raise trainer.max_steps to go on")
    if limits.max_epochs and 0 <= limits.max_epochs <= epoch:
        raise UserError(f"{path} is finished after {epoch} epochs: raise trainer.max_epochs to go on")


def shell_override(name: str, path: str | Path) -> str:
    """`name=path` as a shell and Hydra both understand it, whatever characters are in the path."""
    if re.fullmatch(r"[\w/.+-]+", str(path)):
        return f"{name}={path}"
    quoted = str(path).replace("'", "\\'")
    return shlex.quote(f"{name}='{quoted}'")
