"""The page of the study, whose figures are made from the results."""

import re
import textwrap
from collections.abc import Sequence
from functools import partial
from math import log
from typing import Any

from study_aided import beside_photographs, photographs
from study_others import TEXTBOOK, marks, on_other_splits, other_sets, others_generators, peers_at
from study_rows import (
    BESIDE_PHOTOGRAPHS,
    COLUMNS,
    JUDGE,
    NEAR,
    PRECISIONS,
    SMALL,
    Found,
    ends,
    extra,
    floors,
    listed,
    mean,
    number_of,
    pooled,
    table_of,
    told,
)

from alzgan.report.plots import dagger

HEAD = ["cell", "runs", "minutes in bfloat16", "in float32", *COLUMNS]
AUGMENTED = "real + augmentation"  # a classifier of the labels' curve
LEFT_OUT = {  # of `small`, one at a time
    "without_average": "without the average",
    "with_batch_64": "with batches of 64 in place of 16",
    "without_penalty": "without penalties",
    "with_bce": "with the DCGAN's loss",
    "without_augmentation": "without augmentation",
}


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
    text = table_of([HEAD, ["---"] * len(HEAD), *lines])
    legend = "\n\n†: the discriminator was trained on features of this network, so the number flatters."
    return text + legend if "†" in text else text


def summary(found: Found) -> str:
    """What the recipes reach, in a few rows; the README has it too."""
    rows = beside_photographs(found)
    small = rows[max(key for key in rows if key[0] == "small_long")]
    aided = [row for (cell, _), row in rows.items() if cell == "aided"]
    all_seeds = max(aided, key=lambda row: (len(row["runs"]), row["step"]))
    last = peers_at(found, marks(found)[-1])
    textbook = next(row for row in last if row["name"] == TEXTBOOK)
    named = [("`aided`", aided[-1]), ("`aided`", all_seeds), ("`small`", small)]
    columns = ("Fréchet distance", "precision", "recall", "too near")
    head = ["recipe", "minutes of one CPU core", *columns]
    lines = [head, ["---"] * len(head)]
    for name, row in [*named, (textbook["name"], textbook)]:
        values = [extra(row, *BESIDE_PHOTOGRAPHS[column]) for column in columns]
        several = len(row["runs"]) > 1
        lines.append([name, f"{row['minutes']:.0f}", *(told(each, several) for each in values)])
    theirs = [extra(all_seeds, *BESIDE_PHOTOGRAPHS[column]) for column in columns]
    lines.append(["unseen people", "", *(told({**each, **each["unseen"]}, False) for each in theirs)])
    return table_of(lines)


def in_other_features(found: Found) -> str:
    """`small` beside the textbook's DCGAN."""
    early, small, textbook = found.at("small_long", 2880), found.at("small_long"), found.at("dcgan_long")
    recall = number_of(small, "recall")["mean"]
    return (
        "In the features that `aided` is trained with, and on two CPU cores, the distance of `small` is "
        f"{floors(early):.1f} times that of real people after {found.minutes(early)} minutes. After "
        f"{found.minutes(small)} it is {floors(small):.1f} times, and recall is {recall:.2f}. A DCGAN of "
        f"half the textbook's width has {floors(textbook):.0f} times after {found.minutes(textbook)}."
    )


