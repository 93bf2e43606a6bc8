"""Lines that a terminal, a log and a shell can take."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path


def printable(path: Path | str) -> str:
    """The path on one line that any terminal and log can take: odd characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in os.fspath(path))


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """The number with its noun: "1 image", "2 images"; `plural` where an "s" does not make it."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def shell_override(name: str, value: str | Path) -> str:
    """`name=value` as a shell and Hydra both understand it, whatever characters are in the value."""
    return shell_word(f"{name}={hydra_value(str(value))}")


def hydra_value(text: str) -> str:
    """The text as Hydra reads it back, in quotes where it needs them."""
    if re.fullmatch(r"[\w/.:+-]+", text, re.ASCII):
        return text
    return "'{}'".format(text.replace("'", "\\'"))


def shell_word(text: str) -> str:
    """The text as a shell understands it, in double quotes where they do, as in `"data.root='a b'"`."""
    if "'" not in text or re.search(r'["$`!]|\\\\', text):
        return shlex.quote(text)
    return f'"{text}"'


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
