"""What the study found, as small files without a path in them, and as the README's table.

    python tests/benchmarks/study.py FILE.json [FILE.json ...]

The files are evaluations of the study's runs, `python -m alzgan.evaluate ckpt_path=STUDY held_out=both`, and
benchmarks of its cells on a machine left alone, `python -m alzgan.benchmark study=CELL data.root=DIR
loops=[fast]`; with `.github/study/results.json` among them, runs are added to those that it has. Writes that
file and the picture beside it, and prints the table.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from omegaconf import OmegaConf

from alzgan.evaluation import copies, fidelity
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
PRECISIONS = ("bf16-mixed", "32-true")  # of which the minutes are told
COUNTS = {2: "two", 3: "three", 4: "four"}
HEAD = ["cell", "runs", "minutes in bfloat16", "in float32", *COLUMNS]


def main(files: Sequence[Path]) -> None:
    """Write and print."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    earlier = [each for each in contents if "over_seeds" in each and "candidates" not in each]
    evaluations = [each for each in contents if "candidates" in each]
    people = [{side: each["data"][side] for side in ("train", "held_out")} for each in earlier + evaluations]
    assert all(each == people[0] for each in people), "these runs are of different people"
    first = (evaluations or earlier)[0]
    rows = [row for each in earlier for row in each["over_seeds"]] + rows_of(evaluations)
    runs = [(run, row["step"], row["precision"]) for row in rows for run in row["runs"]]
    assert len(runs) == len(set(runs)), "a run was judged twice"
    results = {
        "alzgan": first["alzgan"],
        "packages": first.get("packages") or first["provenance"]["packages"],
        "data": people[0],
        "spaces": first["spaces"],
        "seconds_a_step": rates(earlier, [each for each in contents if "loops" in each]),
        "over_seeds": rows,
    }
    FOLDER.mkdir(exist_ok=True)
    write_json(FOLDER / "results.json", results)
    with replacing(FOLDER / "tradeoff.svg") as part:
        part.write_text(
            tradeoff("study", named(results), "frechet", "share_above_threshold").replace(
                "currentColor", "#777"
            ),
            encoding="utf-8",
        )
    print("\n".join(table(results)))