def in_short(found: Found) -> str:
    hour, small, before = found.at("small_hour"), found.at(SMALL), found.at("small_hour", 9600)
    random = number_of(hour, "in random-conv")
    again = again_over_before(found.results["over_seeds"])
    outside = [ratio for ratio, inside in again.values() if inside is False]
    several = [ratio for ratio, inside in again.values() if inside is not None]
    ratios = [ratio for ratio, _ in again.values()]
    reached = sum(round(floors(row, "in random-conv"), 1) <= 1 for row in found.rows)
    return f"""## In short

{summary(found)}

A Fréchet distance is divided by that of real people in the place of the samples. {JUDGE} judges. It belongs
to the same family, and saw the same photographs, as the network that `aided` is trained with, and may
therefore favour `aided`.

{in_other_features(found)}

- `small_hour` takes {found.minutes(hour)} minutes with bfloat16 and {found.minutes(hour, PRECISIONS[1])}
  without. The distance of its {len(hour["runs"])} runs is {ends(hour)} times that of real people.
  After {before["step"]:,} of its {hour["step"]:,} steps it was {mean(before)} times on average. In a random
  network's features it is {mean(hour, "in random-conv")} times, which says little: draws of unseen people get
  {random["unseen"]["low"] / random["unseen"]["mean"]:.1f} to
  {random["unseen"]["high"] / random["unseen"]["mean"]:.1f} there.
- After 10 epochs `small` gets {ends(small)} times, where 6 to 9 were expected, and the DCGAN of the same
  width, which was not tuned, {ends(found.at("dcgan"))}, where 20 and more were expected. No cell was expected
  to reach unseen people's values: the nearest has {min(map(floors, found.rows)):.1f} times, but in
  random-conv {reached} of the {len(found.rows)} rows below have 1.0 or less.
- No sample has been shown to be safe to share.

Minutes are the number of steps times the time of a step, on two cores with no other work. Runs come from two
machines: one has native bfloat16 (its minutes are uncertain by a tenth), the other computes in float32, and
their minutes cannot be compared. Seed 0 of {len(ratios)} cells and steps was trained in both: its distance in
bfloat16 is {min(ratios):.2f} to {max(ratios):.2f} times the mean in float32. In {len(outside)} of the
{len(several)} with several seeds in float32, it is outside of their range. All was to be in float32. The
table has both together, and counts a seed that was trained in both as two runs. Cells of 128 x 128 are
compared with unseen people at 128 x 128. `residual` stands for `r3gan`, which is for a GPU."""


def again_over_before(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], tuple[float, bool | None]]:
    """The Fréchet distance in bfloat16 over that in float32, of what has the same seeds in both.

    Also whether it is within the range of the seeds in float32; None where there is one seed.
    """
    bfloat16, float32 = (
        {
            (row["settings"]["study"], row["step"]): row
            for row in pooled([row for row in rows if row["precision"] == precision])
        }
        for precision in PRECISIONS
    )
    found: dict[tuple[str, int], tuple[float, bool | None]] = {}
    for key in bfloat16.keys() & float32.keys():
        one, other = bfloat16[key], float32[key]
        if set(one["runs"]) <= set(other["runs"]):
            value, seeds = (number_of(row, "Fréchet distance") for row in (one, other))
            inside = seeds["low"] <= value["mean"] <= seeds["high"]
            found[key] = floors(one) / floors(other), inside if len(other["runs"]) > 1 else None
    return found


def what_it_takes(found: Found) -> str:
    small, *others = (in_float32(found, name) for name in (SMALL, *(f"small_{name}" for name in LEFT_OUT)))
    cells = dict(zip(LEFT_OUT.values(), others, strict=True))
    shown = {words: floors(cell) > floors(small) for words, cell in cells.items() if differ(cell, small)}
    worse, better, rest = (
        [words for words in cells if shown.get(words) is kind] for kind in (True, False, None)
    )
    bare = cells[LEFT_OUT["without_augmentation"]]
    times = "\n".join(
        f"| {words} | {floors(cell) / floors(small):.2f} | {mean(cell, NEAR)} |"
        for words, cell in cells.items()
    )
    return f"""## What it takes

| `small` | Fréchet distance over `small`'s | {NEAR} |
| --- | --- | --- |
{times}

All in float32, where `small` has {mean(small, NEAR)} too near. By [the rule written down
before](../../.github/study/before.md), a difference shows if it is larger than the spread between the seeds
of either recipe. `small` is shown to be worse {listed(worse)}, and better {listed(better)}. Nothing is shown
{listed(rest)}. The DCGAN's distance is {floors(in_float32(found, "dcgan")) / floors(small):.1f} times that of
`small`: no single change explains it. We had expected that batches and loss would explain most of it.
Without augmentation we had expected more samples too near; {mean(bare, NEAR)} are. Of the DCGAN's
settings, Adam's alone matter clearly: with the Adam of `small`, the DCGAN gets
{ends(found.at("dcgan_with_adam_of_small"))}; without batch norm in the discriminator
{ends(found.at("dcgan_without_norm"))}; with both changes
{ends(found.at("dcgan_without_norm_with_adam_of_small"))}. `small` closes the rest of the gap with batches,
loss, penalties, average, augmentation and generator changed together."""


