"""The sections of the study's page on other splits, other data sets and others' generators."""

from collections.abc import Sequence
from functools import partial
from statistics import fmean, stdev
from typing import Any

from study_aided import beside_photographs
from study_rows import (
    BESIDE_PHOTOGRAPHS,
    JUDGE,
    SMALL,
    Found,
    extra,
    judged_by_another,
    listed,
    table_of,
    told,
)

from alzgan.metrics.anatomy import WASSERSTEIN
from alzgan.metrics.significance import Effect, holm

DISTANCE = "Fréchet distance"
OVER_SPLITS = {  # columns: metric and space
    DISTANCE: ("frechet", JUDGE),
    "precision": ("precision", JUDGE),
    "recall": ("recall", JUDGE),
    "too near": ("share_above_threshold", "aligned pixels"),
    "C_T": ("train_test_distance", "aligned pixels"),
    "authenticity": ("authenticity", JUDGE),
}
TEXTBOOK = "DCGAN of pytorch/examples"
EXPECTED = {  # after so many minutes, the multiples of unseen people's distance in `before_peers.md`
    (TEXTBOOK, 20): "10 to 20",
    ("SNGAN of mimicry", 20): "8 to 15",
    ("light-weight GAN", 20): "4 to 6",
    ("light-weight GAN", 60): "3 to 4",
    ("denoising diffusion", 20): "over 15",
    ("diffusion model of MONAI", 20): "over 15",
}
FLAIR = "LGG, FLAIR alone"
SOURCES = {  # of the other data sets
    "OASIS-1": "one slice a person, of a public copy (`shrutirout/alzheimers-pca-svm` on GitHub, commit "
    "cd874c5, folder `Data/processed/refined_images`)",
    "LGG": "Buda et al. 2019 (`mateuszbuda/lgg-mri-segmentation` on Kaggle), three sequences as channels",
    FLAIR: "the second channel of each image of LGG, saved in grey under its name; the people are "
    "split otherwise",
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
    seconds = found.photographs["seconds_a_step"]
    minutes = [
        max(run["step"] for run in runs if run["cell"] == cell) * seconds[timed] / 60
        for cell, timed in ((SMALL, "small_long"), ("aided", "aided"))
    ]
    splits = len({run["split"] for run in runs})
    people = {run["people"]["held_out"] for run in runs}
    return f"""## On other splits of the people

`small`, and the first {steps:,} steps of `aided`, on {splits} splits of the Kaggle set's people. Of each run,
the checkpoint with the smallest kernel distance to the people in validation was chosen, in {JUDGE}, and
judged by the {" or ".join(map(str, sorted(people)))} people in test alone. Training takes
{minutes[0]:.0f} and {minutes[1]:.0f} minutes of one core. [What we
expected](../../.github/study/before_splits.md) was written down before the first run.

{recipes_over_splits(runs)}

Intervals are of 95 %: over splits for the two recipes (the corrected resampled t-test of Nadeau and Bengio
2003, because splits share people), over draws of people for unseen people. They are symmetric, so that of a
share can reach below 0. Over {len(seeds["values"])} seeds
of split 0, judged by the people in validation and test, the distance of `aided` is {told(seeds, True)}.

{table_of(tests)}

{what_came_true(runs, effects)}

{table_of(chosen)}"""


def what_came_true(runs: Sequence[dict[str, Any]], effects: dict[str, Effect]) -> str:
    """What was expected of other splits, beside what was found."""
    by_cell = {cell: {run["split"]: run for run in runs if run["cell"] == cell} for cell in (SMALL, "aided")}
    distances = {
        cell: {split: value_of(run, DISTANCE) for split, run in own.items()} for cell, own in by_cell.items()
    }
    nearer = sum(distances["aided"][split] < far for split, far in distances[SMALL].items())
    ends = {
        cell: " to ".join(in_words(DISTANCE, [min(own.values()), max(own.values())]))
        for cell, own in distances.items()
    }
    last = {
        cell: sum(run["step"] == max(each["step"] for each in own.values()) for run in own.values())
        for cell, own in by_cell.items()
    }
    recall, near = (in_words(column, [effects[column].mean], "+")[0] for column in ("recall", "too near"))
    return f"""What we expected, and what we found:

- `aided` is nearer on each split: it is on {nearer} of {len(distances[SMALL])}.
- Distances are 4.0 to 4.5 times for `aided` and 6 to 7 for `small`: they are {ends["aided"]} and
  {ends[SMALL]}.
- Recall is higher by 0.1 to 0.2: the difference is {recall}.
- The shares too near differ by less than can be found: the difference is {near}.
- The last checkpoint of `aided` is always chosen: it is on {last["aided"]} splits, and that of `small` on
  {last[SMALL]}."""


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
            f"**{name}**: {SOURCES[name]}. Trained on {people['train']}, judged by {people['held_out']}. "
            f"`alzgan.prepare` says: '{each['verdict']}'.\n\n"
            f"{judged_by_another(rows, about, rows[0])}{shapes(rows)}"
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
    near_of_aided, near_on_lgg = (
        told(extra(row, *BESIDE_PHOTOGRAPHS["too near"]), False) for row in (oasis, lgg)
    )
    shape_of = [{measure: each["mean"] for measure, each in brain(row).items()} for row in (poor, oasis)]
    closer = [measure for measure, value in shape_of[0].items() if value < shape_of[1][measure]]
    far, alone = (
        {
            cell: told(extra(of_set(found, name, cell), "frechet", JUDGE), False)
            for cell in ("dcgan", SMALL, "aided")
        }
        for name in ("LGG", FLAIR)
    )
    flair = of_set(found, FLAIR, "aided")
    same_order = sum(
        multiple(of_set(found, name, "aided"))
        < multiple(of_set(found, name, SMALL))
        < multiple(of_set(found, name, "dcgan"))
        for name in found.sets
    )
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

The same recipes on another folder of images, for as many steps as on the Kaggle set; nothing else is
changed. {JUDGE} judges. [What we expected](../../.github/study/before_sets.md) was written down
before the first run; `aided` for 3,840 steps and distances in random-conv, which it announces, have not been
run.

- Of the three recipes, `aided` is the nearest and `dcgan` the farthest on {same_order} of the
  {len(found.sets)} sets, by the Fréchet distance. By the measures of the brain the order differs: on OASIS-1
  `small` is nearer than `aided` in {", ".join(closer)}.
- On LGG, slices of whole heads at all heights with tumours, we expected distances over 20 times that of
  unseen people for `dcgan`, about 8 for `small` and about 5 for `aided`. They are {far["dcgan"]},
  {far[SMALL]} and {far["aided"]}.
- On the FLAIR sequence of LGG alone, we expected the same distances, and a recall of `aided` above that of
  all sequences and below that on the Kaggle set. The distances are {alone["dcgan"]}, {alone[SMALL]} and
  {alone["aided"]}, and the recall is {told(extra(flair, "recall", JUDGE), False)}.
- Such ratios can be compared between recipes on one set, but not between sets: unseen people's own distance
  is {theirs[0]} on the Kaggle set, {theirs[1]} on LGG and {theirs[2]} on OASIS-1. By the kernel distance,
  `aided` is no nearer on these sets: {kernel[0]}, {kernel[1]} and {kernel[2]}.
- Variety does not carry over to LGG: the recall of `aided` is {varied[0]} on the Kaggle set and {varied[1]}
  there. On OASIS-1 it is {varied[2]}, where we had expected less; but there {size} images are on each side in
  place of 1,000, so that the two cannot be compared.
- We expected that over 10 % of the samples of `small` would be too near to a training image of OASIS-1,
  because it sees each image 15 times as often as on the Kaggle set, and fewer of `aided`. They were {near}
  and {near_of_aided}. This is no comfort: the precision of `small` is {precision} there. On LGG we expected
  few, and `aided` has {near_on_lgg}.

{text}"""


def others_generators(found: Found) -> str:
    if not found.peers:
        return ""
    rows: list[dict[str, Any]] = []
    for minutes in marks(found):
        ours = [row for cell in ("aided", "small_long") if (row := within(found, cell, minutes)) not in rows]
        rows += sorted([*ours, *peers_at(found, minutes)], key=kernel_distance)
    about = {
        "generator": [row.get("name") or f"`{row['settings']['study']}`" for row in rows],
        "minutes": [f"{row['minutes']:.0f}" for row in rows],
        "steps": [f"{row['step']:,}" for row in rows],
        "samples": [str(of_judge(row, "frechet")["n"]) for row in rows],
    }
    others = [row for minutes in marks(found) for row in peers_at(found, minutes)]
    copier = max(others, key=lambda row: too_near(row)["mean"])
    fewest = min(of_judge(row, "frechet")["n"] for row in others)
    unnamed = others[0]
    recall_of, coverage_of = (of_judge(unnamed, metric)["unseen"] for metric in ("recall", "coverage"))
    return f"""## What else one could use

{who_is_better(found)}

Generators that others published were trained on the images of the same people for the same minutes of one
core, in float32, with their authors' settings, but for what the first lines of [each
script](../../tests/benchmarks/peers/README.md) say; one seed each. They stop by the processor's time; minutes
of ours are steps times the time of a step. These networks are usually trained on a GPU for hours, and most
are larger than ours: the table says what a CPU gives, and not what they are worth. Steps of the SNGAN are
turns of its discriminator; its generator takes one for five.

