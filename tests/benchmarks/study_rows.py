"""The results of the study as rows, and their numbers in words."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from alzgan.evaluation import copies, fidelity
from alzgan.report.page import number, settings_table

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER, PAGE = REPOSITORY / ".github" / "study", REPOSITORY / "conf" / "study" / "README.md"
NEAR = "too near, shifts and mirrors only"  # of an earlier search for copies; `again.json` has the full one
COLUMNS = {  # of the first table: metric, space, and the people it is against
    "kernel distance": ("kernel_distance", "imagenet-lite0", "held-out"),
    "Fréchet distance": ("frechet", "imagenet-lite0", "held-out"),
    "in random-conv": ("frechet", "random-conv", "held-out"),
    "precision": ("precision", "imagenet-lite0", "held-out"),
    "recall": ("recall", "imagenet-lite0", "held-out"),
    NEAR: ("share_above_threshold", "aligned pixels", "train"),
}
PRECISIONS = ("bf16-mixed", "32-true")  # whose minutes are given
SMALL = "small"
JUDGE, TRAINED = "imagenet-lite2", "imagenet-lite0"  # the networks that judge and train `aided`
BESIDE_PHOTOGRAPHS = {  # columns: metric and space
    "Fréchet distance": ("frechet", JUDGE),
    f"in {TRAINED}": ("frechet", TRAINED),
    "kernel distance": ("kernel_distance", JUDGE),
    "precision": ("precision", JUDGE),
    "recall": ("recall", JUDGE),
    "coverage": ("coverage", JUDGE),
    "too near": ("share_above_threshold", "aligned pixels"),
    "C_T": ("train_test_distance", "aligned pixels"),
}
METRICS = {metric.name: metric.plain() for metric in (*fidelity.METRICS, *copies.METRICS)}


class Found(NamedTuple):
    """What the study found: the files of its folder, and by cell what `conditions.py` found."""

    results: dict[str, Any]
    again: list[dict[str, Any]]
    photographs: dict[str, Any]
    sets: dict[str, dict[str, Any]]
    labels: dict[str, Any]
    splits: list[dict[str, Any]]
    peers: list[dict[str, Any]]
    conditions: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> "Found":
        """The results that lie in a folder."""
        read = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
        ours = [read.pop(name) for name in ("results", "again", "photographs", "sets", "labels")]
        later = {name: read.pop(name, []) for name in ("splits", "peers")}
        return cls(*ours, **later, conditions=read)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table's rows."""
        return named(self.results)

    def at(self, cell: str, step: int | None = None) -> dict[str, Any]:
        """The row of a cell, at its last step unless another is asked for."""
        own = [row for row in self.rows if row["group"] == cell and step in (None, row["step"])]
        return max(own, key=lambda row: row["step"])

    def copies(self, cell: str, step: int) -> dict[str, dict[str, Any]]:
        """What the full search for copies found of a cell at a step, by metric."""
        return next(run["numbers"] for run in self.again if (run["cell"], run["step"]) == (cell, step))

    def minutes(self, row: dict[str, Any], precision: str = PRECISIONS[0]) -> str:
        """How long a cell trains, in words; empty where that is not known."""
        seconds = self.results["seconds_a_step"][precision].get(row["group"])
        return "" if seconds is None else f"{row['step'] * seconds / 60:.1f}"


