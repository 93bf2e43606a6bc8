"""The page of the study: each sentence is made from the results, so that none can say what was not found."""

import json
import re
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from alzgan.evaluation import copies, fidelity
from alzgan.report.page import number, settings_table
from alzgan.report.plots import dagger

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER, PAGE = REPOSITORY / ".github" / "study", REPOSITORY / "conf" / "study" / "README.md"
NEAR = "too near, shifts and mirrors only"  # of an earlier search for copies; `again.json` has the full one
# Columns of the table: each with its metric, space and the people it is against.
COLUMNS = {
    "kernel distance": ("kernel_distance", "imagenet-lite0", "held-out"),
    "Fréchet distance": ("frechet", "imagenet-lite0", "held-out"),
    "in random-conv": ("frechet", "random-conv", "held-out"),
    "precision": ("precision", "imagenet-lite0", "held-out"),
    "recall": ("recall", "imagenet-lite0", "held-out"),
    NEAR: ("share_above_threshold", "aligned pixels", "train"),
}
PRECISIONS = ("bf16-mixed", "32-true")  # whose minutes are given
COUNTS = {1: "one", 2: "two", 3: "three", 4: "four"}
HEAD = ["cell", "runs", "minutes in bfloat16", "in float32", *COLUMNS]
SMALL = "small"
LEFT_OUT = {  # of `small`, one at a time
    "without_average": "without the average",
    "with_batch_64": "with batches of 64 in place of 16",
    "without_penalty": "without penalties",
    "with_bce": "with the DCGAN's loss",
    "without_augmentation": "without augmentation",
}


class Found(NamedTuple):
    """What the study found: the files of its folder, and by cell what `conditions.py` found."""

    results: dict[str, Any]
    again: list[dict[str, Any]]
    photographs: dict[str, Any]
    sets: dict[str, dict[str, Any]]
    conditions: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> "Found":
        """The results that lie in a folder."""
        read = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
        ours = (read.pop(name) for name in ("results", "again", "photographs", "sets"))
        return cls(*ours, conditions=read)

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


def ends(row: dict[str, Any], column: str = "Fréchet distance") -> str:
    """The lowest and the highest of the runs."""
    found = number_of(row, column)
    return " to ".join(told({**found, "mean": found[end]}, False) for end in ("low", "high"))


def mean(row: dict[str, Any], column: str = "Fréchet distance") -> str:
    """The mean of the runs."""
    return told(number_of(row, column), False)


def extra(row: dict[str, Any], metric: str, space: str) -> dict[str, Any]:
    """A number that is in no column."""
    names = {"metric": metric, "space": space}
    return next(each for each in row["numbers"] if names.items() <= each.items())


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


def table(found: Found) -> str:
    """The cells, nearest to unseen people first, and they at its end."""
    rows = sorted(found.rows, key=floors)
    lines = [
        [
            f"`{row['name']}`",
            str(len(row["runs"])),
            *(found.minutes(row, each) for each in PRECISIONS),
            *(
                told(found, len(row["runs"]) > 1) + dagger(found)
                for found in (number_of(row, column) for column in COLUMNS)
            ),
        ]
        for row in rows
    ]
    theirs = [number_of(found.at(SMALL), column) for column in COLUMNS]  # at 64 x 64, as most
    lines.append(["unseen people", "", "", "", *(told({**each, **each["unseen"]}, True) for each in theirs)])
    text = "\n".join(f"| {' | '.join(line)} |" for line in (HEAD, ["---"] * len(HEAD), *lines))
    legend = "\n\n†: the discriminator was trained on features of this network, so the number flatters."
    return text + legend if "†" in text else text


