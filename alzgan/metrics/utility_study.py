"""A study of whether synthetic images help a classifier for unseen people.

Many studies report such a benefit after splitting by image, counting slices as people, training once, or
training longer with synthetic images. Here all arms have the same seeds and equally many updates, no person
is both trained on and tested, and the test accounts for the variance of people and of trainings. Four
controls check the study itself. Real images with other seeds must show no effect. Half of the real people
show the effect of people. Labels shuffled between people must give chance. A split by image shows the gain
from a leak.
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

LARGEST_SIDE = 64  # pixels; larger images are resized to it
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

    The arms train on real images; on augmented real images; on real images with 0.5, 1 or 2 synthetic ones
    for each real one in each class; and on synthetic images alone. The controls train on real images with
    other seeds; on images of half of the real people; on labels shuffled between people; and on real images
    with half of each held-out person's images, tested on the other half. All arms show every class equally
    often. The probabilities of a person are the mean over its images, and its class is that of most of its
    images. Scores are means over the seeds. Their 95 % intervals come from draws, with replacement, of seeds
    and of people within each class.

    Each arm is compared with real images by the probability of a person's own class, with
    `alzgan.metrics.significance.crossed` and Holm's correction over the arms. The verdict is "helps" or
    "hurts" if the corrected p-value is below 0.05, else "cannot tell". `detectable` is the difference that a
    study of this size finds with a power of 80 % in the strictest of these tests, for the mixture of real and
    synthetic images with the largest variance.

    Classes with fewer than two held-out people are left out, and chance is 1 over the number of classes left.
    On a CPU with a given number of threads, the result is a function of the seed to the last bit.

    Args:
        real: images of training people.
        synthetic: images of a generator; their people are not used.
        held_out: images of other people. A person must have the same name here and in `real`.
        classes: names; labels are their indices.
        seeds: the number of trainings of each arm, at least 6.
        updates: the number of batches of each training.
        batch_size: images in a batch.
        seed: the seed of all random draws.
        device: the device that trains.
        progress: whether to show a progress bar on stderr.

    Returns:
        Plain containers: "classes", "people", "seeds", "updates", "chance", "detectable", "unit" and "arms".
        An arm has its name; balanced_accuracy, macro_f1 and auc, each with mean, low and high; its
        "difference" to "real" with mean, low, high, p and p_holm, or None for "real", shuffled labels and the
        split by image; and its "verdict", or None for "real" and the controls, whose p_holm is p.

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
    """Images uint8 (N, C, H, W), reduced to squares of `LARGEST_SIDE` pixels if a side is longer."""
    return resize(images, [LARGEST_SIDE, LARGEST_SIDE]) if max(images.shape[2:]) > LARGEST_SIDE else images


def held_out_votes(images: Tensor, sets: Sets, arm: Arm, updates: int, batch_size: int, seed: int) -> Tensor:
    """Train one classifier; return its class probabilities (P, K) for the held-out people."""
    if arm.repeat:
        seed = int(stream(seed, "utility/repeat", arm.repeat).integers(2**63))
    model = trained(images, arm.rows, updates, batch_size, seed, arm.augmented)
    held_out = images[len(images) - len(sets.held_out.labels) :]
    tested = held_out[torch.from_numpy(arm.tested).to(images.device)]
    return vote(predicted(model, tested), sets.held_out.people[arm.tested])


def compared(votes: dict[str, Tensor], sets: Sets, seed: int) -> dict[str, Any]:
    """The scores of each arm and its comparison with real images, from its votes (S, P, K)."""
    labels = person_labels(sets.held_out.labels, sets.held_out.people, len(sets.classes))
    rows = redrawn(labels, seed)
    right = {name: each[:, np.arange(len(labels)), labels].numpy() for name, each in votes.items()}
    effects = {name: crossed(right[name] - right[REAL]) for name in (*TESTED, AGAIN, HALF)}
    adjusted = dict(zip(TESTED, holm([effects[name].p for name in TESTED]).tolist(), strict=True))
    found = {
        name: {**effect.plain(), "p_holm": adjusted.get(name, effect.p)} for name, effect in effects.items()
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
    """Whether the images of an arm help, from its difference to real images."""
    if difference["p_holm"] >= LEVEL:
        return "cannot tell"
    return "helps" if difference["mean"] > 0 else "hurts"
