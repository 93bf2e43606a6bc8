"""The sections of the study's page whose runs a second network judges: `aided`, other splits, other sets."""

from collections.abc import Sequence
from functools import partial
from statistics import fmean, stdev
from typing import Any

from study_rows import (
    BESIDE_PHOTOGRAPHS,
    JUDGE,
    SMALL,
    TRAINED,
    Found,
    extra,
    judged_by_another,
    of_seeds,
    seeds_of,
    table_of,
    told,
)

from alzgan.metrics.significance import Effect, holm

LONG_AVERAGE = "model.average.half_life=5000"
SHORT_AVERAGE = "model.average.half_life=1500"
LARGER = "aided_128"  # the cell that is not at 64 x 64


def beside_photographs(found: Found) -> dict[tuple[str, int], dict[str, Any]]:
    """The rows of `photographs.json` by cell and step, with the minutes of one core that they take."""
    seconds = found.photographs["seconds_a_step"]
    rows = {}
    for row in found.photographs["over_seeds"]:
        cell = row["settings"]["study"]
        rows[cell, row["step"]] = {**row, "minutes": row["step"] * seconds[cell] / 60}
    return dict(sorted(rows.items()))


def summary_of_photographs(found: Found) -> str:
    """`aided` beside `small`; the README has it too."""
    rows = beside_photographs(found)
    small = rows[max(key for key in rows if key[0] == "small_long")]
    short = tried_with(found, "small_long")[small["step"], SHORT_AVERAGE]
    others = [row for (cell, _), row in rows.items() if cell == "aided"]
    last = max(others, key=lambda row: (len(row["runs"]), row["step"]))  # that all seeds reached

    def at(row: dict[str, Any], ends: bool = False) -> list[str]:
        columns = [BESIDE_PHOTOGRAPHS[each] for each in ("Fréchet distance", "recall", "too near")]
        return [told(extra(row, *column), ends) for column in columns]

    ours, longer, theirs = at(last, True), at(others[-1]), at(small)
    unseen = [extra(last, *BESIDE_PHOTOGRAPHS[each])["unseen"]["mean"] for each in ("recall", "too near")]
    return (
        f"After {last['minutes']:.0f} minutes of one CPU core, the Fréchet distance from samples of `aided` "
        f"to unseen people is {ours[0]} times that between two groups of unseen people. Recall is {ours[1]}; "
        f"unseen people get {unseen[0]:.2f}. Of the samples, {ours[2]} are too near to a training image; of "
        f"unseen people's images, {100 * unseen[1]:.1f} % are. After {others[-1]['minutes']:.0f} minutes the "
        f"distance is {longer[0]} times, recall is {longer[1]}, and {longer[2]} are too near. `small` has "
        f"{theirs[0]} times and {theirs[1]} after {small['minutes']:.0f} minutes, and {theirs[2]} are too "
        f"near, or {at(short)[2]} with the average of `aided`. The network that judges is a sibling of the "
        "one that trains `aided`."
    )