def in_float32(found: Found, cell: str) -> dict[str, Any]:
    """The row of a cell's runs in float32, at its last step."""
    rows = [row for row in found.results["over_seeds"] if row["precision"] == PRECISIONS[1]]
    own = [row for row in rows if row["settings"]["study"] == cell]
    return max(own, key=lambda row: row["step"])


def differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether mean distances differ by more than the seeds of either row do: the rule of `before.md`."""
    pair = [number_of(row, "Fréchet distance") for row in (one, other)]
    apart = abs(pair[0]["mean"] - pair[1]["mean"])
    return bool(apart > max(each["high"] - each["low"] for each in pair))


def when_to_stop(found: Found) -> str:
    runs = [each for each in found.again if "share_above_threshold" in each["numbers"]]
    lines, theirs = [], runs[0]["numbers"]
    for run in runs:
        near, distance = (run["numbers"][name] for name in theirs)
        row = found.at(run["cell"], run["step"])
        lines.append(
            [
                f"`{run['cell']}`",
                found.minutes(row),
                *(mean(row, column) for column in ("Fréchet distance", "precision", "recall")),
                f"{100 * near['value']:.1f} %",
                f"{distance['value']:.1f}",
                run["answers"]["copies"],
            ]
        )
    head = ["cell", "minutes", "Fréchet distance", "precision", "recall", "too near", "C_T"]
    near, distance = theirs["share_above_threshold"], theirs["train_test_distance"]
    attack = extra(found.at("small_hour"), "membership_auc", "random-conv")
    early, middle, end = (found.at("small_hour", step) for step in (4800, 9600, 14400))
    shares = [
        100 * found.copies("small_hour", row["step"])["share_above_threshold"]["value"]
        for row in (middle, end)
    ]
    return f"""## Copies and when to stop

{table_of([[*head, "verdict on copies"], ["---"] * (len(head) + 1), *lines])}

The full search, which `alzgan.evaluate` now uses, finds copies that were turned, scaled, shifted, mirrored,
inverted or warped, and more of them than the earlier one. One new run of each cell, seed 0, was trained in
bfloat16 and judged beside the same 80 people: shares and C_T are of this run. Distances, precision and recall
are the means of the runs in the first table. Of unseen people's images {100 * near["unseen"]["mean"]:.1f} %
are too near. By a law fitted to draws of them, 1 in 700 sets has more than {100 * near["limit"]:.1f} %, and 1
in 700 has a C_T below {distance["limit"]:.1f}.

No stopping point is best by every measure. In the last third of `small_hour` the share falls from
{shares[0]:.1f} % to {shares[1]:.1f} %, and recall rises from {mean(middle, "recall")} to
{mean(end, "recall")}; but the distance grows from {mean(middle)} to {mean(end)}. `small_hour` adds small
turns, scales and contrasts, and its learning rates fall after a third of the run; which of these changes
lowers the share is not known. A membership test in a random network's features is at the edge of chance. At
their end the runs of `small_hour` have an AUC of {attack["low"]:.2f} to {attack["high"]:.2f}. By chance it
lies between {attack["unseen"]["low"]:.2f} and {attack["unseen"]["high"]:.2f} in 95 % of draws of unseen
people. After {early["step"]:,} steps it was
{extra(early, "membership_auc", "random-conv")["mean"]:.2f} on average. Check
each sample before you share it: `alzgan.generate ... check=true copies=drop`."""


def larger(found: Found) -> str:
    at, longer, last = found.at("small_128_long", 4800), found.at("small_128"), found.at("small_128_long")
    small = found.at("small_long", last["step"])
    return f"""## At 128 x 128

