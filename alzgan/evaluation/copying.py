"""Are samples copies of training images: aligned pixels decide, features are reported beside them."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import nbinom, norm
from torch import Tensor

from alzgan.data.features import digest_of
from alzgan.device.streams import stream
from alzgan.evaluation.fidelity import Sets
from alzgan.evaluation.numbers import REACH, Number, Unseen, unseen_of
from alzgan.evaluation.reference import Reference
from alzgan.evaluation.spaces import Features, Space
from alzgan.files import read_arrays, write_arrays
from alzgan.metrics.memorisation import (
    Copies,
    Nearest,
    aligned_nearest,
    authentic,
    copies_of,
    membership_auc,
    person_medians,
    train_test_distance,
)
from alzgan.metrics.neighbours import distances

ALIGNED = "aligned pixels"
DRAWS = 200  # of people: cheap here
QUANTILE = 0.99
BINS = 40
PAIRS = 12  # closest ones, in the picture and the table


class Copying(NamedTuple):
    """What was found.

    Attributes:
        copies: of the samples.
        numbers: with what unseen people get.
        plain: the summary, as JSON takes it.
        rows: of the closest samples.
    """

    copies: Copies
    numbers: list[Number]
    plain: dict[str, Any]
    rows: np.ndarray


def copying(
    nearest: Nearest, theirs: Nearest, reference: Reference, sets: Sets, spaces: list[Space], seed: int
) -> Copying:
    """Judge how near the samples are to the training images, beside what unseen people get.

    Args:
        nearest: training images to all samples.
        theirs: training images to all held-out images.
        reference: the real images.
        sets: what features are computed of.
        spaces: of the numbers that do not decide.
        seed: of the draws of people.
    """
    train, unseen = reference.train, reference.held_out
    found = copies_of(nearest, theirs, QUANTILE)
    common = {"stage": "copies", "against": "train", "label": None, "seed": seed}
    aligned = common | {
        "space": ALIGNED,
        "extractor": ALIGNED,
        "n": len(nearest.similarity),
        "people": train.person_count(),
    }
    numbers = [
        Number(
            metric="share_of_copies",
            value=found.above / len(nearest.similarity),
            unseen=share_above(theirs.similarity, unseen.people, found.threshold),
            better="lower",
            **aligned,
        ),
        Number(
            metric="train_test_distance",
            value=train_test_distance(1 - nearest.similarity, 1 - theirs.similarity, None, unseen.people),
            unseen=unseen_of(halves(1 - theirs.similarity, unseen.people, seed)),
            better="higher",
            **aligned,
        ),
    ]
    for space in spaces:
        numbers += in_space(space, sets, common, seed)
    rows = np.argsort(-nearest.similarity.numpy(), kind="stable")[:PAIRS]
    return Copying(found, numbers, plain(found, theirs, numbers[0], reference, rows), rows)


def in_space(space: Space, sets: Sets, common: dict[str, Any], seed: int) -> list[Number]:
    """Authenticity, C_T and membership inference in a feature space, means over its extractors."""
    found = [
        memorised(*each, seed)
        for each in zip(
            *(space.sets(images) for images in (sets.samples, sets.held_out, sets.pool)), strict=True
        )
    ]
    numbers = []
    for metric, better in (
        ("authenticity", "higher"),
        ("train_test_distance", "higher"),
        ("membership_auc", "lower"),
    ):
        values = [each[metric][0] for each in found]
        unseen = np.mean([each[metric][1] for each in found], 0)
        numbers.append(
            Number(
                metric=metric,
                space=space.name,
                extractor=space.extractor,
                value=float(np.mean(values)),
                unseen=unseen_of(unseen),
                better=better,
                n=len(sets.samples),
                people=sets.pool.person_count(),
                **common,
            )
        )
    return numbers


def memorised(
    samples: Features, unseen: Features, train: Features, seed: int
) -> dict[str, tuple[float, list[float]]]:
    """The value for the samples, and the values for unseen people, of each number."""
    ours, theirs = distances(samples.values, train.values), distances(unseen.values, train.values)
    real = authentic(theirs, train.radii[0]).double()
    people = unseen.people
    to_samples = {
        "members": person_medians(ours.min(0).values, train.people),
        "others": person_medians(distances(unseen.values, samples.values).min(1).values, people),
    }
    return {
        "authenticity": (
            float(authentic(ours, train.radii[0]).double().mean()),
            [float(real[rows].mean()) for rows in resampled(people, len(unseen), seed)],
        ),
        "train_test_distance": (
            train_test_distance(ours.min(1).values, theirs.min(1).values, None, people),
            halves(theirs.min(1).values, people, seed),
        ),
        "membership_auc": (
            membership_auc(**to_samples),
            control(to_samples["members"], len(to_samples["others"]), seed),
        ),
    }


def share_above(similarity: Tensor, people: np.ndarray | None, threshold: float) -> Unseen:
    """What share of other unseen people's images is above the threshold that these people make.

    A threshold that e people's images exceed is exceeded by those of K of as many other people, where K is
    negative binomial with parameters e and 1/2, whatever the law of the similarities: each exceeding person
    is of one half of them or of the other with the same chance.
    """
    above = (similarity > threshold).numpy()
    share = float(above.mean())
    count = len(np.unique((np.arange(len(above)) if people is None else people)[above]))
    low, high, most = (
        float(nbinom.ppf(level, count, 0.5)) / count for level in (0.025, 0.975, norm.cdf(REACH))
    )
    return Unseen(share, low * share, high * share, (most - 1) * share / REACH, count)


def resampled(people: np.ndarray | None, count: int, seed: int) -> list[Tensor]:
    """Rows of people drawn with replacement, each with all images."""
    names, who = np.unique(np.arange(count) if people is None else people, return_inverse=True)
    rows_of = [np.flatnonzero(who == person) for person in range(len(names))]
    draws = stream(seed, "evaluate/resampled").integers(len(names), size=(DRAWS, len(names)))
    return [torch.from_numpy(np.concatenate([rows_of[person] for person in draw])) for draw in draws]


def halves(values: Tensor, people: np.ndarray | None, seed: int) -> list[float]:
    """C_T of one half of the unseen people against the other half."""
    medians = torch.from_numpy(person_medians(values, people))
    found = []
    for draw in range(DRAWS):
        order = torch.from_numpy(stream(seed, "evaluate/halves", draw).permutation(len(medians)))
        half = len(medians) // 2
        found.append(train_test_distance(medians[order[:half]], medians[order[half:]]))
    return found


def control(members: np.ndarray, others: int, seed: int) -> list[float]:
    """The attack's AUC where members stand for the others: what it finds where there is nothing to find."""
    count = min(others, len(members) // 2)
    orders = [stream(seed, "evaluate/control", draw).permutation(len(members)) for draw in range(DRAWS)]
    return [membership_auc(members[order[count:]], members[order[:count]]) for order in orders]


def cached_nearest(images: Tensor, references: Tensor, cache: Path) -> Nearest:
    """`aligned_nearest`, from the cache or put there."""
    path = cache / f"nearest-{digest_of(images, 'nearest', digest_of(references))}.npz"
    stored = read_arrays(path)
    if stored.get("index", np.empty(0)).shape == (len(images),):
        return Nearest(torch.from_numpy(stored["similarity"]), torch.from_numpy(stored["index"]))
    found = aligned_nearest(images, references)
    write_arrays(path, similarity=found.similarity.numpy(), index=found.index.numpy())
    return found


def plain(
    found: Copies, theirs: Nearest, share: Number, reference: Reference, rows: np.ndarray
) -> dict[str, Any]:
    """The summary as JSON takes it."""
    similarity = found.nearest.similarity
    lowest = min(float(similarity.min()), float(theirs.similarity.min()))
    edges = np.linspace(lowest, 1, BINS + 1)

    def counts(values: Tensor) -> list[int]:
        return np.histogram(values.numpy().clip(lowest, 1), edges)[0].tolist()

    train = reference.train
    return {
        "samples": len(similarity),
        "threshold": found.threshold,
        "above": found.above,
        "share": found.above / len(similarity),
        "share_upper": found.upper,
        "certain": found.certain,
        "certain_count": found.certain_count,
        "unseen_share": share.unseen.mean,
        "unseen_low": share.unseen.low,
        "unseen_high": share.unseen.high,
        "held_out_images": len(reference.held_out),
        "held_out_people": reference.held_out.person_count(),
        "histogram": {
            "edges": edges.tolist(),
            "samples": counts(similarity),
            "unseen": counts(theirs.similarity),
        },
        "pairs": [
            {
                "sample": int(row),
                "file": train.files[index] if train.files else None,
                "person": None if train.people is None else str(train.people[index]),
                "r": float(similarity[row]),
            }
            for row, index in zip(rows, found.nearest.index[torch.from_numpy(rows)].tolist(), strict=True)
        ],
    }