def summary(found: Found) -> str:
    """The study in four sentences; the README has them too."""
    small, textbook = found.at("small_long"), found.at("dcgan_long")
    recall = number_of(small, "recall")
    theirs = number_of(textbook, "recall")["mean"]
    return (
        f"After 30 epochs ({found.minutes(small)} minutes on two CPU cores), the Fréchet distance from "
        f"samples of `small` to unseen people is {floors(small):.1f} times that between two groups of unseen "
        f"people. For the textbook DCGAN of the same width it is {floors(textbook):.0f} times after 30 "
        f"epochs ({found.minutes(textbook)} minutes). Distances are in ImageNet features. Neither generator "
        f"is nearly as varied as people: recall is {recall['mean']:.2f} and {theirs:.2f}, where unseen "
        f"people get {recall['unseen']['mean']:.2f}."
    )


def in_short(found: Found) -> str:
    hour, small = found.at("small_hour"), found.at(SMALL)
    longer, textbook = found.at("small_long", 2880), found.at("dcgan_long")
    before = found.at("small_hour", 9600)
    near, distance = (
        found.copies("small_hour", hour["step"])[name]
        for name in ("share_above_threshold", "train_test_distance")
    )

    def share(cell: str, step: int) -> str:
        return f"{100 * found.copies(cell, step)['share_above_threshold']['value']:.1f} %"

    again = again_over_before(found.results["over_seeds"]).values()
    return f"""## In short

{summary(found)}

- `small_hour` takes {found.minutes(hour)} minutes with bfloat16 and {found.minutes(hour, PRECISIONS[1])}
  without. The Fréchet distance of its {COUNTS[len(hour["runs"])]} runs to unseen people is {ends(hour)}
  times that between two groups of unseen people. In a random network's features it is
  {mean(hour, "in random-conv")} times: the answer depends on the features.
- After 10 epochs `small` gets {ends(small)} times, and the DCGAN of the same width, which was not tuned,
  {ends(found.at("dcgan"))}. After 30 epochs, which take {found.minutes(textbook)} minutes, the DCGAN gets
  {ends(textbook)}; in {found.minutes(longer)} minutes `small_long` gets {ends(longer)}.
- By the full search for copies, {share("small_hour", hour["step"])} of the samples of `small_hour` are too
  near to a training image; of unseen people's images {100 * near["unseen"]["mean"]:.1f} % are. After
  {found.minutes(before)} of its {found.minutes(hour)} minutes it was {share("small_hour", before["step"])}.
  Of the samples of `small_long`, {share("small_long", 7200)} are too near. Even at the end, samples of
  `small_hour` lie nearer to training images than unseen people do: C_T is {distance["value"]:.1f}, and 1 in
  700 sets of unseen people is below {distance["limit"]:.1f}. No sample has been shown to be safe to share.

Each Fréchet distance in the table is divided by that between two groups of unseen people. Minutes are the
number of steps times the time of a step, on two cores with no other work. One machine has native bfloat16
(its minutes are uncertain by a tenth), the other has not. The first runs were in float32. Seed 0 of
{len(again)} cells and steps was trained again in bfloat16: its distance is {min(again):.2f} to
{max(again):.2f} times the mean in float32, which is within the spread of seeds. Cells of 128 x 128 are
compared with unseen people at 128 x 128. `residual` stands for `r3gan`, which is for a GPU."""


def what_it_takes(found: Found) -> str:
    apart = {row["name"]: number_of(row, "Fréchet distance") for row in found.rows}
    apart = {name: each["high"] / each["low"] for name, each in apart.items()}
    widest = max(apart, key=apart.get)
    small = floors(found.at(SMALL))
    cells = {words: found.at(f"small_{name}") for name, words in LEFT_OUT.items()}
    times = "\n".join(
        f"| {words} | {floors(cell) / small:.2f} | {mean(cell, NEAR)} |" for words, cell in cells.items()
    )
    return f"""## What it takes

Two seeds of one cell differed by a factor of up to {apart[widest]:.1f} (`{widest}`). A smaller ratio shows
nothing by itself.

| `small` | Fréchet distance over `small`'s | {NEAR} |
| --- | --- | --- |
{times}

No single change explains why `small` beats the DCGAN; we had expected that batches or loss would. Of the
DCGAN's settings, Adam's matter most: with the Adam of `small`, the DCGAN gets
{ends(found.at("dcgan_with_adam_of_small"))}; without batch norm in the discriminator
{ends(found.at("dcgan_without_norm"))}; with both changes
{ends(found.at("dcgan_without_norm_with_adam_of_small"))}. `small` closes the rest of the gap with loss,
penalties, average and generator changed together."""


