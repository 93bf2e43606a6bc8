"""Errors that a user can fix, and the checks of settings that raise them."""

from collections.abc import Collection, Iterator, Mapping
from numbers import Integral
from typing import Any


class UserError(Exception):
    """An error that the user can fix: one line says what is wrong, where, and what to do.

    The verbs print it as ``alzgan: <message>`` and exit with code 1, without a traceback.
    Any other exception is a bug and keeps its traceback.
    """


class SettingError(UserError, ValueError):
    """A setting's value is out of its range; the message begins with the setting's name.

    Constructors raise it. Code that builds an object from a config prefixes the place of the setting:
    ``data.batch_size=0 must be at least 1``. A verb's own settings have no such place.
    """


def numbers_in(settings: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Each number in settings with its name: one's own, both ends of a schedule, none of None."""
    for name, value in settings.items():
        if hasattr(value, "start"):  # a schedule of `alzgan.schedules`
            yield from ((f"{name}.start", value.start), (f"{name}.end", value.end))
        elif value is not None:
            yield name, value


def at_least(least: float, **settings: Any) -> None:
    """Check that settings, or both ends of their schedules, are finite and at least `least`; None passes.

    Raises:
        SettingError: one is not.
    """
    for name, value in numbers_in(settings):
        if not least <= value < float("inf"):
            raise SettingError(f"{name}={value} must be at least {least}")


def one_of(choices: Collection[Any], **settings: Any) -> None:
    """Check that settings are among the choices.

    Raises:
        SettingError: one is not; the line lists the choices.
    """
    for name, value in settings.items():
        if value not in choices:
            raise SettingError(f"{name}={value} must be one of {', '.join(map(str, choices))}")


def fraction(**settings: Any) -> None:
    """Check that settings, or both ends of their schedules, lie in [0, 1]; None passes.

    Raises:
        SettingError: one does not.
    """
    for name, value in numbers_in(settings):
        if not 0 <= value <= 1:
            raise SettingError(f"{name}={value} must be from 0 to 1")


def seed_of_streams(**settings: int) -> None:
    """Check that settings are valid seeds of `alzgan.device.streams.stream`.

    Raises:
        SettingError: one is not.
    """
    for name, value in settings.items():
        if not isinstance(value, Integral) or not 0 <= value < 2**63:
            raise SettingError(f"{name}={value} must be a whole number from 0 to 2**63 - 1")


def derives(base: type, **pieces: object) -> None:
    """Check that pieces derive from the class that states their contract; None is no piece.

    Raises:
        SettingError: one does not.
    """
    for place, piece in pieces.items():
        if not isinstance(piece, base | None):
            contract = f"{base.__module__}.{base.__name__}"
            raise SettingError(f"{place}: {type(piece).__name__} must derive from {contract}")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and its chain of causes and contexts."""
    seen = set()
    while error is not None and id(error) not in seen:  # a chain can be circular
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def user_error(error: BaseException) -> UserError | None:
    """The first `UserError` in the exception's chain of causes, if there is one."""
    return next((cause for cause in causes(error) if isinstance(cause, UserError)), None)