At equal steps, distances relative to unseen people's are as at 64 x 64: {mean(last)} after {last["step"]:,}
steps (`small_128_long`), where `small_long` has {mean(small)}. But a step takes
{float(found.minutes(last)) / float(found.minutes(small)):.1f} times as long. Recall is {mean(last, "recall")}
in one run, where those at 64 x 64 have {ends(small, "recall")}. After 4,800 steps two runs get {mean(at)} and
{mean(longer)}. By the search for shifts and mirrors, {mean(last, NEAR)}, {mean(at, NEAR)} and
{mean(longer, NEAR)} of their samples are too near."""


def useful_again(found: Found) -> str:
    told, columns = "{mean:+.3f} ({low:+.3f} to {high:+.3f})", "| {} | {} | {:.3f} | {} | {} |"
    runs = [each for each in found.again if each["utility"]]
    arms = {run["cell"]: {arm["name"]: arm for arm in run["utility"]["arms"]} for run in runs}
    controls = next(iter(arms.values()))
    own = [name for name in controls if "synthetic" in name]
    shown = [("", arm) for name, arm in controls.items() if name not in own]
    shown += [(f"`{cell}`", each[name]) for cell, each in arms.items() for name in own]
    lines = [
        columns.format(
            cell,
            arm["name"],
            arm["balanced_accuracy"]["mean"],
            told.format(**arm["difference"]) if arm["difference"] else "",
            arm["verdict"] or "",
        )
        for cell, arm in shown
    ]
    one = runs[0]["utility"]
    least, most = (end(run["utility"]["detectable"] for run in runs) for end in (min, max))
    real, half = controls["real"]["balanced_accuracy"], controls["real, half of the people"]["difference"]
    return f"""## Whether samples help

A classifier of three classes is trained on 119 people's slices, to which samples of one run are added; the
class Moderate, with one person on each side, is left out. The test treats people and trainings as random
effects: {one["people"]} unseen people, {one["seeds"]} trainings. Verdicts have Holm's correction over the
classifiers of one run; brackets are 95 % intervals without it.
"Real again" is the classifier of real images with other seeds. "Split by image" is a classifier that has seen
half of each test person's slices.

| samples of | trained on | balanced accuracy | change of the right class's probability | verdict |
| --- | --- | --- | --- | --- |
{chr(10).join(lines)}

The answer is "cannot tell", as we had expected. With added samples the test could have found a change of
{least:.3f} to {most:.3f}. But the classifier itself is weak. Trained on real slices alone, its balanced
accuracy is {real["low"]:.2f} to {real["high"]:.2f} (95 % over people; chance is {one["chance"]:.2f}). In the
control with half of the people, the right class's probability changed by {told.format(**half)}, without
correction; in the next section the log score falls if people are left out. How much these classifiers gain
from more people is not clear, so this test does not show whether samples know anything about the disease."""


def what_labels_are_worth(found: Found) -> str:
    points, seeds = found.labels["points"], found.labels["seeds"]
    head = ["people", "trained on", "log score", *points[0]["arms"][0]["by_class"], "balanced accuracy"]
    head += ["log score, less that of real", "p, by Holm", "verdict", "could have found"]
    lines = [head, ["---"] * len(head)]
    for point in points:
        for arm in point["arms"]:
            line = [str(point["people"]), arm["name"], f"{arm['log_score']:.2f}"]
            line += [f"{each:.2f}" for each in arm["by_class"].values()]
            line.append(f"{arm['balanced_accuracy']['mean']:.2f}")
            if difference := arm["difference"]:
                line.append("{mean:+.2f} ({low:+.2f} to {high:+.2f})".format(**difference))
            if "verdict" in arm:
                least = point["detectable"][arm["name"]]
                line += [f"{difference['p_holm']:.3f}", arm["verdict"], f"{least:.2f}"]
            lines.append(line + [""] * (len(head) - len(line)))
    helps = [
        f"{arm['name']} {arm['verdict']} with {point['people']} people"
        for point in points
        for arm in point["arms"]
        if arm.get("verdict") in ("helps", "hurts")
    ]
    mixed = [
        f"{arm['difference']['mean']:+.2f} with {point['people']} people, where {least:.2f} could be found"
        for point in points[:2]
        for arm in point["arms"]
        if (least := point["detectable"].get(arm["name"])) and "+ synthetic" in arm["name"]
    ]
    told = "; ".join(helps)
    shown = f"{told[0].upper()}{told[1:]}; every other" if told else "No help and no harm is shown: every"
    shown += " verdict"
    kinds = len(points[0]["arms"][0]["by_class"])

    def arm_of(point: dict[str, Any], name: str) -> dict[str, Any]:
        return next(arm for arm in point["arms"] if arm["name"] == name)

    def accuracy(point: dict[str, Any]) -> float:
        return arm_of(point, "real")["balanced_accuracy"]["mean"]

    def of(point: dict[str, Any], name: str) -> str:
        return f"{arm_of(point, name)['difference']['mean']:+.2f}"

    return f"""## What labels are worth

