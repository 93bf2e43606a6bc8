"""Private names of Hydra and the wording of its errors and OmegaConf's, checked with 1.3 and 2.3."""

import re

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException


def quoted(text: str, sign: str) -> str:
    """The text in quotes, `'` or `"`, with escapes that Hydra's grammar reads."""
    return QuotedString(text, Quote.double if sign == '"' else Quote.single).with_quotes()


def can_be_set(name: str) -> bool:
    """Whether Hydra can read `name=value`, whatever the value."""
    try:
        return bool(OverridesParser.create().parse_override(f"{name}=x"))
    except HydraException:
        return False


def is_started() -> bool:
    """Whether a verb has started Hydra in this process."""
    return GlobalHydra.instance().is_initialized()


def group_options(group: str) -> list[str]:
    """The choices of a config group; none if it is not a group. Hydra must have started."""
    return GlobalHydra.instance().config_loader().get_group_options(group)


def message(error: Exception) -> str:
    """The message of an error and of its cause, on one line and without internals."""
    kept: list[str] = []
    for line in f"{error}\n{error.__cause__ or ''}".split("Config search path:")[0].splitlines():
        text = " ".join(line.split())
        if text and text not in kept and not text.startswith(("object_type", "reference_type", "full_key")):
            kept.append(text)
    return "; ".join(kept).replace(":;", ":")


def full_key(error: Exception) -> str | None:
    """The name of the config node that an object could not be built from."""
    place = re.search(r"^full_key: (\S+)", str(error), re.MULTILINE)
    return place[1] if place else None


def unknown_setting(error: Exception) -> str | None:
    """The override `name=value` of a setting that is in no config."""
    unknown = re.search(r"To append to your config use \+(.*)", str(error))
    return unknown[1] if unknown else None


def group_of_unknown_choice(error: Exception) -> str | None:
    """The group of a choice in a list, `penalty=[r1,r3]`, that the group lacks."""
    unknown = re.search(r"Could not load '(.+)/[^/]+'", str(error))
    return unknown[1] if unknown else None


def missing_plugin(error: Exception) -> str | None:
    """The name of an optional launcher or sweeper that is not installed."""
    missing = re.search(r"Could not find 'hydra/\w+/(joblib|ray|submitit|optuna)", str(error))
    return missing[1] if missing else None


def needs_another_sweeper(error: Exception) -> bool:
    """Whether an override is an interval, which Hydra's own sweeper cannot sample."""
    return "does not support sweep type" in str(error)
