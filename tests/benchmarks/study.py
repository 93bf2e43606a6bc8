"""What the study found, as small files without a path in them, and as the README's table.

    python tests/benchmarks/study.py EVALUATION.json [BENCHMARK.json ...]

Writes `.github/study/results.json` and the picture beside it, and prints the table. The evaluation is one of
the study's folder, `python -m alzgan.evaluate ckpt_path=STUDY`; the benchmarks are of its cells on the same
machine, left alone: `python -m alzgan.benchmark study=CELL data.root=DIR loops=[fast]`.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alzgan.files import replacing, write_json
from alzgan.report.page import number, settings_table
from alzgan.report.plots import tradeoff

FOLDER = Path(__file__).resolve().parents[2] / ".github" / "study"
HEAD = [
    "| cell | runs | minutes | kernel distance | Fréchet distance | precision | recall | too near | helps |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
]


def main(evaluation: Path, benchmarks: Sequence[Path]) -> None:
    """Write and print."""
    found = json.loads(evaluation.read_text(encoding="utf-8"))
    results = {
        "alzgan": found["alzgan"],
        "device": found["provenance"]["device"],
        "packages": found["provenance"]["packages"],
        "data": {side: found["data"][side] for side in ("train", "held_out")},
        "spaces": found["spaces"],
        "seconds_a_step": dict(map(seconds_a_step, benchmarks)),
        "over_seeds": [
            {
                **row,
                "settings": {"study": row["settings"]["study"]},
                "runs": [Path(name).name for name in row["runs"]],
            }
            for row in found["over_seeds"]
        ],
    }
    FOLDER.mkdir(exist_ok=True)
    write_json(FOLDER / "results.json", results)
    with replacing(FOLDER / "tradeoff.svg") as part:
        part.write_text(tradeoff("study", named(results)).replace("currentColor", "#777"), encoding="utf-8")
    print("\n".join(table(results)))


def seconds_a_step(benchmark: Path) -> tuple[str, float]:
    """A cell's name, and how long a step of it takes."""
    found = json.loads(benchmark.read_text(encoding="utf-8"))
    cell = next(word.partition("=")[2] for word in found["command"] if word.startswith("study="))
    return cell, found["loops"]["fast"]["seconds_a_step"]


def named(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows by the names of their cells; of one with several steps, with the step."""
    rows = settings_table(results)
    return [
        {**row, "name": row["name"].replace("study=", ""), "group": row["settings"]["study"]} for row in rows
    ]


def table(results: dict[str, Any]) -> list[str]:
    """The README's table, nearest to unseen people first, and they at its end."""
    rows = sorted(named(results), key=lambda row: row["cells"]["frechet"]["mean"])
    unseen = {metric: {"mean": cell["unseen"]} for metric, cell in rows[0]["cells"].items()}
    unseen["frechet"]["unseen"] = unseen["frechet"]["mean"]
    lines = [
        [
            f"`{row['name']}`",
            str(len(row["runs"])),
            f"{row['step'] * results['seconds_a_step'][row['group']] / 60:.1f}",
            *headlines(row["cells"], len(row["runs"]) > 1),
            "; ".join(f"{each['verdict']} ({each['mean']:+.3f})" for each in row["utility"]),
        ]
        for row in rows
    ]
    lines.append(["unseen people", "", "", *headlines(unseen, False), ""])
    return [*HEAD, *(f"| {' | '.join(line)} |" for line in lines)]


def headlines(cells: dict[str, dict[str, float]], several: bool) -> list[str]:
    """The headline numbers in words: means, and of several runs the range."""
    found = []
    for metric, cell in cells.items():
        values = [cell[name] for name in ("mean", "low", "high")[: 3 if several else 1]]
        if metric == "frechet":
            told = [f"{value / cell['unseen']:.1f}" for value in values]
        elif metric == "share_above_threshold":
            told = [f"{100 * value:.1f} %" for value in values]
        else:
            told = [number(value) if metric == "kernel_distance" else f"{value:.2f}" for value in values]
        found.append(f"{told[0]} ({told[1]} to {told[2]})" if several else told[0])
    return found


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