def when_to_stop(found: Found) -> str:
    def near(cell: str, step: int | None = None) -> str:
        row = found.at(cell, step)
        return f"| `{cell}` | {found.minutes(row)} | {told(number_of(row, NEAR), True)} |"

    steps = [("small_long", step) for step in (2880, 4320, 7200)]
    steps += [("small_hour", step) for step in (4800, 9600, 14400)]
    attack = extra(found.at("small_hour"), "membership_auc", "random-conv")
    theirs = number_of(found.at(SMALL), NEAR)["unseen"]["mean"]
    return f"""## When to stop

| cell | minutes | {NEAR} (unseen people: {100 * theirs:.1f} %) |
| --- | --- | --- |
{chr(10).join(near(*each) for each in steps)}

The share rises along `small_long` and falls along `small_hour`. `small_hour` adds small turns, scales and
contrasts, and its learning rates fall after a third of the run; which of these changes lowers the share is
not known. A membership test in a random network's features recognised training people better than chance in
some runs (AUC {attack["low"]:.2f} to {attack["high"]:.2f}, by chance {attack["unseen"]["low"]:.2f} to
{attack["unseen"]["high"]:.2f}). By this earlier search, {mean(found.at("small_without_penalty"), NEAR)} of
the samples are too near without penalties, {mean(found.at("small_with_bce"), NEAR)} with the DCGAN's loss,
and {mean(found.at("csmall"), NEAR)} with classes and no floor of diversity."""


def copies_again(found: Found) -> str:
    runs = [each for each in found.again if "share_above_threshold" in each["numbers"]]
    lines, theirs = [], runs[0]["numbers"]["share_above_threshold"]
    for run in runs:
        near, distance = (run["numbers"][name] for name in ("share_above_threshold", "train_test_distance"))
        minutes = found.minutes(found.at(run["cell"], run["step"]))
        before = number_of(found.at(run["cell"], run["step"]), NEAR)
        lines.append(
            f"| `{run['cell']}` | {minutes} | {100 * near['value']:.1f} % | {100 * before['mean']:.1f} % | "
            f"{distance['value']:.1f} | {run['answers']['copies']} |"
        )
    return f"""## Copies by the full search

The full search, which `alzgan.evaluate` now uses, finds copies that were turned, scaled, shifted, mirrored,
inverted or warped. One new run of each cell, seed 0, was trained in bfloat16 and judged beside the same 80
people. Of unseen people's images {100 * theirs["unseen"]["mean"]:.1f} % are too near; 1 in 700 sets of them
has more than {100 * theirs["limit"]:.1f} %.

All shares are higher than by the earlier search. The end of `small_hour` is still the lowest: its share is
just within the limit, but its C_T is beyond that of unseen people. Check each sample before you share it:
`alzgan.generate ... check=true copies=drop`.

| cell | minutes | too near | {NEAR}, mean of all runs | C_T | verdict on copies |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(lines)}"""


def useful_again(found: Found) -> str:
    told, columns = "{mean:+.3f} ({low:+.3f} to {high:+.3f})", "| `{}` | {} | {:.3f} | {} | {} |"
    runs = [each for each in found.again if each["utility"]]
    lines = [
        columns.format(
            run["cell"],
            arm["name"],
            arm["balanced_accuracy"]["mean"],
            told.format(**arm["difference"]) if arm["difference"] else "",
            arm["verdict"] or "",
        )
        for run in runs
        for arm in run["utility"]["arms"]
    ]
    one = runs[0]["utility"]
    shown = [run["utility"]["detectable"] for run in runs]
    least, most = min(shown), max(shown)
    return f"""## Whether samples help, tested again

The test now treats people and trainings as random effects: {one["people"]} people, {one["seeds"]} seeds,
one run of each cell. It could have found a change of {least:.3f} to {most:.3f}. "Real again" is the
classifier of real images with other seeds. "Split by image" is a classifier that has seen half of each test
person's slices.

| samples of | trained on | balanced accuracy | change of the right class's probability | verdict |
| --- | --- | --- | --- | --- |
{chr(10).join(lines)}"""


