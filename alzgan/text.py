"""Quoting and escaping for terminals, logs, shells and Hydra."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from alzgan.upstream import hydra

# Strings that Hydra keeps without quotes. It would convert a number, true or null to another type.
PLAIN = re.compile(r"(?ai)(?!(?:true|false|null|nan|inf)\Z)(?:[a-z_]|\.{0,2}/)[a-z0-9_/.:+-]*")
NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[-+]?[0-9]+)?"
NAMED_NUMBER = re.compile(rf"""\s*(["']?)(.+?)\1\s*:\s*({NUMBER})\s*(?:,|\Z)""", re.IGNORECASE | re.DOTALL)


def printable(path: Path | str) -> str:
    """The path on one line, with unprintable characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in os.fspath(path))


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """The number with its noun: "1 image", "2 images"; `plural` if it is not the noun with an "s"."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def encodable(text: str) -> str:
    """The text with escapes for bytes that are not UTF-8, which file names may contain."""
    return text.encode("utf-8", "backslashreplace").decode()


def shell_override(name: str, value: str | Path | Sequence[str]) -> str:
    """`name=value` for a shell: Hydra reads exactly this value, or this list of strings."""
    return shell_word(f"{name}={quoted(value)}")


def quoted(value: str | Path | Sequence[str]) -> str:
    """The value in Hydra's syntax, quoted unless Hydra and every shell keep it unquoted."""
    if not isinstance(value, str | Path):
        return f"[{','.join(map(quoted, value))}]"
    text = str(value)
    if PLAIN.fullmatch(text):
        return text
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # or OmegaConf would interpolate
    sign = '"' if re.search(r'["$`!\\]', text) else "'"  # the shell gets the other one
    return hydra.quoted(text, sign)


def shell_word(text: str) -> str:
    """The text as one word of a shell, in double quotes where possible: `"data.root='a b'"`.

    Unprintable characters become octal escapes, which bash, zsh and ksh read.
    """
    if not text.isprintable():
        octal = {c: "".join(f"\\{byte:03o}" for byte in os.fsencode(c)) for c in text}
        plain = [c if " " <= c <= "~" and c not in "\\'" else octal[c] for c in text]
        return f"$'{''.join(plain)}'"
    if "'" not in text or re.search(r'["$`!]|\\(\\|\Z)', text):
        return shlex.quote(text)
    return f'"{text}"'


def numbers_by_name(text: str) -> dict[str, float] | None:
    """Parse a mapping like `{Très léger: 30, "a: b": 2}`; None if the text is not one.

    Hydra's own mappings allow neither quoted keys nor letters beyond ASCII.
    """
    if not (text.startswith("{") and text.endswith("}")) or NAMED_NUMBER.sub("", text[1:-1]).strip():
        return None
    pairs = [(match[2], match[3]) for match in NAMED_NUMBER.finditer(text[1:-1])]
    return {name: int(number) if number.lstrip("+-").isdigit() else float(number) for name, number in pairs}


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a table as lines, with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