How many people must be labelled before samples help a classifier of {kinds} classes? For each number of
people, `caided` learns from their slices alone, for 1,920 steps. Classifiers learn from the real slices, from
them with the usual augmentation, from them and as many samples, and from samples alone, {seeds} times each,
and are tested on {points[0]["held_out"]} people who train nothing. The measure is the log score of a person's
class; chance is {log(1 / kinds):.2f}. [What we expected](../../.github/study/before_labels.md) was written
down before the first run.

{shown} is "cannot tell". What we expected, and what we found:

- Real slices give a balanced accuracy of 0.35 to 0.40 with {points[0]["people"]} people and of 0.43 with
  {points[-1]["people"]}: it is {accuracy(points[0]):.2f} and {accuracy(points[-1]):.2f}.
- Samples raise the log score with 12 and 24 people: the change is {" and ".join(mixed)}.
- Augmentation raises it with 12 people, and lowers it with 119 or changes nothing: the change is
  {of(points[0], AUGMENTED)} and {of(points[-1], AUGMENTED)}.
- Samples alone are worse than real slices everywhere: the change is
  {listed([of(point, "synthetic alone") for point in points])}.
- With {points[-1]["people"]} people a change of 0.05 by samples can be found: the least is
  {points[-1]["detectable"]["real + synthetic 1"]:.2f}.

"Could have found" is the true change that this test finds in 4 of 5 studies, at its own standard error and
the strictest level of Holm's correction. Intervals are over people and trainings of classifiers. There is one
generator and one draw of people at each number: their luck is in no interval.

{table_of(lines)}"""


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
{lines}

These are uncertain by a tenth. Minutes of `aided` stand in its own table."""


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
    sizes = [
        each["ventricles"]["MildDemented"][kind] - each["ventricles"]["NonDemented"][kind]
        for each, kind in ((one, "samples"), (none, "samples"), (aided, "samples"), (one, "unseen people"))
    ]
    shares = [each["class"]["samples"] for each in (one, none, aided)] + [one["class"]["unseen people"]]
    return f"""## Conditions and the floor of diversity

![Six latents at ten slice positions each](../../.github/stacks.png)

*Each row is one latent at ten slice positions (`study=csmall_places`, 2,400 steps).*

| | `csmall_places` | without the floor | `caided`, 3,840 steps | unseen people |
| --- | --- | --- | --- | --- |
{lines}
| share of images whose class a classifier recognises | {" | ".join(f"{each:.2f}" for each in shares)} |
| ventricles' share of the brain, Mild less NonDemented | {" | ".join(f"{each:.3f}" for each in sizes)} |

`python tests/benchmarks/conditions.py RUN` gives these numbers, of one run in each column, without intervals.
By chance a classifier would recognise {none["class"]["chance"]:.2f} of the images; Moderate, one of its four
classes, has one unseen person. With the floor, fewer samples are too near
to training images: {floor} in place of {without} (shifts and mirrors only). `caided` has a higher floor: its
latents differ more than people do. It also follows the position that is requested less closely, which may be
a part of that. Samples exaggerate the difference between the classes, and their classes are recognised more
often; that one causes the other was not tested."""


