"""Private names of Hydra, checked with 1.3."""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
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


def grid_of(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each job of a grid; none if an override is an interval. Hydra must have started."""
    loader = GlobalHydra.instance().config_loader()  # it resolves `model=glob(*)`
    parsed = OverridesParser.create(loader).parse_overrides(list(overrides))
    try:
        return BasicSweeper.split_arguments(parsed, None)[0]
    except HydraException:
        return []
