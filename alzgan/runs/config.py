"""How a verb's config comes to be: `conf/*.yaml`, what they call, and the command line."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from alzgan.errors import UserError
from alzgan.text import printable

PACKAGE = Path(__file__).resolve().parent.parent
# In a checkout `conf/` stands beside the package, in an installed wheel inside it.
CONF = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())


def register_resolvers() -> None:
    """Make known to OmegaConf what the files call."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("named", named, replace=True)
    OmegaConf.register_new_resolver("native_precision", native_precision, replace=True)


def compose_config(name: str, overrides: Sequence[str]) -> DictConfig:
    """`conf/NAME.yaml` with overrides, within a verb or without one."""
    register_resolvers()
    with hydra_at_work():
        return compose(name, list(overrides))


def group_options(group: str) -> list[str]:
    """What can be chosen from a group, nothing where it is none."""
    with hydra_at_work():
        return GlobalHydra.instance().config_loader().get_group_options(group)


def hydra_at_work() -> contextlib.AbstractContextManager:
    """Hydra as the verb has started it, or started for the block."""
    started = GlobalHydra.instance().is_initialized()
    return contextlib.nullcontext() if started else initialize_config_dir(str(CONF), version_base="1.3")


def checkpoint_file(ckpt_path: str) -> Path:
    """The checkpoint that a user means by a run's folder or a file."""
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
    """Where a run writes: in the folder of the run that it continues, else in a new one."""
    if ckpt_path is None:
        return new
    folder = checkpoint_file(ckpt_path).parent
    return str(folder.parent) if folder.name == "checkpoints" else new


def named(run_dir: str) -> str:
    """The folder, which an unset shell variable would leave without a name: the current one, then."""
    if not run_dir:
        raise UserError("run_dir is empty; name a folder")
    if "${" in run_dir:  # Hydra would take it for an interpolation of its own
        raise UserError(f"run_dir={printable(run_dir)} has ${{ in its name; choose another")
    return run_dir


def native_precision(accelerator: str) -> str:
    """See `alzgan.device.precision`; loads torch, where a config asks for it."""
    from alzgan.device import precision

    return precision.native_precision(accelerator)


def check_missing(config: DictConfig) -> None:
    """Check that everything that has no default is set."""
    if missing := sorted(OmegaConf.missing_keys(config)):
        raise UserError(f"{missing[0]} is not set; add {missing[0]}=... to the command line")


def leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of every setting of a plain config; an empty node counts as one."""
    if isinstance(config, dict) and config:
        for key, value in config.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, config
