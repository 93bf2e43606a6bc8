"""The one exception that a user is meant to read, and what a constructor says of a value it cannot take."""

from collections.abc import Collection, Iterator
from typing import Any


class UserError(Exception):
    """Something that the user can mend: what is wrong, where, and what to do, in one line.

    The verbs print it as ``alzgan: <message>`` and exit with code 1, without a traceback.
    Any other exception is a bug and keeps its traceback.
    """


class SettingError(ValueError):
    """A setting's value is out of its range; the message begins with the setting's own name.

    Raised by constructors, which a notebook may call too; whoever builds one from a config puts the place in
    front: ``data.batch_size=0 must be at least 1``.
    """


def at_least(least: float, **settings: float | None) -> None:
    """Check that settings are numbers from `least` on; None is off.

    Raises:
        SettingError: one is not.
    """
    for name, value in settings.items():
        if value is not None and not least <= value < float("inf"):
            raise SettingError(f"{name}={value} must be at least {least}")


def one_of(choices: Collection[Any], **settings: Any) -> None:
    """Check that settings are words (or numbers) of the choices.

    Raises:
        SettingError: one is not; the line lists them.
    """
    for name, value in settings.items():
        if value not in choices:
            raise SettingError(f"{name}={value} must be one of {', '.join(map(str, choices))}")


def fraction(**settings: float | None) -> None:
    """Check that settings lie in [0, 1]; None is off.

    Raises:
        SettingError: one does not.
    """
    for name, value in settings.items():
        if value is not None and not 0 <= value <= 1:
            raise SettingError(f"{name}={value} must be from 0 to 1")


def seed_of_streams(**settings: int) -> None:
    """Check that settings can key `alzgan.device.streams.stream`.

    Raises:
        SettingError: one cannot.
    """
    for name, value in settings.items():
        if not 0 <= value < 2**63:
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
    """The exception and those which it was raised from, or while handling."""
    seen = set()
    while error is not None and id(error) not in seen:  # one that is raised again can go round in a circle
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def user_error(error: BaseException) -> UserError | None:
    """What the user is to read of it, however deeply others have wrapped it."""
    return next((cause for cause in causes(error) if isinstance(cause, UserError)), None)