def rows_of(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of several evaluations over their seeds, those of each precision by themselves."""
    candidates, rows = together(evaluations), []
    for precision in dict.fromkeys(each["trained_by"]["precision"] for each in candidates):
        same = [each for each in candidates if each["trained_by"]["precision"] == precision]
        for row in over_seeds(same):
            run = next(each for each in same if each["name"] in row["runs"])
            study = next(word for word in run["trained_by"]["overrides"] if word.startswith("study="))
            about = {key: run["trained_by"][key] for key in ("precision", "device")}
            rows.append({**row, "settings": {"study": study.partition("=")[2]}, **about})
    return rows


def rates(
    earlier: Sequence[dict[str, Any]], benchmarks: Sequence[dict[str, Any]]
) -> dict[str, dict[str, float]]:
    """How long a step of each cell takes in each precision; the last that was measured counts."""
    found: dict[str, dict[str, float]] = {precision: {} for precision in PRECISIONS}
    for each in earlier:
        for precision, cells in each["seconds_a_step"].items():
            found[precision].update(cells)
    for each in benchmarks:
        cell, seconds = seconds_a_step(each)
        found[each["config"]["trainer"]["precision"]][cell] = seconds
    return found


def together(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of several evaluations, each once; what was measured of one in turns is put together."""
    found: dict[tuple[str, int, str], dict[str, Any]] = {}
    for run in (cell_of(run) for each in evaluations for run in each["candidates"]):
        known = found.setdefault((run["name"], run["step"], run["trained_by"]["precision"]), run)
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
    trained_by = {**run["trained_by"], "overrides": overrides}
    return {**run, "name": " ".join(sorted(overrides)), "trained_by": trained_by}


def seconds_a_step(found: dict[str, Any]) -> tuple[str, float]:
    """The name of a benchmark's cell, and how long a step of it takes."""
    cell = next(word.partition("=")[2] for word in found["command"] if word.startswith("study="))
    return cell, found["loops"]["fast"]["seconds_a_step"]


def named(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows by the names of their cells; of one with several steps, with the step."""
    metrics = {metric.name: metric.plain() for metric in (*fidelity.METRICS, *copies.METRICS)}
    rows = settings_table({**results, "metrics": metrics, "over_seeds": pooled(results["over_seeds"])})
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


def table(results: dict[str, Any]) -> list[str]:
    """The README's table, nearest to unseen people first, and they at its end."""
    rows = sorted(named(results), key=floors)
    lines = [
        [
            f"`{row['name']}`",
            str(len(row["runs"])),
            *(minutes(row, results["seconds_a_step"][each].get(row["group"])) for each in PRECISIONS),
            *(told(number_of(row, column), len(row["runs"]) > 1) for column in COLUMNS),
        ]
        for row in rows
    ]
    small = next(row for row in rows if row["group"] == "small")  # at 64 x 64, as most
    theirs = [number_of(small, column) for column in COLUMNS]
    lines.append(["unseen people", "", "", "", *(told({**each, **each["unseen"]}, True) for each in theirs)])
    return [f"| {' | '.join(line)} |" for line in (HEAD, ["---"] * len(HEAD), *lines)]


def phrases(results: dict[str, Any]) -> list[str]:
    """What the README's sentences tell, each figure among the words that say what it is."""
    rows = named(results)
    at = {(row["group"], row["step"]): row for row in rows}
    last = {row["group"]: row for row in sorted(rows, key=lambda row: row["step"])}
    seconds = results["seconds_a_step"]["bf16-mixed"]

    def ends(row: dict[str, Any], column: str = "Fréchet distance") -> tuple[str, str]:
        found = number_of(row, column)
        return told({**found, "mean": found["low"]}, False), told({**found, "mean": found["high"]}, False)

    def spread(row: dict[str, Any], column: str) -> str:
        return told(number_of(row, column), True).replace(" % to ", " to ").replace(" %)", ")")

    def time(row: dict[str, Any], precision: str = PRECISIONS[0]) -> str:
        return f"{float(minutes(row, results['seconds_a_step'][precision][row['group']])):.0f}"

    def images(found: dict[str, Any]) -> str:
        return f"{1000 * found['mean']:.0f}"

    def near(cell: str) -> str:
        return told(number_of(last[cell], "too near"), False)

    hour, small, longer = last["small_hour"], last["small"], at["small_128_long", 4800]
    apart = {row["name"]: number_of(row, "Fréchet distance") for row in rows}
    apart = {name: each["high"] / each["low"] for name, each in apart.items()}
    widest = max(apart, key=apart.get)
    times = {
        name: floors(last[f"small_{name}"]) / floors(small)
        for name in (
            "without_average",
            "with_batch_64",
            "without_penalty",
            "with_bce",
            "without_augmentation",
        )
    }
    names = {"metric": "membership_auc", "space": "random-conv"}
    attack = next(each for each in hour["numbers"] if names.items() <= each.items())
    names = {"metric": "train_test_distance", "space": "aligned pixels"}
    nearness = next(each for each in hour["numbers"] if names.items() <= each.items())
    (helps,), (places,), (textbook,) = (
        last[cell]["utility"] for cell in ("csmall", "csmall_places", "cdcgan")
    )
    again = again_over_before(results["over_seeds"]).values()
    cells = ("dcgan", "cdcgan", "sngan", "wgan_gp", "small", "small_with_batch_64", "residual")
    each_pass = {cell: seconds[cell] * last[cell]["step"] for cell in cells}  # of as many images
    cost = {cell: f"{value / each_pass['dcgan']:.1f}" for cell, value in each_pass.items()}
    return [
        f"After {time(hour)} minutes on two CPU cores with bfloat16, {time(hour, '32-true')} on two without",
        f"the images of {COUNTS[len(hour['runs'])]} runs (`small_hour`) were {' to '.join(ends(hour))} times",
        f"({told(number_of(hour, 'in random-conv'), False)})",
        f"`small` ended at {' to '.join(ends(small))} in {COUNTS[len(small['runs'])]} runs",
        f"at {' to '.join(ends(last['dcgan']))}",
        f"three times as long at {' to '.join(ends(last['dcgan_long']))} after "
        f"{time(last['dcgan_long'])} minutes",
        f"`small_long` was at {' to '.join(ends(at['small_long', 2880]))} after "
        f"{time(at['small_long', 2880])}",
        f"Of 1,000 samples of those runs {images(number_of(hour, 'too near'))} are nearer",
        f"own are {images(number_of(hour, 'too near')['unseen'])}",
        f"after {time(at['small_hour', 9600])} minutes, "
        f"{images(number_of(at['small_hour', 9600], 'too near'))}",
        f"without the average the distance was {times['without_average']:.2f} times as large",
        f"it was {times['with_batch_64']:.2f} times, without penalties {times['without_penalty']:.2f} times",
        f"no larger ({times['with_bce']:.2f})",
        f"smaller ({times['without_augmentation']:.2f})",
        f"with {near('small_without_augmentation')} of the samples",
        f"to {' to '.join(ends(last['dcgan_with_adam_of_small']))}",
        f"to {' to '.join(ends(last['dcgan_without_norm']))}",
        f"both together to {' to '.join(ends(last['dcgan_without_norm_with_adam_of_small']))}",
        f"up to {apart[widest]:.1f} times apart (`{widest}`)",
        *(
            f"{spread(at['small_long', step], 'too near')} after {time(at['small_long', step])}"
            for step in (2880, 4320, 7200)
        ),
        *(
            f"{spread(at['small_hour', step], 'too near')} after {time(at['small_hour', step])}"
            for step in (4800, 9600)
        ),
        f"{spread(hour, 'too near')} at the end",
        f"C_T of {nearness['low']:.2f} to {nearness['high']:.2f}, where unseen people have "
        f"{nearness['unseen']['low']:.2f} to {nearness['unseen']['high']:.2f}",
        f"unseen people have {100 * number_of(small, 'too near')['unseen']['mean']:.1f} %",
        f"AUC {attack['low']:.2f} to {attack['high']:.2f}, by chance {attack['unseen']['low']:.2f} to "
        f"{attack['unseen']['high']:.2f}",
        f"without penalties ({near('small_without_penalty')})",
        f"with the DCGAN's loss ({near('small_with_bce')})",
        f"diversity ({near('csmall')})",
        f"{helps['mean']:.3f} more probability ({-helps['low']:.3f} less to {helps['high']:.3f} more; "
        f"{helps['people']} people, who could have shown {helps['detectable']:.3f})",
        f"one `csmall_places` {places['mean']:.3f} more "
        f"({-places['low']:.3f} less to {places['high']:.3f} more)",
        f"one `cdcgan` {textbook['mean']:.3f} more "
        f"({-textbook['low']:.3f} less to {textbook['high']:.3f} more; "
        f"{textbook['detectable']:.3f} could have shown)",
        f"SNGAN {cost['sngan']}, WGAN-GP {cost['wgan_gp']}, conditional {cost['cdcgan']}",
        f"`small` {cost['small']} in batches of 16 and {cost['small_with_batch_64']} in batches of 64",
        f"residual {cost['residual']}",
        f"{ends(longer)[0]} and {ends(at['small_128', 4800])[0]} after {time(longer)} minutes, "
        f"one to {ends(last['small_128_long'])[0]} after {time(last['small_128_long'])}",
        f"with {told(number_of(longer, 'too near'), False)} and {near('small_128')} and at last "
        f"{near('small_128_long')} too near",
        f"{len(again)} cells and steps",
        f"{min(again):.2f} to {max(again):.2f} times",
    ]


def again_over_before(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], float]:
    """The Fréchet distance in bfloat16 over that in float32, of what has the same seeds in both."""
    bfloat16, float32 = (
        {
            (row["settings"]["study"], row["step"]): row
            for row in pooled([row for row in rows if row["precision"] == precision])
        }
        for precision in PRECISIONS
    )
    both_have = [
        key
        for key in bfloat16.keys() & float32.keys()
        if set(bfloat16[key]["runs"]) <= set(float32[key]["runs"])
    ]
    return {key: floors(bfloat16[key]) / floors(float32[key]) for key in both_have}


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