JUDGE, TRAINED = "imagenet-lite2", "imagenet-lite0"  # the networks that judge and train `aided`
LONG_AVERAGE = "model.average.half_life=5000"
HEAVIER_HEADS = [  # the penalties are within the weight: they stay the same
    "model.parts.heads.weight=0.48",
    "model.parts.heads.penalties.r1.weight=5",
    "model.parts.heads.penalties.r2.weight=5",
]
LARGER = "aided_128"  # the cell that is not at 64 x 64
WIDER = ["model.generator.width=48"]
BESIDE_PHOTOGRAPHS = {  # columns: metric and space
    "Fréchet distance": ("frechet", JUDGE),
    f"in {TRAINED}": ("frechet", TRAINED),
    "kernel distance": ("kernel_distance", JUDGE),
    "precision": ("precision", JUDGE),
    "recall": ("recall", JUDGE),
    "too near": ("share_above_threshold", "aligned pixels"),
    "C_T": ("train_test_distance", "aligned pixels"),
}


def beside_photographs(found: Found) -> dict[tuple[str, int], dict[str, Any]]:
    """The rows of `photographs.json` by cell and step, with the minutes of one core that they take."""
    seconds = found.photographs["seconds_a_step"]
    rows = {}
    for row in found.photographs["over_seeds"]:
        cell = row["settings"]["study"]
        rows[cell, row["step"]] = {**row, "minutes": row["step"] * seconds[cell] / 60}
    return dict(sorted(rows.items()))


def summary_of_photographs(found: Found) -> str:
    """`aided` beside `small` in three sentences; the README has them too."""
    rows = beside_photographs(found)
    small = rows[max(key for key in rows if key[0] == "small_long")]
    others = [row for (cell, _), row in rows.items() if cell == "aided"]
    aided = min(others, key=lambda row: abs(row["minutes"] - small["minutes"]))
    far, recall, near = (
        [told(extra(row, *column), False) for row in (aided, small, others[-1])]
        for column in (("frechet", JUDGE), ("recall", JUDGE), BESIDE_PHOTOGRAPHS["too near"])
    )
    return (
        f"After {aided['minutes']:.0f} minutes of one CPU core, {near[0]} of the samples of `aided` are too "
        f"near to a training image; after {small['minutes']:.0f} minutes, {near[1]} of those of `small` are. "
        f"In features that trained neither, recall is {recall[0]} and {recall[1]}, the Fréchet distance "
        f"{far[0]} and {far[1]} times that of unseen people. After {others[-1]['minutes']:.0f} minutes "
        f"`aided` comes to {recall[2]}, {far[2]} times and {near[2]}."
    )


def seen(rows: dict[tuple[str, int], dict[str, Any]]) -> str:
    """What the picture shows, in words."""
    columns = [("frechet", JUDGE), BESIDE_PHOTOGRAPHS["too near"]]

    def at(row: dict[str, Any], of_unseen: str = "") -> str:
        found = [extra(row, *each) for each in columns]
        found = [{**each, "mean": each["unseen"][of_unseen] if of_unseen else each["mean"]} for each in found]
        return " times and ".join(told(each, False) for each in found)

    paths = []
    for cell in dict.fromkeys(cell for cell, _ in rows):
        steps = [row for (each, _), row in rows.items() if each == cell]
        first, last = steps[0], steps[-1]
        path = f"{cell} has {at(first)} after {first['step']:,} steps"
        paths.append(path + (f" and {at(last)} after {last['step']:,}." if len(steps) > 1 else "."))
    return (
        "The Fréchet distance over that of unseen people, and the share of samples too near to a training "
        f"image. {' '.join(paths)} Unseen people's bands reach from {at(last, 'low')} to {at(last, 'high')}."
    )


