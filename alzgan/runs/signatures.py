"""Check settings against the signatures of classes and functions: names and plain types."""

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from alzgan.errors import UserError
from alzgan.runs.config import as_mapping
from alzgan.text import printable

HYDRA_KEYS = ("_target_", "_partial_")


def check_targets(config: DictConfig, path: str) -> None:
    """Check every `_target_` in a config node, and its arguments."""
    for place, node in target_nodes(config, path):
        target = locate(f"{place}._target_", node._target_)
        for name in sorted(getattr(target, "__abstractmethods__", ())):
            raise UserError(f"{place}: {node._target_} has no {name}, which its base class requires")
        check_arguments(place, node, target, node._target_)


def check_arguments(path: str, node: Mapping[str, Any], target: Callable, name: str) -> None:
    """Check the arguments in a config node for a class or a function."""
    arguments, hints = arguments_of(target)
    given = as_mapping(node) if OmegaConf.is_config(node) else node
    for key, value in given.items():
        if key in HYDRA_KEYS:
            continue
        if arguments is not None and key not in arguments:
            raise UserError(f"{path}.{key}: {name} has no such option, only {', '.join(arguments)}")
        if key in hints and not fits(value, hints[key]):
            raise UserError(f"{path}.{key}={value} must be {describe(hints[key])}")


def target_nodes(node: DictConfig, path: str) -> Iterator[tuple[str, DictConfig]]:
    """Every dictionary in the node that names a class, with its path."""
    if "_target_" in node:
        yield path, node
    for key in node:
        if OmegaConf.is_dict(child := node[key]):
            yield from target_nodes(child, f"{path}.{key!s}")


def locate(setting: str, name: str) -> Any:
    """The class, function or object of the dotted name that a setting has.

    Raises:
        UserError: the module is missing, or it does not have the name.
    """
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        why = printable(f"{name}: {error}")
        raise UserError(f"{setting}={why}; is its folder in PYTHONPATH?") from None


def arguments_of(target: Any) -> tuple[list[str] | None, dict[str, Any]]:
    """Names of a callable's arguments, or None if it takes any, and their type hints.

    A class with `**options` also takes the arguments of the classes in its `shared_out_to`, or else those of
    its base class.
    """
    names: dict[str, None] = {}
    hints: dict[str, Any] = {}
    for each in target.__mro__[:-1] if inspect.isclass(target) else [target]:
        if inspect.isclass(each) and "__init__" not in vars(each):
            continue
        function = each.__init__ if inspect.isclass(each) else each
        arguments = list(inspect.signature(function).parameters.values())[inspect.isclass(each) :]
        hints = {**typing.get_type_hints(function), **hints}
        names |= {a.name: None for a in arguments if a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY)}
        if not any(a.kind is a.VAR_KEYWORD for a in arguments):
            return list(names), hints
        if inspect.isclass(each) and (parts := vars(each).get("shared_out_to")):
            for more, of_part in map(arguments_of, parts):
                names |= dict.fromkeys(more or ())
                hints = {**of_part, **hints}
            return list(names), hints
    return None, hints


def check_types(settings: DictConfig, hints: Mapping[str, Any]) -> None:
    """Check the types of settings, by their dotted names; ranges are checked where they are used.

    Raises:
        UserError: a setting has another type.
    """
    for name, hint in hints.items():
        value = OmegaConf.select(settings, name)
        if not fits(value, hint):
            raise UserError(f"{name}={printable(str(value))} must be {describe(hint)}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value fits a type hint; an unknown kind of hint accepts any value."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(fits(value, option) for option in options)
    if origin is tuple and isinstance(value, list) and Ellipsis not in options:
        return len(value) == len(options) and all(map(fits, value, options))
    if isinstance(value, dict) and "_target_" in value:
        return hint not in (bool, int, float, str)  # a hint that allows a schedule names it
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    if origin in (list, tuple, dict):
        return isinstance(value, dict if origin is dict else list | tuple)
    return hint is Any or not isinstance(hint, type) or isinstance(value, str if hint is Path else hint)


def describe(hint: Any) -> str:
    """A type hint in words."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(describe, options))
    if origin is tuple:
        return f"[{', '.join(map(describe, options))}]"
    return "null" if hint is type(None) else getattr(hint, "__name__", str(hint))
