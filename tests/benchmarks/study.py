"""What the study found, as small files without a path in them, and as the README's table.

    python tests/benchmarks/study.py FILE.json [FILE.json ...]

The files are evaluations of the study's runs, `python -m alzgan.evaluate ckpt_path=STUDY`, and benchmarks of
its cells on the same machine, left alone, `python -m alzgan.benchmark study=CELL data.root=DIR loops=[fast]`.
Writes `.github/study/results.json` and the picture beside it, and prints the table.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from alzgan.evaluation.seeds import CHOSEN_FREELY, over_seeds
from alzgan.files import replacing, write_json
from alzgan.report.page import number, settings_table
from alzgan.report.plots import tradeoff
from alzgan.runs.config import compose_config

FOLDER = Path(__file__).resolve().parents[2] / ".github" / "study"
# Of the table, each with its metric, space and the people it is against.
COLUMNS = {
    "kernel distance": ("kernel_distance", "imagenet-lite0", "held-out"),
    "Fréchet distance": ("frechet", "imagenet-lite0", "held-out"),
    "in random-conv": ("frechet", "random-conv", "held-out"),
    "precision": ("precision", "imagenet-lite0", "held-out"),
    "recall": ("recall", "imagenet-lite0", "held-out"),
    "too near": ("share_above_threshold", "aligned pixels", "train"),
}
# What a cell may be started with besides: its weights at a step are the same. Lengths are told as steps.
OF_NO_WEIGHT = (
    "data.root",
    "callbacks.progress.bar",
    "callbacks.quality",
    "trainer.max_epochs",
    "trainer.max_steps",
)
HEAD = ["cell", "runs", "minutes", *COLUMNS]


def main(files: Sequence[Path]) -> None:
    """Write and print."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    evaluations = [each for each in contents if "candidates" in each]
    first, candidates = evaluations[0], together(evaluations)
    people = [{side: each["data"][side] for side in ("train", "held_out")} for each in evaluations]
    assert all(each == people[0] for each in people), "these runs are of different people"
    results = {
        "alzgan": first["alzgan"],
        "device": first["provenance"]["device"],
        "packages": first["provenance"]["packages"],
        "data": people[0],
        "spaces": first["spaces"],
        "seconds_a_step": dict(seconds_a_step(each) for each in contents if "loops" in each),
        "over_seeds": over_seeds(candidates),
    }
    FOLDER.mkdir(exist_ok=True)
    write_json(FOLDER / "results.json", results)
    with replacing(FOLDER / "tradeoff.svg") as part:
        part.write_text(tradeoff("study", named(results)).replace("currentColor", "#777"), encoding="utf-8")
    print("\n".join(table(results)))


def together(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of several evaluations, each once; what was measured of one in turns is put together."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for run in (cell_of(run) for each in evaluations for run in each["candidates"]):
        known = found.setdefault((run["name"], run["step"]), run)
        if known is not run:
            assert known["sha256"] == run["sha256"], f"{run['name']} is there twice, with other weights"
            assert not (known["numbers"] and run["numbers"]), f"{run['name']} was judged twice"
            known["numbers"] = known["numbers"] or run["numbers"]
            known["utility"] = known["utility"] or run["utility"]
    return list(found.values())


def cell_of(run: dict[str, Any]) -> dict[str, Any]:
    """A run of the study without what is this machine's."""
    given = run["trained_by"]["overrides"]
    overrides = [word for word in given if word.startswith(("study=", "seed="))]
    for name, _, value in (word.partition("=") for word in given):
        if name not in ("study", *CHOSEN_FREELY, *OF_NO_WEIGHT):
            own = OmegaConf.select(compose_config("train", [*overrides, "data.root=DIR"]), name)
            assert str(own) == value, f"{run['name']} is no cell: it was trained with {name}={value}"
    return {**run, "name": " ".join(sorted(overrides)), "trained_by": {"overrides": overrides}}


def seconds_a_step(found: dict[str, Any]) -> tuple[str, float]:
    """The name of a benchmark's cell, and how long a step of it takes."""
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
    rows = sorted(named(results), key=floors)
    lines = [
        [
            f"`{row['name']}`",
            str(len(row["runs"])),
            minutes(row, results["seconds_a_step"].get(row["group"])),
            *(told(number_of(row, column), len(row["runs"]) > 1) for column in COLUMNS),
        ]
        for row in rows
    ]
    theirs = [number_of(rows[0], column) for column in COLUMNS]
    lines.append(["unseen people", "", "", *(told({**each, **each["unseen"]}, True) for each in theirs)])
    return [f"| {' | '.join(line)} |" for line in (HEAD, ["---"] * len(HEAD), *lines)]


def figures(results: dict[str, Any]) -> dict[str, str]:
    """What the README tells besides the table's numbers, by what it is."""
    rows = named(results)
    last = {row["group"]: row for row in sorted(rows, key=lambda row: row["step"])}
    nearest = min(rows, key=floors)
    too_near = number_of(last["small_hour"], "too near")
    small, seconds = floors(last["small"]), results["seconds_a_step"]
    found = {
        "too near of the nearest, images": f"{1000 * number_of(nearest, 'too near')['mean']:.0f}",
        "too near of small_hour, images": f"{1000 * too_near['mean']:.0f}",
        "too near of unseen people, images": f"{1000 * too_near['unseen']['mean']:.0f}",
    }
    distances = [number_of(row, "Fréchet distance") for row in rows]
    found["two seeds apart"] = f"{max(each['high'] / each['low'] for each in distances):.1f}"
    names = {"metric": "membership_auc", "space": "random-conv"}
    attack = next(each for each in last["small_hour"]["numbers"] if names.items() <= each.items())
    ends = attack["low"], attack["high"], attack["unseen"]["low"], attack["unseen"]["high"]
    found["membership of small_hour"] = " ".join(f"{value:.2f}" for value in ends)
    (helps,) = last["csmall"]["utility"]
    found["what samples of csmall change"] = " ".join(
        f"{helps[name]:.3f}" for name in ("mean", "low", "high", "detectable")
    )
    found["people of that"] = str(helps["people"])
    left_out = ("without_average", "without_penalty", "with_batch_64", "with_bce", "without_augmentation")
    found |= {f"small_{name}": f"{floors(last[f'small_{name}']) / small:.2f}" for name in left_out}
    # Per image, as batches differ.
    cells = ("dcgan", "cdcgan", "sngan", "wgan_gp", "small_with_batch_64", "small", "residual")
    costs = {cell: seconds[cell] * last[cell]["step"] / 38_400 for cell in cells}
    return found | {f"cost of {cell}": f"{cost / costs['dcgan']:.1f}" for cell, cost in costs.items()}


def number_of(row: dict[str, Any], column: str) -> dict[str, Any]:
    """What a row has in a column of the table."""
    names = dict(zip(("metric", "space", "against"), COLUMNS[column], strict=True))
    return next(each for each in row["numbers"] if names.items() <= each.items())


def floors(row: dict[str, Any]) -> float:
    """The Fréchet distance over that of unseen people, which differs between image sizes."""
    found = number_of(row, "Fréchet distance")
    return found["mean"] / found["unseen"]["mean"]


def minutes(row: dict[str, Any], seconds: float | None) -> str:
    """How long a cell trains, if it is known."""
    return "" if seconds is None else f"{row['step'] * seconds / 60:.1f}"


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


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main([Path(name) for name in sys.argv[1:]])