def judged_by_another(
    rows: Sequence[dict[str, Any]], about: dict[str, Sequence[str]], unseen: bool = True
) -> str:
    """A table with the columns `BESIDE_PHOTOGRAPHS`, and with unseen people at its end.

    Args:
        rows: runs over their seeds.
        about: columns before these, with a cell for each row.
        unseen: whether unseen people are there.
    """
    columns = BESIDE_PHOTOGRAPHS.values()
    lines = [[*about, *BESIDE_PHOTOGRAPHS], ["---"] * (len(about) + len(columns))]
    for row, *cells in zip(rows, *about.values(), strict=True):
        ends = max(each["high"] - each["low"] for each in row["numbers"]) > 0
        lines.append([*cells, *(told(extra(row, *column), ends) for column in columns)])
    if unseen:
        theirs = [extra(rows[0], *column) for column in columns]
        numbers = [told({**each, **each["unseen"]}, True) for each in theirs]
        lines.append(["unseen people", *[""] * (len(about) - 1), *numbers])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def photographs(found: Found) -> str:
    rows, tried = beside_photographs(found), found.photographs["tried"]
    at_64 = {(cell, step): row for (cell, step), row in rows.items() if cell != LARGER}
    table = judged_by_another(
        [*rows.values()],
        {
            "cell": [f"`{cell}, {step:,} steps`" for cell, step in rows],
            "runs": [str(len(row["runs"])) for row in rows.values()],
            "minutes": [f"{row['minutes']:.0f}" for row in rows.values()],
        },
    )
    changes = judged_by_another(
        tried,
        {
            "cell": [f"`{row['settings']['study']}`" for row in tried],
            "change": [" ".join(f"`{each}`" for each in row["changes"]) for row in tried],
            "runs": [str(len(row["runs"])) for row in tried],
            "steps": [f"{row['step']:,}" for row in tried],
        },
        unseen=False,
    )
    return f"""## A discriminator that has seen photographs

{summary_of_photographs(found)}

`aided` is `small` with heads on features of {TRAINED}, and a floor of diversity. Numbers in that space
flatter it. So a second network, {JUDGE}, judges here. All runs were trained and judged on one machine, in
float32, on one core each. Copies are those of the full search, by which another run of `small_long`, in
bfloat16, had {100 * found.copies("small_long", 7200)["share_above_threshold"]["value"]:.1f} % at its end.

<img src="../../.github/study/tradeoff.svg" width="520" alt="{seen(at_64)}">

*The runs of the table below at 64 x 64: distances, and copies by the full search, are of the same samples.
No other cell has both.*

{table}

`{LARGER}` is compared with unseen people at 128 x 128. Its steps from 500 to 1,400 ran on two cores.

{shorter_average(found)}

One change gave the heads four times the weight. {early_and_late(found, HEAVIER_HEADS)}

Another made the generator half as wide again, which takes longer a step. {early_and_late(found, WIDER)}

All changes that were tried:

{changes}"""


def tried_with(found: Found, cell: str) -> dict[tuple[int | str, ...], dict[str, Any]]:
    """The rows of changes to a cell, by step and changes."""
    return {
        (row["step"], *row["changes"]): row
        for row in found.photographs["tried"]
        if row["settings"]["study"] == cell
    }


def early_and_late(found: Found, changes: Sequence[str]) -> str:
    """What a change to `aided` does early and late, beside the same average and seeds without it."""
    rows = tried_with(found, "aided")
    rows |= {(step,): row for (cell, step), row in beside_photographs(found).items() if cell == "aided"}
    changed = {key for key in rows if {*key[1:]} - {LONG_AVERAGE} == {*changes}}
    sentences = []
    for key in (min(changed), max(changed)):
        step, average = key[0], [LONG_AVERAGE] * (LONG_AVERAGE in key)
        pair = (rows[key], rows[step, *average]), (rows[step, *average], rows[key])
        distance, recall = (
            [of_seeds(one, other, extra(one, metric, JUDGE)) for one, other in pair]
            for metric in ("frechet", "recall")
        )
        word = "nearer" if distance[0]["mean"] < distance[1]["mean"] else "further"
        far, varied = ([told(each, False) for each in both] for both in (distance, recall))
        sentences.append(
            f"After {step:,} steps its samples are {word}: {far[0]} times in place of {far[1]}, with recall "
            f"{varied[0]} in place of {varied[1]}."
        )
    return " ".join(sentences)


