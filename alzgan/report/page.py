"""The report of an evaluation: one HTML page that needs no other file."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from alzgan.files import replacing
from alzgan.report import plots
from alzgan.report.pictures import Picture
from alzgan.report.tradeoff import tradeoff
from alzgan.text import printable

MOST_COLUMNS = 8  # candidates side by side; if there are more, each has a row instead
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# The parts that an evaluation may lack, because a stage was left out or an older version made it.
LACKING: dict[str, Any] = {"notes": [], "seconds": {}}
LACKING |= dict.fromkeys(("expected_coverage", "copies", "anatomy", "utility", "reading"))
DIFFERENT = (
    "These runs were trained on different images, splits, sizes or channels: compare each only with its own "
    "unseen people"
)
MARKS = {"good": "✓", "bad": "✗", "cannot tell": "?"}


def write_report(path: Path, evaluation: dict[str, Any], pictures: Sequence[Picture]) -> None:
    """Write the page.

    Args:
        path: of the file.
        evaluation: the content of `evaluation.json`, see `alzgan.evaluation.run.record`.
        pictures: of the candidates.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as part:
        # Names of classes and people can hold bytes of odd file names, which UTF-8 cannot.
        part.write_text(page(evaluation, pictures), encoding="utf-8", errors="backslashreplace")


def page(evaluation: dict[str, Any], pictures: Sequence[Picture]) -> str:
    """The page as text; names that come from the user are escaped."""
    environment = templates()
    environment.filters |= {"number": number, "words": words, "share": share, "printable": printable}
    environment.filters["dagger"] = plots.dagger
    metrics = evaluation["metrics"]
    candidates = [with_records(candidate, metrics) for candidate in evaluation["candidates"]]
    evaluation = {**evaluation, "candidates": candidates}
    settings = settings_table(evaluation)
    return environment.get_template("report.html.jinja").render(
        evaluation=evaluation,
        candidates=[
            section(index, candidate, metrics, [each for each in pictures if each.candidate == index])
            for index, candidate in enumerate(candidates)
        ],
        overview=overview(candidates) if len(candidates) > 1 else [],
        comparison=comparison(evaluation) if 1 < len(candidates) <= MOST_COLUMNS else [],
        compared=dict.fromkeys(metrics[each["metric"]]["words"] for each in evaluation["pairs"]),
        paired=paired(evaluation),
        settings=settings if len(settings) > 1 else [],
        tradeoff=tradeoff("tradeoff", settings + rows_of_others(evaluation), *axes_of(metrics)),
        marks=MARKS,
        different=DIFFERENT,
    )