[What we expected](../../.github/study/before_peers.md), as multiples of what unseen people get, was written
down before the first was judged:

{expected_of_others(found)}
- No recall is above that of `aided`: the highest is {max(map(recall, others)):.2f}.
- Hardly any sample is too near to a training image: of the {copier["name"]} after {copier["minutes"]:g}
  minutes {told(too_near(copier), False)} are, and fewer or none of the others.

{not_judged(found)}Both diffusion models have {fewest} samples; 500 were announced. The Fréchet distance of
few images is larger than that of many. A ratio divides it by the distance of as many real images, which is
larger too. Ratios of {fewest} and of 1,000 samples are therefore not comparable. The kernel distance does not
depend on the number: by it, rows are sorted, and the nearest is named.

{judged_by_another(rows, about, within(found, "aided", marks(found)[0]))}

The same 80 people judge. Samples of others are a folder without a table of subjects, and are therefore judged
as stacks of unknown people. This changes what unseen people get beside them: recall {recall_of["mean"]:.2f}
({recall_of["low"]:.2f} to {recall_of["high"]:.2f}) and coverage {coverage_of["mean"]:.2f}, in place of those
in the last row."""


def brain(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The measures of the brain of a row, by name."""
    return {each["space"]: each for each in row["numbers"] if each["metric"] == WASSERSTEIN.name}


