"""Tables that name the person in each file, as spreadsheets and scripts save them."""

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from unicodedata import normalize

from alzgan.errors import UserError
from alzgan.text import printable

COLUMNS = ("file", "subject", "slice", "scan", "split", "class")  # with a meaning of their own
NEEDED = {"file", "subject"}
SEPARATORS = (",", ";", "\t")
SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # first bytes of xlsx and ods files, and of xls


def rows_of(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a table, each with the number of its last line; all cells but `file` are stripped.

    Columns are separated by comma, semicolon or tab. A name in `COLUMNS` may have surrounding spaces and
    capital letters.

    Raises:
        UserError: the table cannot be read; the line says why.
    """
    text = text_of(path)
    head = re.split(r"[\r\n]", text, maxsplit=1)[0]
    separator = max(SEPARATORS, key=lambda each: (set(columns_in(head, each)) >= NEEDED, head.count(each)))
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True, delimiter=separator)
    try:
        reader.fieldnames = column_names(reader.fieldnames or [])
        check_columns(path, reader.fieldnames)
        rows = [(reader.line_num, stripped(row)) for row in reader]
    except csv.Error as error:
        raise UserError(f"{printable(path)} line {reader.line_num} is not CSV: {error}") from None
    return [(line, row) for line, row in rows if any(row.values())]


def text_of(path: Path) -> str:
    """The text of a table in UTF-8, or in UTF-16 with its mark; other bytes are surrogate-escaped."""
    try:
        content = path.read_bytes()
        if content.startswith(SPREADSHEETS):
            raise UserError(f"{printable(path)} is a spreadsheet, whatever its name: save it as CSV")
        marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = content.decode("utf-16") if marked else content.decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise UserError(f"cannot read {printable(path)}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{printable(path)} is damaged UTF-16 ({error.reason}): save it again") from None
    if "\0" in text:
        raise UserError(
            f"{printable(path)} is neither UTF-8 nor UTF-16 with a byte-order mark: save it as CSV in UTF-8"
        )
    return text


def columns_in(head: str, separator: str) -> list[str]:
    """The columns of a table whose first line is `head`, split at the separator."""
    return column_names(head.replace('"', "").split(separator))


def column_names(header: Sequence[str]) -> list[str]:
    """The stripped names; one in `COLUMNS` in lower case, unless another column has that name."""
    bare = [name.strip() for name in header]
    return [low if (low := name.lower()) in COLUMNS and low not in bare else name for name in bare]


def check_columns(path: Path, names: Sequence[str]) -> None:
    """Raise UserError if a needed column is missing, or a column in `COLUMNS` occurs twice."""
    there = ", ".join(map(printable, names)) or "none"
    for name in COLUMNS:
        if names.count(name) > 1:
            raise UserError(f"{printable(path)} has two columns {name}; its columns are: {there}")
        if name in NEEDED and name not in names:
            raise UserError(
                f"{printable(path)} has no column {name}; its columns are: {there}; it needs the columns "
                "file and subject: rename or add them"
            )


def stripped(row: dict[str, str]) -> dict[str, str]:
    """The cells of named columns, stripped; the file's name is kept as it is, even as an id."""
    return {name: cell if cell == row["file"] else cell.strip() for name, cell in row.items() if name}


def file_of(text: str, root: Path, wanted: set[str]) -> str:
    """The path, as `scan` writes it, of the file that a cell names.

    The name is tried as it is, then stripped, with `/` for backslashes, and in both normal forms of Unicode.

    Raises:
        UserError: there is no such file; the line says why.
    """
    if (name := str(PurePosixPath(text))) in wanted:
        return name
    bare = text.strip()
    spellings = [
        str(PurePosixPath(form))
        for each in (bare, bare.replace("\\", "/"))
        for form in (each, normalize("NFC", each), normalize("NFD", each))
    ]
    if found := next((each for each in spellings if each in wanted), None):
        return found
    last = PurePosixPath(spellings[-1])
    if last.is_absolute() or PureWindowsPath(spellings[-1]).is_absolute() or ".." in last.parts:
        raise UserError(f"{printable(text)} leaves the root; give the path from data.root")
    # A file in the root that is not wanted may have been skipped as unreadable.
    if found := next((each for each in (name, *spellings) if os.path.isfile(root / each)), None):
        return found
    same_name = (each for each in sorted(wanted) if PurePosixPath(each).name == last.name)
    odd = any("\ud800" <= letter <= "\udfff" for letter in text)
    advice = "save the table, which is not UTF-8, as UTF-8, or remove the row" if odd else "remove the row"
    if not odd and (full := next(same_name, None)):
        advice = f"give the path from data.root, such as {printable(full)}"
    raise UserError(f"there is no {printable(name)} in {printable(root)}; {advice}")