def shorter_average(found: Found) -> str:
    """What the half-life of the generator's average does to copies."""
    rows = beside_photographs(found)
    aided, small = (rows[max(key for key in rows if key[0] == cell)] for cell in ("aided", "small_long"))
    long = tried_with(found, "aided")[aided["step"], LONG_AVERAGE]
    short = tried_with(found, "small_long")[small["step"], "model.average.half_life=1500"]
    columns = [BESIDE_PHOTOGRAPHS[each] for each in ("too near", "Fréchet distance", "recall")]

    def at(row: dict[str, Any], other: dict[str, Any]) -> str:
        near, far, recall = (told(of_seeds(row, other, extra(row, *each)), False) for each in columns)
        return f"{near} of the samples are too near, the distance is {far} times, and recall is {recall}"

    return f"""The half-life of the generator's average decides how many samples are copies. `aided` has
1,500 images: after {aided["step"]:,} steps of seed 0, {at(aided, long)}. With 5,000, {at(long, aided)}.
`small_long` has 5,000: {at(small, short)}. With 1,500, {at(short, small)}. The average has no influence on
training. So some runs of the table below had another one near their end alone: `small_long` from step 5,760
on, `aided` with 1,000 and 2,000 from step 9,600 on, and `caided` from step 1,920 on."""


def of_seeds(row: dict[str, Any], other: dict[str, Any], number: dict[str, Any]) -> dict[str, Any]:
    """A number of a row, over those seeds alone that another row has too."""
    seeds, theirs = (
        [next(word for word in run.split() if word.startswith("seed=")) for run in each["runs"]]
        for each in (row, other)
    )
    values = [value for seed, value in zip(seeds, number["values"], strict=True) if seed in theirs]
    return {**number, "mean": fmean(values), "low": min(values), "high": max(values), "values": values}


def of_set(found: Found, name: str, cell: str) -> dict[str, Any]:
    """The row of a cell at its last step on another data set."""
    rows = [row for row in found.sets[name]["over_seeds"] if row["settings"]["study"] == cell]
    return max(rows, key=lambda row: row["step"])


def other_sets(found: Found) -> str:
    parts = []
    for name, each in found.sets.items():
        rows = sorted(each["over_seeds"], key=lambda row: (row["settings"]["study"], row["step"]))
        people = {side: f"{n['people']} people ({n['images']:,} images)" for side, n in each["data"].items()}
        about = {
            "cell": [f"`{row['settings']['study']}, {row['step']:,} steps`" for row in rows],
            "runs": [str(len(row["runs"])) for row in rows],
        }
        parts.append(
            f"{name}: trained on {people['train']}, judged by {people['held_out']}.\n\n"
            + judged_by_another(rows, about)
        )
    text = "\n\n".join(parts)
    near = told(extra(of_set(found, "OASIS-1", SMALL), *BESIDE_PHOTOGRAPHS["too near"]), False)
    far = {
        cell: told(extra(of_set(found, "LGG", cell), "frechet", JUDGE), False)
        for cell in ("dcgan", SMALL, "aided")
    }
    aided = {name: of_set(found, name, "aided") for name in found.sets}
    aided["Kaggle"] = beside_photographs(found)["aided", aided["LGG"]["step"]]
    varied = {name: told(extra(row, "recall", JUDGE), False) for name, row in aided.items()}
    return f"""## On other data sets

The same recipes on another folder of images, for as many steps as on the Kaggle set; nothing else is changed.
[What we expected](../../.github/study/before_sets.md) was written down before the first run: among other
things, that over 10 % of the samples of `small` would be too near to a training image of OASIS-1, because it
sees each image 15 times as often as on the Kaggle set. It was {near}. {JUDGE} judges.

LGG has slices of whole heads at all heights, with tumours. We expected larger distances there than on the
Kaggle set: over 20 times that of unseen people for `dcgan`, about 8 for `small` and about 5 for `aided`. They
are {far["dcgan"]}, {far[SMALL]} and {far["aided"]}. Variety does not carry over. After as many steps, the
recall of `aided` is {varied["LGG"]} on LGG, {varied["OASIS-1"]} on OASIS-1 and {varied["Kaggle"]} on the
Kaggle set.

{text}"""