def named(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows by the names of their cells; of one with several steps, with the step."""
    rows = settings_table({**results, "metrics": METRICS, "over_seeds": pooled(results["over_seeds"])})
    return [
        {**row, "name": row["name"].replace("study=", ""), "group": row["settings"]["study"]} for row in rows
    ]


def pooled(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the same cell and step as one, whatever they were computed in."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        key = row["settings"]["study"], row["step"]
        found[key] = row if key not in found else both(found[key], row)
    return list(found.values())


def both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two rows as one of all their runs."""
    weights = [len(one["runs"]), len(other["runs"])]
    about = ("stage", "metric", "space", "against", "better", "n")
    theirs = {tuple(each[name] for name in about): each for each in other["numbers"]}

    def mean_of(pair: Sequence[dict[str, Any]], name: str) -> float | None:
        values = [each[name] for each in pair]
        return None if None in values else fmean(values, weights)

    numbers = []
    for pair in ((each, theirs.get(tuple(each[name] for name in about))) for each in one["numbers"]):
        if pair[1] is not None:
            unseen = [each["unseen"] for each in pair]
            numbers.append(
                {
                    **pair[0],
                    "mean": mean_of(pair, "mean"),
                    "low": min(each["low"] for each in pair),
                    "high": max(each["high"] for each in pair),
                    # Older rows lack the values.
                    "values": [value for each in pair for value in each.get("values", ())],
                    "ratio": mean_of(pair, "ratio"),
                    "unseen": {
                        "mean": mean_of(unseen, "mean"),
                        "low": min(each["low"] for each in unseen),
                        "high": max(each["high"] for each in unseen),
                    },
                }
            )
    utility = [*one["utility"], *other["utility"]]
    return {**one, "runs": [*one["runs"], *other["runs"]], "numbers": numbers, "utility": utility}


def number_of(row: dict[str, Any], column: str) -> dict[str, Any]:
    """What a row has in a column of the table."""
    names = dict(zip(("metric", "space", "against"), COLUMNS[column], strict=True))
    return next(each for each in row["numbers"] if names.items() <= each.items())


def extra(row: dict[str, Any], metric: str, space: str) -> dict[str, Any]:
    """A number that is in no column."""
    names = {"metric": metric, "space": space}
    return next(each for each in row["numbers"] if names.items() <= each.items())


def floors(row: dict[str, Any], column: str = "Fréchet distance") -> float:
    """A Fréchet distance over that of unseen people, which differs between image sizes."""
    found = number_of(row, column)
    return found["mean"] / found["unseen"]["mean"]


def told(found: dict[str, Any], ends: bool) -> str:
    """A number in words, with both ends of its range if they are asked for."""

    def word(value: float) -> str:
        if found["metric"] == "frechet":
            return f"{value / found['unseen']['mean']:.1f}"
        if found["metric"] == "share_above_threshold":
            return f"{100 * value:.1f} %"
        return number(value) if found["metric"] == "kernel_distance" else f"{value:.2f}"

    mean = word(found["mean"])
    return f"{mean} ({word(found['low'])} to {word(found['high'])})" if ends else mean


def ends(row: dict[str, Any], column: str = "Fréchet distance") -> str:
    """The lowest and the highest of the runs."""
    found = number_of(row, column)
    return " to ".join(told({**found, "mean": found[end]}, False) for end in ("low", "high"))


def mean(row: dict[str, Any], column: str = "Fréchet distance") -> str:
    """The mean of the runs."""
    return told(number_of(row, column), False)


def of_seeds(row: dict[str, Any], other: dict[str, Any], number: dict[str, Any]) -> dict[str, Any]:
    """A number of a row, over those seeds alone that another row has too."""
    values = [
        value
        for run, value in zip(row["runs"], number["values"], strict=True)
        if seed_of(run) in seeds_of(other)
    ]
    return {**number, "mean": fmean(values), "low": min(values), "high": max(values), "values": values}


def seeds_of(row: dict[str, Any]) -> set[str]:
    """The seeds of a row's runs."""
    return {seed_of(run) for run in row["runs"]}


def seed_of(run: str) -> str:
    """The seed in the name of a run."""
    return next(word for word in run.split() if word.startswith("seed="))


def listed(words: Sequence[str]) -> str:
    """Words in a sentence."""
    *others, last = words or ["in no case"]
    return f"{', '.join(others)} and {last}" if others else last


def table_of(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as a table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def judged_by_another(
    rows: Sequence[dict[str, Any]], about: dict[str, Sequence[str]], unseen: dict[str, Any] | None = None
) -> str:
    """A table with the columns `BESIDE_PHOTOGRAPHS`.

    Args:
        rows: runs over their seeds.
        about: columns before these, with a cell for each row.
        unseen: the row beside which unseen people's numbers stand at the end; None: they are left out.
    """
    columns = BESIDE_PHOTOGRAPHS.values()
    lines = [[*about, *BESIDE_PHOTOGRAPHS], ["---"] * (len(about) + len(columns))]
    for row, *cells in zip(rows, *about.values(), strict=True):
        ends = max(each["high"] - each["low"] for each in row["numbers"]) > 0
        lines.append([*cells, *(told(extra(row, *column), ends) for column in columns)])
    if unseen is not None:
        theirs = [extra(unseen, *column) for column in columns]
        numbers = [told({**each, **each["unseen"]}, True) for each in theirs]
        lines.append(["unseen people", *[""] * (len(about) - 1), *numbers])
    return table_of(lines)
