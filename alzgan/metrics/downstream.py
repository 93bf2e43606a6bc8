"""Whether synthetic images help a classifier for people whom nobody has seen.

Studies that find so often split by image, count slices as people, train once, or train the arm with synthetic
images for longer. Here all arms get as many updates and the same seeds, nobody is on both sides, people are
what is counted, and two controls say what the answer is worth: labels shuffled between people must give
chance, and a split by image shows what a leak would have promised.
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
from alzgan.metrics.arms import ARMS, CONTROLS, RATIOS, REAL, Arm, Labelled, Sets, arms_of, judged_sets
from alzgan.metrics.classifier import predicted, trained
from alzgan.metrics.significance import LEVEL, detectable, holm, sign_flip
from alzgan.metrics.votes import mean_scores, person_labels, redrawn, summary, vote

SIDE = 64  # pixels; larger images are reduced to it
LEAST_SEEDS = 6
UNIT = "probability of the right class, by the vote of a person's slices"


def utility(
    real: Labelled,
    synthetic: Labelled,
    held_out: Labelled,
    classes: Sequence[str],
    seeds: int = 6,
    updates: int = 600,
    batch_size: int = 64,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> dict[str, Any]:
    """Train small classifiers with and without synthetic images, and test them on held-out people.

    The arms: real images; with augmentation; with 0.5, 1 and 2 synthetic images a real one in each class; and
    synthetic images alone. The controls: labels shuffled between people; and half of each held-out person's
    images among the training images, tested on the other half. All see every class equally often. A person's
    probabilities are the mean of its images', its class is that of most of its images. Scores are means over
    the seeds, their 95 % intervals come from people drawn anew within each class.

    Each arm is compared with real images by the probability of a person's own class, its mean over the seeds:
    a sign-flip test over people, Holm's correction over the arms, and "helps" or "hurts" where that is below
    0.05, else "cannot tell". `detectable` is the difference that so many people show with a power of 80 %
    (before Holm's correction), for the arm with real and synthetic images where people differ most.

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
        Plain containers: "classes", "people", "seeds", "updates", "chance", "controls" (names), "detectable",
        "unit", and "arms", each with its name, balanced_accuracy, macro_f1 and auc (mean, low, high), its
        difference (mean, low, high, p, p_holm) and its verdict; both None for "real" and the controls.

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
    model = trained(images, arm.rows, updates, batch_size, seed, arm.augmented)
    held_out = images[len(images) - len(sets.held_out.labels) :]
    tested = held_out[torch.from_numpy(arm.tested).to(images.device)]
    return vote(predicted(model, tested), sets.held_out.people[arm.tested])


def compared(votes: dict[str, Tensor], sets: Sets, seed: int) -> dict[str, Any]:
    """What the votes (S, P, K) of each arm say."""
    labels = person_labels(sets.held_out.labels, sets.held_out.people, len(sets.classes))
    rows = redrawn(labels, seed)
    right = {name: each[:, np.arange(len(labels)), labels].mean(0).numpy() for name, each in votes.items()}
    differences = {name: right[name] - right[REAL] for name in ARMS if name not in (REAL, *CONTROLS)}
    p_values = [sign_flip(each, seed) for each in differences.values()]
    found = {
        name: {**summary(each.mean(), each[rows].mean(1)), "p": p, "p_holm": float(adjusted)}
        for (name, each), p, adjusted in zip(differences.items(), p_values, holm(p_values), strict=True)
    }
    return {
        "people": len(labels),
        "chance": 1 / len(sets.classes),
        "controls": list(CONTROLS),
        "detectable": max(detectable(differences[name]) for name in RATIOS),
        "unit": UNIT,
        "arms": [
            {
                "name": name,
                **mean_scores(votes[name], labels, rows),
                "difference": found.get(name),
                "verdict": verdict(found[name]) if name in found else None,
            }
            for name in ARMS
        ],
    }


def verdict(difference: dict[str, float]) -> str:
    """What a difference says."""
    if difference["p_holm"] >= LEVEL:
        return "cannot tell"
    return "helps" if difference["mean"] > 0 else "hurts"