def shapes(rows: Sequence[dict[str, Any]]) -> str:
    """A table of the measures of the brain, empty if they were not taken."""
    measured = [brain(row) for row in rows]
    if not all(measured):
        return ""
    lines = [["cell", *measured[0]], ["---"] * (1 + len(measured[0]))]
    for row, measures in zip(rows, measured, strict=True):
        multiples = [f"{each['mean'] / each['unseen']['mean']:.1f}" for each in measures.values()]
        lines.append([f"`{row['settings']['study']}`", *multiples])
    return (
        "\n\nMeasures of the brain: the Wasserstein distance to unseen people, over that between two groups "
        f"of them.\n\n{table_of(lines)}"
    )


def expected_of_others(found: Found) -> str:
    """What was expected of others' generators, beside what was found then, or else at the next mark."""
    rows = [row for minutes in marks(found) for row in peers_at(found, minutes)]
    lines = []
    for (name, minutes), times in EXPECTED.items():
        later = [row for row in rows if row["name"] == name and row["minutes"] >= minutes]
        lines += [
            f"- The {name}: {times} times after {minutes} minutes. It has {multiple(row):.1f} after "
            f"{row['minutes']:g} ({row['step']:,} steps)."
            for row in later[:1]
        ]
    return "\n".join(lines)