def photographs(found: Found) -> str:
    rows, tried = beside_photographs(found), found.photographs["tried"]
    drawn = {key: rows[key] for key in in_picture(found)}
    table = judged_by_another(
        [*rows.values()],
        {
            "cell": [f"`{cell}, {step:,} steps`" for cell, step in rows],
            "runs": [str(len(row["runs"])) for row in rows.values()],
            "minutes": [f"{row['minutes']:.0f}" for row in rows.values()],
        },
    )
    bases = [without_changes(found, row) for row in tried]
    last = rows[max(key for key in rows if key[0] == "aided")]
    to = {
        each["against"]: each["mean"]
        for each in last["numbers"]
        if each["metric"] == "frechet" and each["space"] == JUDGE
    }
    changes = judged_by_another(
        tried,
        {
            "cell": [f"`{row['settings']['study']}`" for row in tried],
            "change": [" ".join(f"`{each}`" for each in row["changes"]) for row in tried],
            "runs": [str(len(row["runs"])) for row in tried],
            "steps": [f"{row['step']:,}" for row in tried],
            "distance and recall without it": [
                ""
                if base is None
                else " and ".join(
                    told(of_seeds(base, row, extra(base, metric, JUDGE)), False)
                    for metric in ("frechet", "recall")
                )
                for row, base in zip(tried, bases, strict=True)
            ],
        },
        unseen=False,
    )
    return f"""## A discriminator that has seen photographs

`aided` is `small` with heads on features of {TRAINED}, a floor of diversity, twice the learning rate and a
shorter average; the table of changes says what some of these are worth. Numbers in {TRAINED} flatter it. So
{JUDGE} judges here, a sibling that was also trained on ImageNet. All runs were trained and judged on one
machine, in float32, on one core each. The full search finds copies. By it, another run of
`small_long`, in bfloat16, had {100 * found.copies("small_long", 7200)["share_above_threshold"]["value"]:.1f}
% at its end.

<img src="../../.github/study/tradeoff.svg" width="520" alt="{seen(drawn)}">

*The rows of the table below at 64 x 64 that all seeds reached: distances, and copies by the full search, are
of the same samples.*

{table}

`{LARGER}` is compared with unseen people at 128 x 128. Its steps from 500 to 1,400 ran on two cores. As a
whole, samples are no nearer to training people than to unseen ones: the Fréchet distance of `aided` at its
end is {to["train"]:.1f} to the first and {to["held-out"]:.1f} to the second, before division.

{shorter_average(found)}

Changes that were tried, each beside the same seeds and steps without it. Most are one run: a difference
within the spread of seeds above shows nothing.

{changes}"""


def in_picture(found: Found) -> list[tuple[str, int]]:
    """The cells at 64 x 64 and their steps that all seeds reached."""
    rows = beside_photographs(found)
    most: dict[str, int] = {}
    for (cell, _), row in rows.items():
        most[cell] = max(len(row["runs"]), most.get(cell, 0))
    return [key for key, row in rows.items() if key[0] != LARGER and len(row["runs"]) == most[key[0]]]


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


def tried_with(found: Found, cell: str) -> dict[tuple[int | str, ...], dict[str, Any]]:
    """The rows of changes to a cell, by step and changes."""
    return {
        (row["step"], *row["changes"]): row
        for row in found.photographs["tried"]
        if row["settings"]["study"] == cell
    }


def without_changes(found: Found, row: dict[str, Any]) -> dict[str, Any] | None:
    """What has a row's step and average without its other changes; None if nothing has."""
    cell = row["settings"]["study"]
    rows = tried_with(found, cell)
    rows |= {(step,): each for (name, step), each in beside_photographs(found).items() if name == cell}
    others = {*row["changes"]} - {LONG_AVERAGE}
    base = rows.get(
        (row["step"], LONG_AVERAGE) if others and LONG_AVERAGE in row["changes"] else (row["step"],)
    )
    return base if base and seeds_of(row) & seeds_of(base) else None


def shorter_average(found: Found) -> str:
    """What the half-life of the generator's average does to copies."""
    rows = beside_photographs(found)
    small, aided = rows["small_long", 7200], rows["aided", 10080]
    pairs = (
        (small, tried_with(found, "small_long")[7200, SHORT_AVERAGE]),
        (tried_with(found, "aided")[10080, LONG_AVERAGE], aided),
    )
    (before, after), (long, short) = (
        [
            told(of_seeds(*each, extra(each[0], *BESIDE_PHOTOGRAPHS["too near"])), False)
            for each in (pair, pair[::-1])
        ]
        for pair in pairs
    )
    return f"""With a half-life of 1,500 images in place of 5,000, the generator's average of
`small_long` has {after} of its samples too near in place of {before} (one run). Of `aided`, after
{aided["step"]:,} steps of seed 0, {short} are in place of {long}, which is within the spread of seeds.
Averaging does not affect training. In some runs below the half-life was therefore changed for the last
steps alone: `small_long` from step 5,760 on, `aided` with 1,000 and 2,000 from step 9,600 on, and
`caided` from step 1,920 on."""


