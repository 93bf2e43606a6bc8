"""Are samples copies of training images: aligned pixels decide, features are reported beside them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from alzgan.device.streams import stream
from alzgan.evaluation.fidelity import Sets
from alzgan.evaluation.numbers import Number, unseen_of
from alzgan.evaluation.reference import Reference
from alzgan.evaluation.spaces import Features, Space
from alzgan.files import cache_path, cached
from alzgan.images.likeness import VERSION, Nearest, Search
from alzgan.metrics.memorisation import (
    Copies,
    authentic,
    copies_of,
    membership_auc,
    person_medians,
    train_test_distance,
)
from alzgan.metrics.neighbours import Neighbours

ALIGNED = "aligned pixels"
DRAWS = 1000  # of people: cheap here
SINGLES = 20  # draws of one image of each person
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
    nearest: Nearest,
    theirs: Nearest,
    people: np.ndarray | None,
    reference: Reference,
    sets: Sets,
    spaces: list[Space],
    seed: int,
) -> Copying:
    """Judge how near the samples are to the training images, beside what unseen people get.

    Args:
        nearest: training images to all samples.
        theirs: training images to all held-out images.
        people: who is in the samples; None where each is somebody of its own.
        reference: the real images.
        sets: what features are computed of.
        spaces: of the numbers that do not decide.
        seed: of the draws of people.
    """
    train, unseen = reference.train, reference.held_out
    found, held_out_people = copies_of(nearest, theirs, QUANTILE), unseen.person_count()
    common = {"stage": "copies", "against": "train", "label": None, "seed": seed}
    aligned = common | {
        "space": ALIGNED,
        "extractor": ALIGNED,
        "n": len(nearest.similarity),
        "people": train.person_count(),
    }
    numbers = [
        Number(
            metric="share_above_threshold",
            value=found.above / len(nearest.similarity),
            unseen=unseen_of(
                shares_above(theirs.similarity, unseen.people, len(nearest.similarity), seed),
                "share_above_threshold",
                held_out_people,
                n=len(nearest.similarity),
            ),
            better="lower",
            **aligned,
        ),
        Number(
            metric="train_test_distance",
            value=train_test(1 - nearest.similarity, people, 1 - theirs.similarity, unseen.people, seed),
            unseen=unseen_of(
                halves(1 - theirs.similarity, unseen.people, seed), "train_test_distance", held_out_people
            ),
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
    found = [memorised(*each, seed) for each in space.together(sets.samples, sets.held_out, sets.pool)]
    numbers = []
    held_out_people = sets.held_out.person_count()
    # People drawn anew are compared with those drawn: the difference of two groups varies more than one.
    widen = {"authenticity": 2**0.5}
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
                unseen=unseen_of(unseen, metric, held_out_people, widen.get(metric, 1), len(sets.samples)),
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
    ours, theirs = Neighbours.of(samples.values, train.values), Neighbours.of(unseen.values, train.values)
    real = authentic(theirs, train.values, train.people).double()
    people = unseen.people
    to_samples = {
        "members": person_medians(ours.backward, train.people),
        "others": person_medians(Neighbours.of(unseen.values, samples.values).forward, people),
    }
    return {
        "authenticity": (
            float(authentic(ours, train.values, train.people).double().mean()),
            [float(real[rows].mean()) for rows in resampled(people, len(unseen), seed)],
        ),
        "train_test_distance": (
            train_test(ours.forward, samples.people, theirs.forward, people, seed),
            halves(theirs.forward, people, seed),
        ),
        "membership_auc": (
            membership_auc(**to_samples),
            control(to_samples["members"], len(to_samples["others"]), seed),
        ),
    }


def shares_above(similarity: Tensor, people: np.ndarray | None, count: int, seed: int) -> list[float]:
    """The share of the images of people drawn anew above the threshold that other people drawn anew make.

    The threshold is made by as many people as there are, the share is that of as many images as there are
    samples; both are drawn with replacement.
    """
    makers = resampled(people, len(similarity), seed, "evaluate/threshold")
    per_person = len(similarity) / len(np.unique(people)) if people is not None else 1
    judged = resampled(people, len(similarity), seed, "evaluate/share", max(1, round(count / per_person)))
    return [
        float((similarity[two] > similarity[one].double().quantile(QUANTILE)).double().mean())
        for one, two in zip(makers, judged, strict=True)
    ]


def random_halves(
    people: np.ndarray | None, count: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of one half of the people, and of the other, drawn again and again."""
    names, who = np.unique(np.arange(count) if people is None else people, return_inverse=True)
    for draw in range(DRAWS):
        place = stream(seed, "evaluate/halves", draw).permutation(len(names))
        first = place[who] < len(names) // 2
        yield np.flatnonzero(first), np.flatnonzero(~first)


def resampled(
    people: np.ndarray | None,
    count: int,
    seed: int,
    purpose: str = "evaluate/resampled",
    drawn: int | None = None,
) -> list[Tensor]:
    """Rows of people drawn with replacement, each with all images: `drawn` of them, else all."""
    names, who = np.unique(np.arange(count) if people is None else people, return_inverse=True)
    rows_of = [np.flatnonzero(who == person) for person in range(len(names))]
    draws = stream(seed, purpose).integers(len(names), size=(DRAWS, drawn or len(names)))
    return [torch.from_numpy(np.concatenate([rows_of[person] for person in draw])) for draw in draws]


def train_test(
    ours: Tensor, people: np.ndarray | None, theirs: Tensor, their_people: np.ndarray | None, seed: int
) -> float:
    """C_T of samples; a person stands with its median, or with one image where samples have no people.

    A median is drawn from another law than one image.
    """
    if people is not None or their_people is None:
        return train_test_distance(ours, theirs, people, their_people)
    found = [
        train_test_distance(ours, theirs[one_of_each(their_people, seed, draw)]) for draw in range(SINGLES)
    ]
    return float(np.mean(found))


def one_of_each(people: np.ndarray, seed: int, draw: int) -> np.ndarray:
    """The row of a random image of each person."""
    order = stream(seed, "evaluate/one of each", draw).permutation(len(people))
    return order[np.unique(people[order], return_index=True)[1]]


def halves(theirs: Tensor, people: np.ndarray | None, seed: int) -> list[float]:
    """C_T of one half of the unseen people against the other half, on their medians."""
    medians = torch.from_numpy(person_medians(theirs, people))
    return [
        train_test_distance(medians[one], medians[two])
        for one, two in random_halves(None, len(medians), seed)
    ]


def control(members: np.ndarray, others: int, seed: int) -> list[float]:
    """The attack's AUC where members stand for the others: what it finds where there is nothing to find."""
    count = min(others, len(members) // 2)
    orders = [stream(seed, "evaluate/control", draw).permutation(len(members)) for draw in range(DRAWS)]
    return [membership_auc(members[order[count:]], members[order[:count]]) for order in orders]


def cached_nearest(images: Tensor, references: Tensor, cache: Path) -> Nearest:
    """The most alike reference of each image, from the cache or put there."""

    def compute() -> dict[str, np.ndarray]:
        found = Search(references).nearest(images)
        return {"similarity": found.similarity.numpy(), "index": found.index.numpy()}

    return cached(
        cache_path(cache, "nearest.npz", VERSION, images, references),
        compute,
        lambda kept: Nearest(torch.from_numpy(kept["similarity"]), torch.from_numpy(kept["index"])),
    )


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
