"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something that the user can mend: what is wrong, where, and what to do, in one line.

    The verbs print it as ``alzgan: <message>`` and exit with code 1, without a traceback.
    Any other exception is a bug and keeps its traceback.
    """