HEADING = """# The study: what each recipe is worth

*Written by `tests/benchmarks/study.py` from `.github/study`.*

Each file of this folder is a cell: a recipe that is trained on 120 of the 200 people of the Kaggle 4-class
Alzheimer set for 10 epochs (38,400 images of 64 x 64, grey). Cells called long train 30 epochs,
`small_hour` 60, `aided` 42, or up to 99 in rows of more than 10,080 steps, `aided_128` 20, `caided` 16 and
`aided_stacks` 8. All are judged beside the other
80 people, with 1,000 samples and 1,000 images of 32 of the 80. Distances and neighbours are in ImageNet
features, and one column is in a random network's. [What we expected](../../.github/study/before.md) was
written down before the first run, after a pilot on some cells.

Before you read the figures:

- The settings of `small`, `aided` and `caided` were chosen with results of these same 80 people in view, and
  `small_hour` was added after them. No generator was trained on the 80. [Other
  splits](#on-other-splits-of-the-people) choose by some people and judge by others.
- The row "unseen people" has real people in the place of the samples. For distances, precision, recall and
  coverage, groups of the 120 people in train are compared with the same 32 of the 80. What trained a
  generator does not matter there, but a generator that only repeated its training images would get these
  values: "too near" and C_T are there to show that. For these two, images of the 80 are in the place of the
  samples.
- Precision is the share of samples within the neighbourhood of a real image, which reaches to the 5th nearest
  image of another person. Recall is the share of real images within the neighbourhoods of samples, and
  coverage the share of real neighbourhoods that hold a sample. The kernel distance does not depend on the
  number of images.
- A sample is "too near" if it is more like a training image than 99 of 100 images of the 80 people are. The
  first table has shares that an earlier search found, for shifts and mirrors only. [The full
  search](#copies-and-when-to-stop) finds more. Poor samples can be far from every image, so that a low share
  says little where precision is low. They need not be: see `small_without_penalty`.
- C_T compares distances to training images: 0 is what unseen people get, and below it samples are nearer.
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

`aided`, `caided`, the sets and the splits are judged with `'features=[imagenet-lite2,imagenet-lite0]'`. The
other sections begin with:

```sh
# Splits. aided has trainer.max_epochs=8. Judged: each RUN/checkpoints/best.ckpt, with held_out=test
python -m alzgan.train -m study=small data.split_seed=0,1,2,3,4 callbacks.quality.every_n_epochs=2 \\
    callbacks.quality.extractor=imagenet-lite2 data.root=DIR run_dir=outputs/splits
# Sets, with data.channels=1 for OASIS-1, and 'metrics=[fidelity,copies,anatomy]' when it is judged
python -m alzgan.prepare data.root=LGG 'data.fractions=[0.6,0.2,0.2]'
python -m alzgan.train study=aided data.root=LGG data.channels=3 trainer.max_epochs=-1 trainer.max_steps=1920
python tests/benchmarks/labels.py     # without arguments it says how the labels' curve is made
```

The first lines of `tests/benchmarks/study.py` say how results come here. A command that was stopped continues
when it is started again. Minutes of `aided`, `aided_128`, `aided_stacks` and `caided` are above. One seed of
all other cells takes about two hours on two cores with bfloat16, and five or more without. An evaluation
takes one to two minutes a run. `launcher=joblib` with `OMP_NUM_THREADS=1` runs one cell on each core; a GPU
runs one cell at a time. Each run is judged at its end. To judge it earlier, give
`'ckpt_path=[outputs/study/job_N/checkpoints/epoch_12.ckpt]'`. The row of 350 steps is `study=small
trainer.max_epochs=-1 trainer.max_steps=350`; the rows of `small_128` at 4,800 steps are that cell with
`trainer.max_epochs=20`."""


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
        photographs,
        on_other_splits,
        other_sets,
        others_generators,
        larger,
        useful_again,
        what_labels_are_worth,
        what_conditions_do,
        what_it_costs,
    )
    versions = ", ".join(f"{name} {version}" for name, version in found.results["packages"].items())
    texts = [HEADING, *(part(found) for part in parts), COMMANDS, f"Versions: {versions}."]
    return wrapped("\n\n".join(filter(None, texts)))