DISTANCE = "Fréchet distance"
OVER_SPLITS = {  # columns: metric and space
    DISTANCE: ("frechet", JUDGE),
    "precision": ("precision", JUDGE),
    "recall": ("recall", JUDGE),
    "too near": ("share_above_threshold", "aligned pixels"),
    "C_T": ("train_test_distance", "aligned pixels"),
    "authenticity": ("authenticity", JUDGE),
}
TESTED_OVER_SPLITS = (DISTANCE, "recall", "too near")


def on_other_splits(found: Found) -> str:
    if not (runs := found.splits):
        return ""
    effects = differences(found)
    adjusted = holm([effect.p for effect in effects.values()])
    tests = [["`aided` less `small`", "mean", "95 % interval", "p, by Holm"], ["---"] * 4]
    for (column, effect), p in zip(effects.items(), adjusted, strict=True):
        middle, low, high = in_words(column, [effect.mean, *effect.interval], "+")
        tests.append([column, middle, f"{low} to {high}", f"{p:.3f}"])
    chosen = [["split", "step of `small`", "`small`", "step of `aided`", "`aided`"], ["---"] * 5]
    for split in sorted({run["split"] for run in runs}):
        line = [str(split)]
        for cell in (SMALL, "aided"):
            run = next(run for run in runs if (run["cell"], run["split"]) == (cell, split))
            line += [f"{run['step']:,}", *in_words(DISTANCE, [value_of(run, DISTANCE)])]
        chosen.append(line)
    steps = max(run["step"] for run in runs if run["cell"] == "aided")
    seeds = extra(beside_photographs(found)["aided", steps], "frechet", JUDGE)
    splits = len({run["split"] for run in runs})
    people = {run["people"]["held_out"] for run in runs}
    return f"""## On other splits of the people

`small`, and the first {steps:,} steps of `aided`, on {splits} splits of the Kaggle set's people. Of each run,
the checkpoint with the smallest kernel distance to the people in validation was chosen, in {JUDGE}, and
judged by the {" or ".join(map(str, sorted(people)))} people in test alone. [What we
expected](../../.github/study/before_splits.md) was written down before the first run.

{recipes_over_splits(runs)}

Intervals are of 95 %: over splits for the two recipes (the corrected resampled t-test of Nadeau and Bengio
2003, because splits share people), over draws of people for unseen people. Over {len(seeds["values"])} seeds
of split 0, judged by the people in validation and test, the distance of `aided` is {told(seeds, True)}.

{table_of(tests)}

Distances on each split, and the step that was chosen:

{table_of(chosen)}"""


def recipes_over_splits(runs: Sequence[dict[str, Any]]) -> str:
    """A table of both recipes, and of unseen people at its end."""
    lines = [["cell", *OVER_SPLITS], ["---"] * (1 + len(OVER_SPLITS))]
    columns = {
        f"`{cell}`": {
            column: over_splits([value_of(run, column) for run in runs if run["cell"] == cell], in_test(runs))
            for column in OVER_SPLITS
        }
        for cell in (SMALL, "aided")
    }
    for cell, effects in columns.items():
        lines.append(
            [cell, *(with_ends(column, [each.mean, *each.interval]) for column, each in effects.items())]
        )
    theirs = {
        column: [fmean(value_of(run, column, end) for run in runs) for end in ("mean", "low", "high")]
        for column in OVER_SPLITS
    }
    lines.append(["unseen people", *(with_ends(column, values) for column, values in theirs.items())])
    return table_of(lines)


def with_ends(column: str, values: Sequence[float]) -> str:
    """A mean with both ends of its interval in words."""
    middle, low, high = in_words(column, values)
    return f"{middle} ({low} to {high})"