def templates() -> Environment:
    """The templates of pages; they escape what they are given."""
    return Environment(
        loader=PackageLoader("alzgan.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def with_records(candidate: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """A candidate with the metric's record added to each number and curve, as "of"."""
    return {
        **LACKING,
        **candidate,
        **{
            name: [{**each, "of": metrics[each["metric"]]} for each in candidate.get(name) or []]
            for name in ("numbers", "curves")
        },
    }


def overview(candidates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each candidate with its answer to each question; those with most good answers come first."""
    questions = dict.fromkeys(each["asks"] for candidate in candidates for each in candidate["verdicts"])
    rows = [
        {
            "name": candidate["name"],
            "answers": questions | {each["asks"]: each["answer"] for each in candidate["verdicts"]},
        }
        for candidate in candidates
    ]

    def order(row: dict[str, Any]) -> tuple[int, int]:
        answers = list(row["answers"].values())
        return -answers.count("good"), answers.count("bad")

    return sorted(rows, key=order)


def section(
    index: int, candidate: dict[str, Any], metrics: dict[str, Any], pictures: Sequence[Picture]
) -> dict[str, Any]:
    """What the page shows of one candidate: its record with tables and plots."""
    numbers = candidate["numbers"]
    overall = [each for each in numbers if each["label"] is None]
    beside = [each for each in overall if each["stage"] == "fidelity" and each["against"] == "held-out"]
    main = [each for metric in metrics for each in beside if each["metric"] == metric]
    curves = grouped(candidate["curves"], "metric")
    copies, anatomy, utility = (candidate[stage] for stage in ("copies", "anatomy", "utility"))
    return {
        **candidate,
        "pictures": {
            kind: [each for each in pictures if each.kind == kind]
            for kind in ("real", "samples", "pairs", "anatomy")
        },
        "tables": grouped(overall, "stage"),
        "classes": grouped([each for each in numbers if each["label"]], "label"),
        "distances": plots.distances(
            f"distances-{index}", [each for each in main if each["of"]["is_distance"]]
        ),
        "shares": plots.shares(
            f"shares-{index}",
            [each for each in main if each["of"]["bounds"][0] == 0 and not each["of"]["is_distance"]],
        ),
        "curve_plots": [plots.curves(f"curves-{name}-{index}", each) for name, each in curves.items()],
        "similarities": copies and plots.similarities(f"similarities-{index}", copies),
        "anatomies": anatomy and plots.anatomy(f"anatomy-{index}", anatomy["measures"]),
        "effects": utility and plots.effects(f"effects-{index}", utility),
    }


def grouped(rows: Sequence[dict[str, Any]], name: str) -> dict[str, list[dict[str, Any]]]:
    """Rows grouped by their entry of this name."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row[name]].append(row)
    return found


def comparison(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each number that all candidates have; a significantly best one is marked."""

    def key_of(each: dict[str, Any]) -> tuple[str, ...]:
        return each["stage"], each["metric"], each["space"], each["against"]

    candidates = evaluation["candidates"]
    tables = [
        {key_of(each): each for each in candidate["numbers"] if each["label"] is None}
        for candidate in candidates
    ]
    won = Counter[tuple[Any, ...]](
        (each["metric"], each["space"], "held-out", each["better"]) for each in evaluation["pairs"]
    )
    rows = []
    for key in tables[0]:
        if all(key in table for table in tables):
            cells = [table[key] for table in tables]
            best = [won[*key[1:], index] == len(candidates) - 1 for index in range(len(candidates))]
            rows.append(
                {
                    **cells[0],
                    "cells": [{**cell, "best": mark} for cell, mark in zip(cells, best, strict=True)],
                    "unseen": list(dict.fromkeys(number(cell["unseen"]["mean"]) for cell in cells)),
                }
            )
    return rows


def paired(evaluation: dict[str, Any]) -> list[str]:
    """Sentences on each pair of candidates that was tested."""
    names = [candidate["name"] for candidate in evaluation["candidates"]]
    tests: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for each in evaluation["pairs"]:
        tests[each["one"], each["two"]].append(each)
    metrics = evaluation["metrics"]
    return [findings(names, metrics, *pair, found) for pair, found in tests.items()]


def findings(
    names: Sequence[str],
    metrics: dict[str, Any],
    one: int,
    two: int,
    tests: Sequence[dict[str, Any]],
) -> str:
    """The results of the tests of one pair, in words."""
    found: dict[str, list[str]] = defaultdict(list)
    for each in tests:
        if each["better"] is not None:
            better, worse = names[each["better"]], names[two if each["better"] == one else one]
            metric = metrics[each["metric"]]
            claim = f"{better} {metric['claim']} unseen people than {worse}"
            found[claim].append(f"{metric['words']} in {words(each['space'])}, p = {number(each['p'])}")
    if not found:
        tested = [each["p"] for each in tests if each["p"] is not None]
        why = f"smallest p = {number(min(tested))}" if tested else "a discriminator was trained on all spaces"
        return f"{names[one]} and {names[two]}: cannot tell apart ({why})"
    return ". ".join(f"{claim} ({'; '.join(numbers)})" for claim, numbers in found.items())


def settings_table(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each setting with its headline numbers in the first space."""
    rows = evaluation["over_seeds"]
    names = [
        ", ".join(f"{name}={printable(str(value))}" for name, value in row["settings"].items())
        for row in rows
    ]
    table = []
    for name, row in zip(names, rows, strict=True):
        steps = [f"{row['step']:,} steps"] if names.count(name) > 1 or not name else []
        table.append(
            {
                **row,
                "group": name,
                "name": ", ".join([*([name] if name else []), *steps]),
                "cells": cells(evaluation, row["numbers"]),
                "others": False,
            }
        )
    return table


def rows_of_others(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each folder of samples, as those of `settings_table`, for the trade-off plot."""
    rows = []
    for candidate in evaluation["candidates"]:
        if candidate["kind"] == "folder":
            name = printable(candidate["name"])
            numbers = [
                {**each, "mean": each["value"], "values": [each["value"]]}
                for each in candidate["numbers"]
                if each["label"] is None
            ]
            about = {"group": name, "name": name, "step": 0, "others": True}
            rows.append({**about, "cells": cells(evaluation, numbers)})
    return rows


def cells(evaluation: dict[str, Any], numbers: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any] | None]:
    """The headline numbers in the first space, with their metrics' records, as "of"."""
    space = next((each["name"] for each in evaluation["spaces"]), None)
    metrics = {name: each for name, each in evaluation["metrics"].items() if each["headline"]}
    found = {name: headline(numbers, name, space) for name in metrics}
    return {name: each and {**each, "of": metrics[name]} for name, each in found.items()}


def headline(numbers: Sequence[dict[str, Any]], metric: str, space: str | None) -> dict[str, Any] | None:
    """The number of a metric in this feature space, or else its first number."""
    found = [each for each in numbers if each["metric"] == metric]
    return next((each for each in found if each["space"] == space), found[0] if found else None)


def axes_of(metrics: dict[str, Any]) -> tuple[str, str]:
    """The headline metrics of the distance to unseen people and of the nearness to training images."""
    heads = {name: each for name, each in metrics.items() if each["headline"]}
    far = (name for name, each in heads.items() if each["is_distance"])
    near = (name for name, each in heads.items() if each["stage"] == "copies")
    return next(far, ""), next(near, "")


def words(name: str) -> str:
    """The name of a space or a measure, without underscores."""
    return name.replace("_", " ")


def number(value: float | None) -> str:
    """A value with three significant digits."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 999.5:  # three digits would round it to 1e+03
        return f"{value:,.0f}".replace("-", "−")
    if abs(value) < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}10".replace("-", "−") + str(
            int(exponent)
        ).translate(SUPERSCRIPTS)
    return f"{value:.3g}".replace("-", "−")


def share(value: float) -> str:
    """A share in percent."""
    return f"{number(100 * value)} %"