def larger_and_useful(found: Found) -> str:
    at, longer, last = found.at("small_128_long", 4800), found.at("small_128"), found.at("small_128_long")
    helps = {cell: found.at(cell)["utility"][0] for cell in ("csmall", "csmall_places", "cdcgan")}
    columns = "| `{cell}` | {mean:+.3f} | {low:+.3f} to {high:+.3f} | {detectable:.3f} |"
    lines = "\n".join(columns.format(cell=cell, **each) for cell, each in helps.items())
    people = next(iter(helps.values()))["people"]
    return f"""## At 128 x 128

Relative to unseen people, distances are no larger than at 64 x 64: two runs get {mean(at)} and
{mean(longer)} after {found.minutes(at)} minutes, and one gets {mean(last)} after {found.minutes(last)}
(`small_128_long`). By the search for shifts and mirrors, {mean(at, NEAR)}, {mean(longer, NEAR)} and
{mean(last, NEAR)} of their samples are too near.

## Whether samples help

A classifier of three classes is trained on 120 people's slices, to which half as many samples of one run
are added. How much more probability does it give to the right class of {people} unseen people?

| samples of | change | 95 % interval over people | smallest change it could find |
| --- | --- | --- | --- |
{lines}

The answer is "cannot tell", as we had expected. `cdcgan`'s images are far worse than the others, and their
effect is just as uncertain. With as many or twice as many samples as real images, the classifier did no
better. That test resampled people only. It mistook variation between trainings for an effect, so these
intervals are too narrow."""


def what_it_costs(found: Found) -> str:
    seconds = found.results["seconds_a_step"][PRECISIONS[0]]
    cells = {
        "sngan": "SNGAN",
        "wgan_gp": "WGAN-GP",
        "cdcgan": "conditional DCGAN",
        "small": "`small`, batches of 16",
        "small_with_batch_64": "`small`, batches of 64",
        "residual": "residual",
    }
    each_pass = {cell: seconds[cell] * found.at(cell)["step"] for cell in ("dcgan", *cells)}
    lines = "\n".join(
        f"| {words} | {each_pass[cell] / each_pass['dcgan']:.1f} |" for cell, words in cells.items()
    )
    return f"""## What an image costs

| recipe | time an image, over the DCGAN's in batches of 64 |
| --- | --- |
{lines}"""


def what_conditions_do(found: Found) -> str:
    one, none, aided = (
        found.conditions[cell] for cell in ("csmall_places", "csmall_places_without_floor", "caided")
    )
    columns = "| correlation of {} | {:.3f} | {:.3f} | {:.3f} | {:.3f} |"
    lines = "\n".join(
        columns.format(words, *(each[kind][samples] for each in (one, none, aided)), one[kind][people])
        for words, kind, samples, people in (
            ("requested and measured slice position", "slice", "samples", "unseen people"),
            ("neighbouring slices of a stack", "neighbours", "samples", "unseen people"),
            (
                "two latents, or two people, at one slice position",
                "neighbours",
                "other latents",
                "other people",
            ),
        )
    )
    floor, without = (mean(found.at(cell), NEAR) for cell in ("csmall_places", "csmall_places_without_floor"))
    shares = [each["class"]["samples"] for each in (one, none, aided)] + [one["class"]["unseen people"]]
    return f"""## Conditions and the floor of diversity

![Six latents at ten slice positions each](../../.github/stacks.png)

*Each row is one latent at ten slice positions (`study=csmall_places`, 2,400 steps).*

| | `csmall_places` | without the floor | `caided`, 3,840 steps | unseen people |
| --- | --- | --- | --- | --- |
{lines}
| share of images whose class a classifier recognises | {" | ".join(f"{each:.2f}" for each in shares)} |

`python tests/benchmarks/conditions.py RUN` gives these numbers. With the floor, fewer samples are too near
to training images: {floor} in place of {without} (shifts and mirrors only). `caided` has a higher floor: its
latents differ as people do, and the position that is requested is followed less closely."""


