r"""How the log score of classifiers on unseen people depends on the number of people who are labelled.

    python tests/benchmarks/labels.py folders RUN OUT [12 24 48]

Folders `OUT/12`, `OUT/24`, ... with links to the images of so many of the people in train of a run of alzgan,
and of all of its held-out people, with a table `people.csv`. The people are drawn class by class in the
classes' shares, and the fewer are among the more. Classes that the study cannot judge are left out.

    python -m alzgan.train study=caided data.root=OUT/12 data.subjects=csv:OUT/12/people.csv \
        run_dir=GENERATOR trainer.max_epochs=null trainer.max_steps=1920

    python tests/benchmarks/labels.py judge GENERATOR [GENERATOR ...] > .github/study/labels.json

Prints JSON, which `study.py` puts on the page of the study. Each generator is conditional on the class and
was trained on one of the folders. For each, classifiers are trained on its people's images: as they are, with
the usual augmentation, and with as many samples of the generator; and on samples alone. The unit is an unseen
person, by the log score: the logarithm of the probability that the vote of its slices gives to its class.
Holm's correction is over the whole curve. Intervals are over people and trainings of classifiers. There is
one generator and one draw of people at each number: their luck is in no interval.
"""

import csv
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conditions import BATCH, UPDATES, data_of
from torch import Tensor

import alzgan
from alzgan.device.streams import stream
from alzgan.evaluation.reference import reference_of
from alzgan.evaluation.utility import labelled
from alzgan.metrics.arms import (
    AGAIN,
    ALONE,
    AUGMENTED,
    LEAST_PEOPLE,
    REAL,
    Labelled,
    Sets,
    arms_of,
    judged_sets,
)
from alzgan.metrics.significance import crossed, holm
from alzgan.metrics.utility_study import LEAST_SEEDS, held_out_votes, reduced, verdict
from alzgan.metrics.votes import mean_scores, person_labels, redrawn

PEOPLE = (12, 24, 48)
MIXED = "real + synthetic 1"
ARMS = (REAL, AUGMENTED, MIXED, ALONE, AGAIN)
TESTED = (AUGMENTED, MIXED, ALONE)
LEAST = 1e-3  # the lowest probability that is scored, so that one person does not decide


def folders(run: Path, out: Path, counts: Sequence[int]) -> None:
    """Write a folder for each number of people, and one for all that train."""
    if out.exists():
        sys.exit(f"{out} exists: give a new folder")
    data = data_of(run)
    with open(run / "split.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    classes = {row["subject"]: row["class"] for row in rows}
    held_out = {row["subject"] for row in rows if row["split"] != "train"}
    theirs = [classes[person] for person in held_out]
    judged = {name for name in theirs if theirs.count(name) >= LEAST_PEOPLE}
    known = [person for person in dict.fromkeys(row["subject"] for row in rows) if classes[person] in judged]
    train = in_order([person for person in known if person not in held_out], classes)
    if max(counts) > len(train):
        sys.exit(f"only {len(train)} people of the judged classes are in train")
    for count in sorted({*counts, len(train)}):
        folder, people = out / str(count), {*train[:count], *(each for each in known if each in held_out)}
        kept = [row for row in rows if row["subject"] in people]
        for row in kept:
            link = folder / row["file"]
            link.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(Path(data.root).resolve() / row["file"], link)
        with open(folder / "people.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(kept)


def in_order(people: Sequence[str], classes: dict[str, str]) -> list[str]:
    """People in an order whose every beginning has each class in its share, as nearly as can be."""
    noise, places = stream(0, "labels/people"), {}
    for name in sorted({classes[person] for person in people}):
        own = [person for person in people if classes[person] == name]
        for place, row in enumerate(noise.permutation(len(own))):
            places[own[row]] = (place + 0.5) / len(own)
    return sorted(people, key=lambda person: places[person])


def sets_of(run: Path) -> tuple[Sets, Tensor]:
    """What a run's classifiers learn from and are tested on, and all of its images."""
    reference, generator = reference_of(data_of(run)), alzgan.load(run)
    real, held_out = labelled(reference.train), labelled(reference.held_out)
    classes = np.asarray(real.labels)
    samples = Labelled(generator.sample(len(classes), classes.tolist()), classes)
    sets = judged_sets(real, samples, held_out, reference.classes)
    return sets, torch.cat([reduced(each.images) for each in sets[:3]])


def votes_of(sets: Sets, images: Tensor) -> dict[str, Tensor]:
    """The votes (S, P, K) of each arm's classifiers on the held-out people."""
    votes: dict[str, list[Tensor]] = {name: [] for name in ARMS}
    for seed in stream(0, "labels").integers(2**63, size=LEAST_SEEDS).tolist():
        arms = arms_of(sets, seed)
        for name in ARMS:
            votes[name].append(held_out_votes(images, sets, arms[name], UPDATES, BATCH, seed))
    return {name: torch.stack(each) for name, each in votes.items()}


def log_scores(votes: Tensor, labels: np.ndarray) -> np.ndarray:
    """The logarithm of the probability of each person's class (S, P)."""
    return np.log(votes.numpy()[:, np.arange(len(labels)), labels].clip(min=LEAST))


def judge(runs: Sequence[Path]) -> dict[str, Any]:
    """The curve over runs, from few people to many."""
    tests = len(runs) * len(TESTED)
    points = []
    for run in runs:
        sets, images = sets_of(run)
        votes = votes_of(sets, images)
        labels = person_labels(sets.held_out.labels, sets.held_out.people, len(sets.classes))
        right = {name: log_scores(each, labels) for name, each in votes.items()}
        effects = {name: crossed(right[name] - right[REAL]) for name in ARMS[1:]}
        rows = redrawn(labels, 0)
        points.append(
            {
                "people": len(np.unique(sets.real.people)),
                "images": len(sets.real.labels),
                "held_out": len(labels),
                "detectable": {name: effects[name].detectable(tests) for name in TESTED},
                "arms": [
                    {
                        "name": name,
                        "log_score": float(right[name].mean()),
                        "by_class": {
                            kind: float(right[name][:, labels == index].mean())
                            for index, kind in enumerate(sets.classes)
                        },
                        "balanced_accuracy": mean_scores(votes[name], labels, rows, 0)["balanced_accuracy"],
                        "difference": effects[name].plain() if name in effects else None,
                    }
                    for name in ARMS
                ],
            }
        )
        print(f"{points[-1]['people']} people are done", file=sys.stderr, flush=True)
    points.sort(key=lambda point: point["people"])
    alike = {(point["held_out"], *point["arms"][0]["by_class"]) for point in points}
    assert len(alike) == 1, f"these generators have other test people or classes: {alike}"
    tested = [arm for point in points for arm in point["arms"] if arm["name"] in TESTED]
    for arm, p in zip(tested, holm([arm["difference"]["p"] for arm in tested]).tolist(), strict=True):
        arm["difference"]["p_holm"] = p
        arm["verdict"] = verdict(arm["difference"])
    return {"seeds": LEAST_SEEDS, "updates": UPDATES, "points": points}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["folders", run, out, *counts]:
            folders(Path(run), Path(out), [*map(int, counts)] or PEOPLE)
        case ["judge", *runs] if runs:
            print(json.dumps(judge([Path(run) for run in runs]), indent=2))
        case _:
            sys.exit(__doc__)
