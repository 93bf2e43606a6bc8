"""Compose a verb's config from `conf/*.yaml` and the command line, with the resolvers that they use."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from alzgan.errors import UserError
from alzgan.files import numbered_folder, read_table
from alzgan.text import printable, shell_override
from alzgan.upstream import hydra

PACKAGE = Path(__file__).resolve().parent.parent
# In a checkout `conf/` stands beside the package, in an installed wheel inside it.
CONF = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())
NO_RESULT = {"train.log", "multirun.yaml"}  # Hydra writes these before a verb starts

made_folders: list[Path] = []  # folders that this process made under default names


def register_resolvers() -> None:
    """Register the resolvers of `conf/*.yaml`, except `alzgan.runs.resume.run_folder`."""
    # The config caches the folder; a sweep copies the cache to its jobs' configs.
    OmegaConf.register_new_resolver("new_folder", new_folder, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("named", named, replace=True)
    OmegaConf.register_new_resolver("native_precision", native_precision, replace=True)


def compose_config(name: str, overrides: Sequence[str]) -> DictConfig:
    """`conf/NAME.yaml` with overrides, inside or outside a verb."""
    register_resolvers()
    with hydra_at_work():
        return compose(name, list(overrides))


def networks_of(model: DictConfig) -> dict[str, DictConfig]:
    """The settings of a model's networks, by their places in its settings."""
    parts = {f"parts.{name}.network": part.network for name, part in (model.get("parts") or {}).items()}
    return {"generator": model.generator, "discriminator": model.discriminator, **parts}


def hydra_at_work() -> contextlib.AbstractContextManager:
    """Start Hydra for the block, unless a verb has started it."""
    if hydra.is_started():
        return contextlib.nullcontext()
    return initialize_config_dir(str(CONF), version_base="1.3")


def checkpoint_file(given: str, setting: str = "ckpt_path") -> Path:
    """The checkpoint of a run's folder, or the file itself, which is given by a setting."""
    path = Path(given).expanduser().absolute()
    if not path.exists():
        raise UserError(f"{setting}={given}: there is no such run or file")
    if path.is_file():
        return path
    last = path / "checkpoints" / "last.ckpt"
    if not last.is_file():
        if not (jobs := [job.parent for job in sorted(path.glob("job_*/checkpoints"))]):
            raise UserError(f"{setting}={given}: it has no checkpoints/last.ckpt; start the run again")
        best = [path / row["job"] for row in read_table(path / "sweep.csv")]  # the table has the best first
        advice = f"{'the best is' if best else 'as in'} {shell_override(setting, (best or jobs)[0])}"
        raise UserError(f"{setting}={given} is a sweep: name a job, {advice}")
    return last


def new_folder(name: str) -> str:
    """Make a folder under a default name, with a number appended if the name is taken.

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
    """Let the first of torchrun's processes make a folder and share its name.

    Processes that Lightning starts get `hydra.run.dir` instead.
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
    """Remove folders that this process made under default names and that hold no result."""
    while made_folders:
        folder = made_folders.pop()
        if {path.name for path in folder.glob("*")} <= NO_RESULT:
            shutil.rmtree(folder, ignore_errors=True)


def named(run_dir: Any) -> str:
    """The name of a folder as a text, which Hydra may have read as a number.

    Raises:
        UserError: it is empty, for example because a shell variable is not set, or contains an interpolation.
    """
    if run_dir in ("", None):  # results would go to the current folder
        raise UserError("run_dir is empty; name a folder")
    run_dir = str(run_dir)
    if "${" in run_dir:  # Hydra would resolve it
        raise UserError(f"run_dir={printable(run_dir)} has ${{ in its name; choose another")
    return run_dir


def native_precision(accelerator: str) -> str:
    """See `alzgan.device.precision`. Imports torch, but only if a config uses this resolver."""
    from alzgan.device import precision

    return precision.native_precision(accelerator)


def as_mapping(config: Any, resolve: bool = True) -> dict[str, Any]:
    """A node of a config that is a dictionary, as plain containers."""
    found = OmegaConf.to_container(config, resolve=resolve)
    if not isinstance(found, dict):
        raise TypeError(f"{found} is not a dictionary")
    return {str(name): value for name, value in found.items()}


def check_missing(config: DictConfig) -> None:
    """Check that every setting without a default is set."""
    if missing := sorted(OmegaConf.missing_keys(config)):
        raise UserError(f"{missing[0]} is not set; add {missing[0]}=... to the command line")


def check_plain(config: DictConfig) -> None:
    """Raise UserError if a value looks like an interpolation, which OmegaConf would resolve later."""
    for name, value in leaves(OmegaConf.to_container(config, resolve=True), in_lists=True):
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{name}={printable(value)} has ${{ in it; choose another")


def effective(overrides: Sequence[str]) -> list[str]:
    """The overrides that count: for each setting the last one."""
    return list({override.partition("=")[0]: override for override in overrides}.values())


def leaves(config: Any, path: str = "", in_lists: bool = False) -> Iterator[tuple[str, Any]]:
    """Name and value of every setting of a plain config; an empty node, and mostly a list, is one setting."""
    if in_lists and isinstance(config, list | tuple):
        config = dict(enumerate(config)) or config
    if isinstance(config, dict) and config:
        for key, value in config.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key), in_lists)
    else:
        yield path, config