HEADING = """# The study: what each recipe is worth

*Written by `tests/benchmarks/study.py` from `.github/study`.*

Each file of this folder is a cell: a recipe that is trained on 120 of the 200 people of the Kaggle 4-class
Alzheimer set for 10 epochs (38,400 images of 64 x 64, grey). Cells called long train 30 epochs,
`small_hour` 60, `aided` 42, `aided_128` 20, `caided` 16 and `aided_stacks` 8. All are judged beside the other
80 people, with 1,000 samples and 1,000 images of 32 of the 80. Distances and neighbours are in ImageNet
features, and one column is in a random network's. [What we expected](../../.github/study/before.md) was
written down before the first run, after a pilot on some cells.

Before you read the figures:

- `small_hour`, first in the table at 64 x 64, was added after results on the same 80 people were known.
- A sample is "too near" if it is more like a training image than 99 of 100 images of the 80 people are. The
  table has shares that an earlier search found, for shifts and mirrors only. [The full
  search](#copies-by-the-full-search) finds more.
- Brackets hold the lowest and the highest of several runs; they are no confidence interval. For unseen
  people they hold 95 % of draws of people."""

COMMANDS = """## How to repeat it

```sh
python -m alzgan.train -m 'study=glob(*,exclude=common)' seed=0,1 data.root=DIR run_dir=outputs/study
python -m alzgan.evaluate ckpt_path=outputs/study held_out=both n=1000 'metrics=[fidelity,copies]' \\
    'features=[imagenet-lite0,random-conv]'
python -m alzgan.benchmark study=small data.root=DIR 'loops=[fast]' rounds=3 seconds=2    # a cell's minutes
python tests/benchmarks/study.py .github/study/results.json outputs/evaluate_*/evaluation.json \\
    outputs/benchmark_*/benchmark.json
```

A command that was stopped continues when it is started again. One seed of all cells takes about two hours
on two cores with bfloat16, and five or more without; an evaluation takes one to two minutes a run.
`launcher=joblib` with `OMP_NUM_THREADS=1` runs one cell on each core; a GPU runs one cell at a time. Each
run is judged at its end. To judge it earlier, give
`'ckpt_path=[outputs/study/job_N/checkpoints/epoch_12.ckpt]'`. The row of 350 steps is `study=small
trainer.max_epochs=-1 trainer.max_steps=350`; the rows of `small_128` at 4,800 steps are that cell with
`trainer.max_epochs=20`. """


def wrapped(text: str) -> str:
    """Paragraphs and lists in lines of 120 characters; headings, tables, pictures and code as they are."""
    found = []
    for block in text.split("\n\n"):
        fixed = block.startswith(("#", "|", "!", "<", "```"))
        for item in [block] if fixed else re.split(r"\n(?=- )", block):
            indent = "  " if item.startswith("- ") else ""
            fill = partial(textwrap.fill, width=120, break_long_words=False, break_on_hyphens=False)
            found += [item if fixed else fill(" ".join(item.split()), subsequent_indent=indent), "\n"]
        found.append("\n")
    return "".join(found[:-1])


def page(found: Found) -> str:
    """The whole page."""
    parts = (
        in_short,
        table,
        what_it_takes,
        when_to_stop,
        copies_again,
        photographs,
        other_sets,
        larger_and_useful,
        useful_again,
        what_conditions_do,
        what_it_costs,
    )
    return wrapped("\n\n".join([HEADING, *(part(found) for part in parts), COMMANDS.strip()]))