def not_judged(found: Found) -> str:
    """Which of others' generators have no row after some of the minutes, in a sentence; empty if none."""
    there = {(each["name"], each["minutes"]) for each in found.peers}
    names = sorted({name for name, _ in there})
    gaps = [
        f"the {name} after {minutes:g} minutes"
        for minutes in marks(found)
        for name in names
        if (name, minutes) not in there
    ]
    return f"Not judged are {listed(gaps)}. " if gaps else ""


def who_is_better(found: Found) -> str:
    """Which of others' generators are nearer to unseen people than `aided`, or more varied, in words."""
    sentences = []
    for minutes in marks(found):
        ours, peers = within(found, "aided", minutes), peers_at(found, minutes)
        nearer = [row["name"] for row in peers if kernel_distance(row) < kernel_distance(ours)]
        varied = [row["name"] for row in peers if recall(row) > recall(ours)]
        nearest = min(peers, key=kernel_distance)
        sentences.append(
            f"After {minutes:g} minutes of one core, of {len(peers)} other{'s' * (len(peers) > 1)} that "
            f"ran for so long, {are(nearer)} nearer to unseen people than `aided`, and {are(varied)} more "
            f"varied. The Fréchet distance of `aided` is {multiple(ours):.1f} times that of real people, and "
            f"its recall is {recall(ours):.2f}. The nearest of the others, the {nearest['name']}, has "
            f"{multiple(nearest):.1f} times and {recall(nearest):.2f}."
        )
    return " ".join(sentences)


def are(names: Sequence[str]) -> str:
    """Names in a sentence, with their verb."""
    if not names:
        return "none is"
    return f"{listed([f'the {name}' for name in names])} {'are' if len(names) > 1 else 'is'}"


def marks(found: Found) -> list[float]:
    """The minutes after which others' generators were judged."""
    return sorted({each["minutes"] for each in found.peers})


def within(found: Found, cell: str, minutes: float) -> dict[str, Any]:
    """The row of a cell with the most steps that fit into these minutes of one core."""
    rows = [row for (name, _), row in beside_photographs(found).items() if name == cell]
    return max((row for row in rows if row["minutes"] <= minutes), key=lambda row: row["step"])


def peers_at(found: Found, minutes: float) -> list[dict[str, Any]]:
    """What others' generators had after these minutes, as rows over their seeds."""
    return [
        {
            **each,
            "step": each["steps"],
            "runs": [f"seed={each['seed']}"],
            "numbers": [
                {**number, **dict.fromkeys(("mean", "low", "high"), number["value"])}
                for number in each["numbers"]
            ],
        }
        for each in found.peers
        if each["minutes"] == minutes
    ]


def of_judge(row: dict[str, Any], metric: str) -> dict[str, Any]:
    """A number in the features of the network that judges."""
    return extra(row, metric, JUDGE)


def too_near(row: dict[str, Any]) -> dict[str, Any]:
    """The share of samples that are too near to a training image."""
    return extra(row, *BESIDE_PHOTOGRAPHS["too near"])


def kernel_distance(row: dict[str, Any]) -> float:
    """The kernel distance, which does not depend on the number of images."""
    return of_judge(row, "kernel_distance")["mean"]


def recall(row: dict[str, Any]) -> float:
    """The recall."""
    return of_judge(row, "recall")["mean"]


def multiple(row: dict[str, Any]) -> float:
    """The Fréchet distance, as a multiple of unseen people's."""
    return of_judge(row, "frechet")["mean"] / of_judge(row, "frechet")["unseen"]["mean"]
