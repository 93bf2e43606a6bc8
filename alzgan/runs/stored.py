"""Check the config in a checkpoint before anything that it names is imported.

A checkpoint may come from an untrusted source. Its config names classes; to build one can run code, and to
look one up imports its module. So names are checked as text first. Allowed are alzgan's own classes,
torch.optim's optimizers and lightning.Trainer. The user must name any other class on the command line.
"""

import importlib
import inspect
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from alzgan.errors import UserError
from alzgan.runs.config import leaves
from alzgan.text import printable, shell_word

ALLOWED_MODULES = {  # the modules whose classes are allowed, by the first part of the setting's name
    "data": r"alzgan\.data\.datamodule",
    "model": r"alzgan\.(gan|networks\.\w+|losses|parts|penalties|augment|average|schedules)|torch\.optim",
    "conditioning": r"alzgan\.schedules",
    "trainer": r"lightning(?=\.Trainer$)",
    "logger": r"alzgan\.runs\.loggers",
    "callbacks": r"alzgan\.callbacks\.\w+",
}
NEEDED = ("data", "model", "trainer", "callbacks")
# Paths on this machine: they come from the command line or the defaults, never from the file.
OF_THE_MACHINE = ("data.cache_dir", "callbacks.quality.cache_dir")
PHANTOM = "alzgan.data.datamodule.PhantomDataModule"


def check_stored(
    config: dict[str, Any], path: Path, trusted: Collection[str] = (), retyped: bool = False
) -> None:
    """Check that a stored config is plain and names allowed classes only.

    Args:
        config: of a checkpoint.
        path: of the checkpoint.
        trusted: names that the user has given.
        retyped: whether the caller reads such names from the settings themselves, as training does, and not
            from `allow`.
    """
    for place in NEEDED:
        if not isinstance(config.get(place), dict) or not config[place]:
            raise UserError(f"{path}: its config has no {place}; start a new run")
    foreign: dict[str, str] = {}
    for name, value in leaves(config, in_lists=True):
        _, _, key = name.rpartition(".")
        if isinstance(value, dict | list | tuple):  # an empty one
            continue
        if not (value is None or isinstance(value, bool | int | float | str)):
            raise UserError(f"{path}: {printable(name)} in its config is not a plain value; it was not used")
        if isinstance(value, str) and "${" in value:
            raise UserError(
                f"{path}: {printable(name)} in its config is an interpolation, {printable(value)}; it was "
                "not used"
            )
        if key == "_target_" and value not in trusted and not may_stand(value, name):
            foreign[printable(name)] = printable(str(value))
        elif key.startswith("_") and key not in ("_target_", "_partial_"):
            raise UserError(f"{path}: {printable(name)} in its config is not allowed; it was not used")
    if foreign:
        again = " ".join(f"++{name}={target}" for name, target in foreign.items())
        if not retyped:  # in Python too, without the outer quotes
            again = shell_word(f"allow={json.dumps(list(dict.fromkeys(foreign.values())))}")
        raise UserError(
            f"{path} names {', '.join(foreign.values())}, which is not part of alzgan: nothing was loaded. "
            f"If it is yours, name it again: {again}"
        )


def may_stand(target: Any, name: str) -> bool:
    """Whether a stored name is an allowed class at this place of a config."""
    allowed = ALLOWED_MODULES.get(name.partition(".")[0])
    pattern = rf"({allowed})\.[A-Z]\w*"
    ours = allowed and isinstance(target, str) and re.fullmatch(pattern, target, re.ASCII)
    return bool(ours and is_own_class(target))


def is_own_class(target: str) -> bool:
    """Whether the module, ours or torch.optim, defines this class and does not just import it."""
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return False
    return inspect.isclass(found) and f"{found.__module__}.".startswith(f"{module}.")


def names_in(config: Any) -> set[str]:
    """The names of all classes in a config."""
    settings = leaves(config, in_lists=True)
    return {value for name, value in settings if name.endswith("_target_") and isinstance(value, str)}
