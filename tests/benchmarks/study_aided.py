"""The section of the study's page on `aided`, which a second network judges."""

from typing import Any

from study_rows import (
    BESIDE_PHOTOGRAPHS,
    JUDGE,
    TRAINED,
    Found,
    extra,
    judged_by_another,
    of_seeds,
    seeds_of,
    told,
)

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
        next(iter(rows.values())),
    )
    bases = [without_changes(found, row) for row in tried]
    aided = [row for (cell, _), row in rows.items() if cell == "aided"]
    nearer = {space: [to_train_less_held_out(row, space) for row in aided] for space in (JUDGE, TRAINED)}
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
    )
    squares = (
        " Squares are [others' generators](#what-else-one-could-use) with as many samples."
        if found.peers
        else ""
    )
    return f"""## A discriminator that has seen photographs

`aided` is `small` with heads on features of {TRAINED}, a floor of diversity, twice the learning rate and a
shorter average; the table of changes says what some of these are worth. Numbers in {TRAINED} flatter it. So
{JUDGE} judges here, a sibling that was also trained on ImageNet. All runs were trained and judged on one
machine, in float32, on one core each, but for a part of one: `{LARGER}` ran on two from step 500 to 1,400.
The full search finds copies. By it, another run of
`small_long`, in bfloat16, had {100 * found.copies("small_long", 7200)["share_above_threshold"]["value"]:.1f}
% at its end.

<img src="../../.github/study/tradeoff.svg" width="520" alt="{seen(drawn)}">

*The rows of the table below at 64 x 64 that all seeds reached: distances, and copies by the full search, are
of the same samples.{squares}*

{table}

`{LARGER}` is compared with unseen people at 128 x 128.

Are samples as a whole nearer to training people than to unseen ones? The Fréchet distance of `aided` to the
first less that to the second, before division, is {nearer[JUDGE][0]:+.1f} after {aided[0]["step"]:,} steps
and {nearer[JUDGE][-1]:+.1f} after {aided[-1]["step"]:,} in {JUDGE}, and {nearer[TRAINED][0]:+.1f} and
{nearer[TRAINED][-1]:+.1f} in {TRAINED}. It is smaller at the end in both networks. With one group of
people on the second side, this neither shows nor excludes that they are nearer.

{shorter_average(found)}

Changes that were tried, each beside the same seeds and steps without it. Most are one run: a difference
within the spread of seeds above shows nothing.

{changes}"""


def to_train_less_held_out(row: dict[str, Any], space: str) -> float:
    """The Fréchet distance to training people less that to unseen people."""
    to = {
        each["against"]: each["mean"]
        for each in row["numbers"]
        if each["metric"] == "frechet" and each["space"] == space
    }
    return float(to["train"] - to["held-out"])


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
`small_long` has {after} of its samples too near in place of {before} (one run). For `aided`, seed 0 after
{aided["step"]:,} steps, the share is {short} in place of {long}, which is within the spread of seeds.
Averaging does not affect training. So some runs below were not repeated: a checkpoint near the end of one was
continued with another half-life. `small_long` was continued from step 5,760 on, `aided` with 1,000 and 2,000
from step 9,600 on, and `caided` from step 1,920 on."""
