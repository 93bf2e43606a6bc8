"""Files of answers that the page of a reading study saves."""

import csv
import io
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import NamedTuple

from alzgan.errors import UserError
from alzgan.people.tables import SEPARATORS, text_of
from alzgan.text import printable

COLUMNS = ("page", "reader", "item", "answer", "seconds")  # as `reading.html.jinja` writes them


class Answers(NamedTuple):
    """The answers of one reader.

    Attributes:
        path: of the file.
        page: the id of the page.
        reader: the reader's name.
        answers: by the number of the item, which begins at 1.
        seconds: that each item was looked at, in the order of `answers`.
    """

    path: Path
    page: str
    reader: str
    answers: dict[int, int]
    seconds: list[float]


def read_answers(paths: Sequence[str], highest: int) -> list[Answers]:
    """The answers in files, one file of each reader, with answers from 1 to `highest`.

    Raises:
        UserError: a file is missing or is not such a file, or two have the same reader or the same answers.
    """
    found: dict[str, Answers] = {}
    for path in paths:
        each = answers_in(Path(path).expanduser(), highest)
        if each.reader in found:
            raise UserError(
                f"answers: {printable(found[each.reader].path)} and {printable(each.path)} are both of "
                f"{printable(each.reader)}: give one of them, or two readers two names"
            )
        for other in found.values():
            if (each.answers, each.seconds) == (other.answers, other.seconds):
                raise UserError(
                    f"answers: {printable(other.path)} and {printable(each.path)} have the same answers "
                    "in the same times: they are of one reader, so give one of them"
                )
        found[each.reader] = each
    return list(found.values())


def answers_in(path: Path, highest: int) -> Answers:
    """The answers in a file; a UserError if it is not one that the page saved."""
    place, text = f"answers={printable(path)}", text_of(path)
    separator = max(SEPARATORS, key=text.partition("\n")[0].count)  # a spreadsheet may have saved it again
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
        lines = [(reader.line_num, row) for row in reader if any(row.values())]  # spreadsheets add empty rows
    except csv.Error as error:
        raise UserError(f"{place} is not CSV: {error}: give the saved file") from None
    rows = [row for _, row in lines]
    if not rows or not set(COLUMNS) <= rows[0].keys():
        raise UserError(f"{place} needs the columns {', '.join(COLUMNS)} and an answer: give the saved file")
    for name, what in (("page", "pages"), ("reader", "readers")):
        if len({row[name] for row in rows}) > 1:
            raise UserError(f"{place} has answers of two {what}: give the file of each as it was saved")
    answers: dict[int, int] = {}
    seconds = []
    for line, row in lines:
        try:
            item, answer = int(row["item"]), int(row["answer"])
            seconds.append(float(row["seconds"].replace(",", ".")))
        except (ValueError, TypeError, AttributeError):
            raise UserError(
                f"{place} line {line}: item, answer and seconds must be numbers: give the saved file"
            ) from None
        if not 0 <= seconds[-1] < inf:
            raise UserError(f"{place} line {line}: seconds {row['seconds']} is not a time")
        if not 1 <= answer <= highest:
            raise UserError(
                f"{place} line {line}: answer {answer} is not from 1 to {highest}, as in this reading.mode"
            )
        if item in answers:
            raise UserError(f"{place} line {line}: item {item} is answered twice")
        answers[item] = answer
    # The page puts a ' before a name that a spreadsheet would take for a formula.
    name = rows[0]["reader"].removeprefix("'").strip()
    if not name:
        raise UserError(f"{place} names no reader: fill in the column reader")
    return Answers(path, rows[0]["page"], name, answers, seconds)
