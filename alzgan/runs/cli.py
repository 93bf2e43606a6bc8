"""Start a verb: Hydra composes its config, and a user's error ends in one line."""

import difflib
import io
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import hydra
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from alzgan.errors import UserError, user_error
from alzgan.runs.config import (
    CONF,
    as_mapping,
    compose_config,
    hydra_at_work,
    leaves,
    register_resolvers,
    remove_unused_folders,
    unwritable,
)
from alzgan.text import printable, shell_override
from alzgan.upstream import hydra as upstream

ENVIRONMENT = re.compile(r"\$\{oc\.env:(?:[^{}]|\$\{[^{}]*\})*\}")


def run(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Compose `conf/<config_name>.yaml` with the command line and run the task on it."""
    escape_what_cannot_be_shown()
    register_resolvers()
    # Hydra's parser accepts no flag between overrides.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise exceptions instead of printing Hydra's own long report
    started = False

    def guarded(config: DictConfig) -> Any:
        nonlocal started
        escape_what_cannot_be_shown()  # where a launcher has started another process
        started = True
        try:
            return task(config)
        except InterpolationKeyError as error:  # on the command line; those in conf/*.yaml never fail
            raise SystemExit(
                f"alzgan: {error.full_key}: {one_line(error, config_name)}; write the value itself"
            ) from None
        except (UserError, InstantiationException, OmegaConfBaseException) as error:
            if (cause := user_error(error)) is None:
                raise
            raise SystemExit(f"alzgan: {printable(str(cause))}") from None

    try:
        sys.argv[1:] = map(environment_filled_in, sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(guarded)()
    except KeyboardInterrupt:
        logging.disable()  # torch, half imported, would log statistics at exit
        print("alzgan: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except (UserError, HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        if started:  # a bug, since the command line was accepted
            raise
        if isinstance(error, BrokenPipeError):  # `| head` has ended; discard what is buffered
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        # Hydra makes the run's folder and opens its log there; logging wraps that error in a ValueError.
        reason = error.__cause__ if isinstance(error, ValueError) else error
        if isinstance(reason, OSError) and not isinstance(reason, HydraException):
            error = unwritable(reason)
        sys.exit(f"alzgan: {printable(str(user_error(error) or one_line(error, config_name)))}")
    finally:
        remove_unused_folders()


def environment_filled_in(word: str) -> str:
    """Replace `${oc.env:NAME}` in a word of the command line by its value, as a shell replaces `$NAME`.

    So a run's records and the commands that a verb prints contain the values themselves.

    Raises:
        UserError: the variable is not set and has no default.
    """

    def value(found: re.Match[str]) -> str:
        try:
            value = OmegaConf.create([found[0]])[0]
        except OmegaConfBaseException:
            raise UserError(
                f"{word}: {found[0]} has no value: set this environment variable, or write the value itself"
            ) from None
        return "null" if value is None else str(value)

    return ENVIRONMENT.sub(value, word)


def escape_what_cannot_be_shown() -> None:
    """Print characters that the output's encoding lacks as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not closed, and not a notebook's
            stream.reconfigure(errors="backslashreplace")


def one_line(error: Exception, config_name: str) -> str:
    """Hydra's and OmegaConf's message on `conf/<config_name>.yaml` without their internals, on one line."""
    if isinstance(error, OverrideParseException) and (advice := hint(error)):
        return f"cannot read {printable(error.override)}{advice}"
    if unknown := upstream.unknown_setting(error):
        name = unknown.partition("=")[0]
        advice = f"; if its class has such an option, use +{unknown}" if "." in name else ""
        advice += "; if a recipe has it, name the recipe too: model=NAME" if name.startswith("model.") else ""
        known = leaves(as_mapping(compose_config(config_name, []), resolve=False))
        near = difflib.get_close_matches(name, [each for each, _ in known], 1, cutoff=0.85)
        told = f"did you mean {near[0]}? --help lists all" if near else "--help lists them"
        return f"there is no setting {name}: {told}{advice}"
    return upstream.message(error) + hint(error)


def hint(error: Exception) -> str:
    """What to do, if Hydra's message does not say it."""
    if plugin := upstream.missing_plugin(error):
        return f"; first: pip install -e '.[{plugin}]'"
    if upstream.needs_another_sweeper(error):
        return "; an interval needs hydra/sweeper=optuna"
    if group := upstream.group_of_unknown_choice(error):
        with hydra_at_work():
            return f"; Available options in '{group}': {'; '.join(upstream.group_options(group))}"
    if isinstance(error, OverrideParseException):
        name, equals, value = error.override.partition("=")
        if not equals and ("/" in name or os.path.exists(name)):
            is_run = os.path.isdir(os.path.join(name, "checkpoints"))
            return f"; write {shell_override('ckpt_path' if is_run else 'data.root', name)}"
        if equals and upstream.can_be_set(name):
            return f"; write it as {shell_override(name, meant(value))}"
    return ""


def meant(value: str) -> str | list[str]:
    """The probable meaning of a value that Hydra cannot read: a text, or a list of texts."""
    if listed := re.fullmatch(r"\[([^\[\]]*)\]", value):
        return [unquoted(part.strip()) for part in listed[1].split(",")]
    return os.path.expanduser(unquoted(value))


def unquoted(text: str) -> str:
    """The text without the quotes around it."""
    return text[1:-1] if re.fullmatch(r"(['\"]).*\1", text, re.DOTALL) else text
