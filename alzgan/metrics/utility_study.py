"""Whether synthetic images help a classifier for people whom nobody has seen.

Studies that find so often split by image, count slices as people, train once, or train the arm with synthetic
images for longer. Here all arms get as many updates and the same seeds, nobody is on both sides, and the test
counts both people and trainings. Four controls say what the answer is worth: real images by other seeds show
no effect; half of the real people show what as many other people are worth; labels shuffled between people
give chance; and a split by image shows what a leak would have promised.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize
from tqdm import tqdm

from alzgan.device.streams import stream
from alzgan.errors import at_least, seed_of_streams
from alzgan.metrics.arms import (
    AGAIN,
    ARMS,
    HALF,
    RATIOS,
    REAL,
    TESTED,
    Arm,
    Labelled,
    Sets,
    arms_of,
    judged_sets,
)
from alzgan.metrics.classifier import predicted, trained
from alzgan.metrics.significance import LEVEL, crossed, holm
from alzgan.metrics.votes import mean_scores, person_labels, redrawn, vote

SIDE = 64  # pixels; larger images are reduced to it
LEAST_SEEDS, SEEDS = 6, 10  # trainings of each arm
UNIT = "probability of the right class, by the vote of a person's slices"


def utility(
    real: Labelled,
    synthetic: Labelled,
    held_out: Labelled,
    classes: Sequence[str],
    seeds: int = SEEDS,
    updates: int = 600,
    batch_size: int = 64,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> dict[str, Any]:
    """Train small classifiers with and without synthetic images, and test them on held-out people.

    The arms: real images; with augmentation; with 0.5, 1 and 2 synthetic images a real one in each class; and
    synthetic images alone. The controls: real images by other seeds; images of half of the real people;
    labels shuffled between people; and half of each held-out person's images among the training images,
    tested on the other half. All see every class equally often. A person's probabilities are the mean of its
    images', its class is that of most of its images. Scores are means over the seeds; their 95 % intervals
    come from seeds drawn anew and people drawn anew within each class.

    Each arm is compared with real images by the probability of a person's own class, seed by seed and person
    by person: `alzgan.metrics.significance.crossed`, Holm's correction over the arms, and "helps" or "hurts"
    where that is below 0.05, else "cannot tell". `detectable` is the difference that a study of as many
    people and seeds finds with a power of 80 %, by the strictest of these tests, for the arm with real and
    synthetic images where trainings and people differ most.

    Classes with fewer than two held-out people are left out everywhere: chance is 1 over those left.
    Functions of the seed on a CPU, to the last bit for one number of threads.

    Args:
        real: images of people to train on.
        synthetic: images of a generator; their people are not looked at.
        held_out: images of other people; a person has one name in both.
        classes: names; labels are their indices.
        seeds: trainings of each arm, from 6 on.
        updates: of each training.
        batch_size: images an update.
        seed: of everything drawn.
        device: which trains.
        progress: whether a bar is shown on stderr.

    Returns:
        Plain containers: "classes", "people", "seeds", "updates", "chance", "detectable", "unit", and "arms",
        each with its name, balanced_accuracy, macro_f1 and auc (mean, low, high), its difference to "real"
        (mean, low, high, p, p_holm; None for "real", shuffled labels and the split by image) and its verdict
        (None for the controls, too, whose p_holm is p).

    Raises:
        SettingError: a number is out of its range.
        UserError: labels are missing; fewer than two classes have two held-out people; a class has no real
            person or no synthetic image; a held-out person is among the real ones.
    """
    at_least(LEAST_SEEDS, seeds=seeds)
    at_least(1, updates=updates, batch_size=batch_size)
    seed_of_streams(seed=seed)
    sets = judged_sets(real, synthetic, held_out, classes)
    images = torch.cat([reduced(each.images) for each in sets[:3]]).to(device)
    runs = stream(seed, "utility").integers(2**63, size=seeds).tolist()
    votes: dict[str, list[Tensor]] = {name: [] for name in ARMS}
    with tqdm(total=seeds * len(ARMS), desc="training", unit=" classifiers", disable=not progress) as bar:
        for run in runs:
            for name, arm in arms_of(sets, run).items():
                votes[name].append(held_out_votes(images, sets, arm, updates, batch_size, run))
                bar.update()
    judged = compared({name: torch.stack(each) for name, each in votes.items()}, sets, seed)
    return {"classes": sets.classes, "seeds": seeds, "updates": updates, **judged}


def reduced(images: Tensor) -> Tensor:
    """Images uint8 (N, C, H, W), those with a longer side antialiased to `SIDE` x `SIDE` pixels."""
    return resize(images, [SIDE, SIDE]) if max(images.shape[2:]) > SIDE else images


def held_out_votes(images: Tensor, sets: Sets, arm: Arm, updates: int, batch_size: int, seed: int) -> Tensor:
    """Train one classifier and let it vote on the held-out people: (P, K)."""
    if arm.repeat:
        seed = int(stream(seed, "utility/repeat", arm.repeat).integers(2**63))
    model = trained(images, arm.rows, updates, batch_size, seed, arm.augmented)
    held_out = images[len(images) - len(sets.held_out.labels) :]
    tested = held_out[torch.from_numpy(arm.tested).to(images.device)]
    return vote(predicted(model, tested), sets.held_out.people[arm.tested])


def compared(votes: dict[str, Tensor], sets: Sets, seed: int) -> dict[str, Any]:
    """What the votes (S, P, K) of each arm say."""
    labels = person_labels(sets.held_out.labels, sets.held_out.people, len(sets.classes))
    rows = redrawn(labels, seed)
    right = {name: each[:, np.arange(len(labels)), labels].numpy() for name, each in votes.items()}
    effects = {name: crossed(right[name] - right[REAL]) for name in (*TESTED, AGAIN, HALF)}
    adjusted = dict(zip(TESTED, holm([effects[name].p for name in TESTED]).tolist(), strict=True))
    found = {
        name: {
            "mean": effect.mean,
            **dict(zip(("low", "high"), effect.interval, strict=True)),
            "p": effect.p,
            "p_holm": adjusted.get(name, effect.p),
        }
        for name, effect in effects.items()
    }
    return {
        "people": len(labels),
        "chance": 1 / len(sets.classes),
        "detectable": max(effects[name].detectable(len(TESTED)) for name in RATIOS),
        "unit": UNIT,
        "arms": [
            {
                "name": name,
                **mean_scores(votes[name], labels, rows, seed),
                "difference": found.get(name),
                "verdict": verdict(found[name]) if name in TESTED else None,
            }
            for name in ARMS
        ],
    }


def verdict(difference: dict[str, float]) -> str:
    """What a difference says."""
    if difference["p_holm"] >= LEVEL:
        return "cannot tell"
    return "helps" if difference["mean"] > 0 else "hurts"
