"""The one exception that a user is meant to read."""

from collections.abc import Iterator


class UserError(Exception):
    """Something that the user can mend: what is wrong, where, and what to do, in one line.

    The verbs print it as ``alzgan: <message>`` and exit with code 1, without a traceback.
    Any other exception is a bug and keeps its traceback.
    """


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
