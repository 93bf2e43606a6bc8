"""The stage copies: the search for training images among the samples, and its verdict."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from alzgan.evaluation.fidelity import Sets
from alzgan.evaluation.numbers import Number, unseen_of
from alzgan.evaluation.reference import Reference
from alzgan.evaluation.spaces import Space
from alzgan.evaluation.verdicts import Verdict, told_of, verdict, worst_of
from alzgan.files import cache_path, cached
from alzgan.images import likeness
from alzgan.images.likeness import LEVELS, SMALL, Nearest, Search
from alzgan.metrics import memorisation
from alzgan.metrics.memorisation import (
    AUTHENTICITY,
    BESIDE,
    COPIES,
    MEMBERSHIP_AUC,
    MOST,
    SHARE_ABOVE_THRESHOLD,
    TRAIN_TEST_DISTANCE,
    Copies,
    Nearness,
    copies_of,
    shares_above,
    train_test,
    train_test_of_halves,
)
from alzgan.metrics.record import TRAIN, told

ALIGNED = "aligned pixels"
IN_SPACES = (AUTHENTICITY, TRAIN_TEST_DISTANCE, MEMBERSHIP_AUC)
METRICS = (SHARE_ABOVE_THRESHOLD, *IN_SPACES)
VAGUE = 0.1  # a limit above this share lets too many samples near training images pass
BINS = 40
PAIRS = 12  # closest pairs in the picture and the table
METHOD = (
    f"{told(likeness, 1)} The grid has {len(likeness.poses(likeness.SHIFTS))} poses of {SMALL} × "
    f"{SMALL} pixels; {LEVELS[0][1]} candidates of each image are aligned at up to {LEVELS[-1][0]} × "
    f"{LEVELS[-1][0]} pixels. {told(memorisation, 1)} {BESIDE}. In feature spaces the "
    "samples are compared with the training images from which groups are drawn, and the table counts the "
    "people in these. Aligned pixels are compared with those of all training images"
)


class FoundCopies(NamedTuple):
    """The results of the stage.

    Attributes:
        copies: among the samples.
        numbers: the share of samples above the threshold, then the other numbers.
        summary: the results in plain containers for `evaluation.json`.
        rows: the samples nearest to a training image, the nearest first.
    """

    copies: Copies
    numbers: list[Number]
    summary: dict[str, Any]
    rows: np.ndarray


def copies(
    nearest: Nearest,
    theirs: Nearest,
    people: np.ndarray | None,
    reference: Reference,
    sets: Sets,
    spaces: list[Space],
    seed: int,
) -> FoundCopies:
    """Judge how near the samples are to training images, and how near unseen people's images are.

    Args:
        nearest: the nearest training image of each sample.
        theirs: the nearest training image of each image of unseen people.
        people: the person in each sample; None if unknown.
        reference: the real images.
        sets: the sets that are compared in feature spaces.
        spaces: the feature spaces.
        seed: the seed of the draws.
    """
    train, unseen = reference.train, reference.held_out
    found, size = copies_of(nearest, theirs), len(nearest.similarity)
    distances = 1 - nearest.similarity, people, 1 - theirs.similarity, unseen.people
    about: dict[str, Any] = {"against": TRAIN, "label": None, "seed": seed}
    aligned = about | {"space": ALIGNED, "extractor": ALIGNED, "n": size, "people": train.person_count()}
    shares = shares_above(theirs.similarity, unseen.people, size, seed)
    statistics = train_test_of_halves(*distances[2:], seed)
    numbers = []
    for metric, value, drawn in (
        (SHARE_ABOVE_THRESHOLD, SHARE_ABOVE_THRESHOLD.compute(found), shares),
        (TRAIN_TEST_DISTANCE, train_test(*distances, seed), statistics),
    ):
        beside = unseen_of(drawn, metric, unseen.person_count(), n=size)
        numbers.append(Number(metric=metric, value=value, unseen=beside, **aligned))
    for space in spaces:
        numbers += in_space(space, sets, about)
    rows = np.argsort(-nearest.similarity.numpy(), kind="stable")[:PAIRS]
    return FoundCopies(found, numbers, summary(found, theirs, numbers[0], reference, rows), rows)


def in_space(space: Space, sets: Sets, about: dict[str, Any]) -> list[Number]:
    """The numbers in a feature space; each is the mean over its extractors."""
    sides = space.together(sets.samples, sets.held_out, sets.pool)
    found = [Nearness(samples, unseen, train, about["seed"]) for samples, unseen, train in sides]
    people, size = sets.held_out.person_count(), len(sets.samples)
    numbers = []
    for metric in IN_SPACES:
        values, unseen = zip(*map(metric.compute, found), strict=True)
        beside = unseen_of(np.mean(unseen, 0), metric, people, metric.widen, size)
        numbers.append(
            Number(
                metric=metric,
                space=space.name,
                extractor=space.extractor,
                value=float(np.mean(values)),
                unseen=beside,
                n=size,
                people=sets.pool.person_count(),
                **about,
            )
        )
    return numbers


def on_copies(found: FoundCopies) -> Verdict:
    """The verdict.

    It is bad if a sample is a copy, or if more samples are above the threshold than images of unseen people
    are. It is never good if another number of this stage is beyond its limit, or if the discriminator was
    trained on all feature spaces.
    """
    copies, share = found.copies, found.numbers[0]
    judging = [number for number in found.numbers if not number.trained]
    total, count = share.n, copies.certain_count
    near = (
        f"{copies.above:,} of {total:,} samples are nearer to a training image than {MOST} images of "
        f"unseen people are (of unseen people's images {round(share.unseen.mean * total):,} would be)"
    )
    if count:
        text = (
            f"{count:,} of {total:,} samples {'is a copy' if count == 1 else 'are copies'} of training images"
        )
        return verdict(COPIES, "bad", f"{text}; {near}")
    if not share.within:
        return verdict(COPIES, "bad", f"Too near to training images: {near}")
    bound = f"{100 * copies.upper:.2g} % at most, with 95 % confidence"
    none = f"No copies ({bound}), also none {likeness.LOOKED_FOR}"
    if doubts := [number for number in judging if not number.within]:
        text = f"No copies were found, but {told_of(worst_of(doubts))} is beyond what unseen people get"
        return verdict(COPIES, "cannot tell", f"{text}; {near}")
    if {number.metric for number in found.numbers} != {number.metric for number in judging}:
        text = f"{none}; but the discriminator was trained on all feature spaces that could show memorisation"
        return verdict(COPIES, "cannot tell", f"{text}; {near}")
    if share.limit > VAGUE:
        limit = f"{100 * min(1, share.limit):.2g} %"
        text = (
            f"Too few held-out people: up to {limit} of such people's images would be too near. No sample is "
            "a copy"
        )
        return verdict(COPIES, "cannot tell", f"{text}; {near}")
    return verdict(COPIES, "good", f"{none}; {near}")


def cached_nearest(images: Tensor, references: Tensor, cache: Path) -> Nearest:
    """The reference most similar to each image. The cache keeps the result."""

    def compute() -> dict[str, np.ndarray]:
        found = Search(references).nearest(images)
        return {"similarity": found.similarity.numpy(), "index": found.index.numpy()}

    return cached(
        cache_path(cache, "nearest.npz", likeness.VERSION, images.numpy(), references.numpy()),
        compute,
        lambda kept: Nearest(torch.from_numpy(kept["similarity"]), torch.from_numpy(kept["index"])),
    )


def summary(
    found: Copies, theirs: Nearest, share: Number, reference: Reference, rows: np.ndarray
) -> dict[str, Any]:
    """The results in plain containers, with a histogram of similarities and the closest pairs."""
    similarity = found.nearest.similarity
    lowest = min(float(similarity.min()), float(theirs.similarity.min()))
    edges = np.linspace(lowest, 1, BINS + 1)

    def counts(values: Tensor) -> list[int]:
        return np.histogram(values.numpy().clip(lowest, 1), edges)[0].tolist()

    train = reference.train
    return {
        "samples": share.n,
        "threshold": found.threshold,
        "most": MOST,
        "above": found.above,
        "share": share.value,
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