def value_of(run: dict[str, Any], column: str, of_unseen: str = "") -> float:
    """What a run has in a column, or what unseen people have in its place: their "mean", "low" or "high".

    A distance is over that of unseen people, which differs between splits.
    """
    found = extra(run, *OVER_SPLITS[column])
    value = found["unseen"][of_unseen] if of_unseen else found["value"]
    return value / found["unseen"]["mean"] if column == DISTANCE else value


def in_test(runs: Sequence[dict[str, Any]]) -> float:
    """The people in test, as a share of those in train."""
    return fmean(run["people"]["held_out"] / run["people"]["train"] for run in runs)


def over_splits(values: Sequence[float], share: float) -> Effect:
    """The mean over splits, which share people (Nadeau and Bengio 2003): the corrected resampled t-test.

    Args:
        values: of each split.
        share: see `in_test`.
    """
    count = len(values)
    error = stdev(values) * (1 / count + share) ** 0.5
    return Effect(fmean(values), error, count - 1)


def differences(found: Found) -> dict[str, Effect]:
    """`aided` less `small`, split by split, in the columns that are tested."""
    by_split = {(run["cell"], run["split"]): run for run in found.splits}
    return {
        column: over_splits(
            [
                value_of(by_split["aided", split], column) - value_of(run, column)
                for (cell, split), run in by_split.items()
                if cell == SMALL
            ],
            in_test(found.splits),
        )
        for column in TESTED_OVER_SPLITS
    }


def in_words(column: str, values: Sequence[float], sign: str = "") -> list[str]:
    """Values of a column in words."""
    if column == "too near":
        return [f"{100 * value:{sign}.1f} %" for value in values]
    return [f"{value:{sign}.{1 if column in ('Fréchet distance', 'C_T') else 2}f}" for value in values]


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
    oasis, lgg, kaggle = (
        of_set(found, "OASIS-1", "aided"),
        of_set(found, "LGG", "aided"),
        beside_photographs(found)["aided", 1920],
    )
    poor = of_set(found, "OASIS-1", SMALL)
    near, precision = (
        told(extra(poor, *BESIDE_PHOTOGRAPHS[each]), False) for each in ("too near", "precision")
    )
    far = {
        cell: told(extra(of_set(found, "LGG", cell), "frechet", JUDGE), False)
        for cell in ("dcgan", SMALL, "aided")
    }
    theirs, kernel, varied = (
        [word(extra(row, metric, JUDGE)) for row in (kaggle, lgg, oasis)]
        for metric, word in (
            ("frechet", lambda each: f"{each['unseen']['mean']:.1f}"),
            ("kernel_distance", partial(told, ends=False)),
            ("recall", partial(told, ends=False)),
        )
    )
    size = extra(oasis, "recall", JUDGE)["n"]
    return f"""## On other data sets

The same recipes on another folder of images, for as many steps as on the Kaggle set, one seed each; nothing
else is changed. {JUDGE} judges. [What we expected](../../.github/study/before_sets.md) was written down
before the first run; `aided` for 3,840 steps and distances in random-conv, which it announces, have not been
run.

- The order of the recipes is the same on all sets.
- On LGG, slices of whole heads at all heights with tumours, we expected distances over 20 times that of
  unseen people for `dcgan`, about 8 for `small` and about 5 for `aided`. They are {far["dcgan"]},
  {far[SMALL]} and {far["aided"]}.
- Such ratios compare recipes on one set, and not sets: unseen people's own distance is {theirs[0]} on the
  Kaggle set, {theirs[1]} on LGG and {theirs[2]} on OASIS-1. By the kernel distance, `aided` is no nearer on
  these sets: {kernel[0]}, {kernel[1]} and {kernel[2]}.
- Variety does not carry over: the recall of `aided` is {varied[0]} on the Kaggle set and {varied[1]} on LGG.
  On OASIS-1 it is {varied[2]}, but of {size} images a side in place of 1,000, and that is another scale.
- We expected that over 10 % of the samples of `small` would be too near to a training image of OASIS-1,
  because it sees each image 15 times as often as on the Kaggle set. It was {near}. This is no comfort: its
  precision is {precision} there, and poor samples are near to nothing.

{text}"""
