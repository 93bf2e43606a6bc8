"""How a verb's config comes to be: `conf/*.yaml`, what they call, and the command line."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from alzgan.errors import UserError
from alzgan.files import numbered_folder
from alzgan.text import printable

PACKAGE = Path(__file__).resolve().parent.parent
# In a checkout `conf/` stands beside the package, in an installed wheel inside it.
CONF = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())
NO_RESULT = {"train.log", "multirun.yaml"}  # Hydra writes these before a verb starts

made_folders: list[Path] = []  # by this process, under default names


def register_resolvers() -> None:
    """Register the resolvers that the files call, except `alzgan.runs.resume.run_folder`."""
    # The config caches the folder, and a sweep copies the cache to the configs of its jobs.
    OmegaConf.register_new_resolver("new_folder", new_folder, replace=True, use_cache=True)
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


def new_folder(name: str) -> str:
    """Make a folder under a default name, with a number behind it where the name is taken.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder = numbered_folder(Path(name))
    except OSError as error:
        raise unwritable(error) from None
    made_folders.append(folder.absolute())
    return str(folder)


def unwritable(error: OSError) -> UserError:
    """The error for a folder of results that cannot be made."""
    name = printable(error.filename)
    return UserError(f"run_dir={name} cannot be written: {error.strerror}; choose another")


def shared_by_ranks(make: Callable[[], str]) -> str:
    """Let the first of torchrun's processes make a folder and tell the others its name.

    The processes that Lightning starts are given `hydra.run.dir`.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return make()
    from torch.distributed import TCPStore

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    key = f"alzgan/run_folder/{os.environ['TORCHELASTIC_RESTART_COUNT']}"
    if os.environ["RANK"] == "0":
        store.set(key, make())
    return store.get(key).decode()


def remove_unused_folders() -> None:
    """Remove the folders that this process has made under default names, where no result is in them."""
    while made_folders:
        folder = made_folders.pop()
        if {path.name for path in folder.glob("*")} <= NO_RESULT:
            shutil.rmtree(folder, ignore_errors=True)


def named(run_dir: Any) -> str:
    """The folder's name, which Hydra may have read as a number.

    Raises:
        UserError: it is empty, as an unset shell variable leaves it, or Hydra cannot take it.
    """
    if run_dir in ("", None):  # else results would go to the current folder
        raise UserError("run_dir is empty; name a folder")
    run_dir = str(run_dir)
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


def check_plain(config: DictConfig) -> None:
    """Check that no value looks like an interpolation: OmegaConf would take it for one when it is read again.

    Raises:
        UserError: one does.
    """
    for name, value in leaves(OmegaConf.to_container(config, resolve=True)):
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{name}={printable(value)} has ${{ in it; choose another")


def effective(overrides: Sequence[str]) -> list[str]:
    """The overrides that count: of several of one setting, the last."""
    return list({override.partition("=")[0]: override for override in overrides}.values())


def leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of every setting of a plain config; an empty node counts as one."""
    if isinstance(config, dict) and config:
        for key, value in config.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, config
