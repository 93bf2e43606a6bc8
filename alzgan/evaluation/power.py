"""The power of verdicts: how often they notice faults that are planted into images of unseen people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alzgan.device.streams import stream
from alzgan.evaluation.fidelity import INDEPENDENT, UNKNOWN, Sets, Values, mean_values, values_of
from alzgan.evaluation.numbers import Number
from alzgan.evaluation.reference import draw_group, who_of
from alzgan.evaluation.spaces import Space
from alzgan.evaluation.verdicts import judging
from alzgan.metrics.neighbours import DIVERSITY
from alzgan.metrics.record import FIDELITY, HELD_OUT, FeatureMetric, Question
from alzgan.metrics.sets import Features, Pair

DRAWS = 20  # sets with each fault
NOISE = 3  # deviations; most features of a real image are nearer to the mean
METHOD = (
    f"Each fault is planted into {DRAWS} groups of unseen people. For noise, some images get features that "
    f"are noise of {NOISE} times the features' deviation. For missing kinds of people, people are left out "
    "at one end of the direction in which the mean features of people differ most"
)


@dataclass(frozen=True)
class Fault:
    """A fault that is planted into a set.

    Attributes:
        question: its verdict should notice the fault.
        words: the fault's name in the verdict.
        noise: the share of images whose features are replaced by noise of `NOISE` deviations.
        missing: the share of people who are left out, at one end of the direction of largest difference.
    """

    question: Question
    words: str
    noise: float = 0.0
    missing: float = 0.0


FAULTS = (
    Fault(FIDELITY, "5 % noise", noise=0.05),
    Fault(FIDELITY, "15 % noise", noise=0.15),
    Fault(DIVERSITY, "a quarter of the kinds of people missing", missing=0.25),
    Fault(DIVERSITY, "half of the kinds of people missing", missing=0.5),
)


def noticed(
    sets: Sets, spaces: Sequence[Space], numbers: Sequence[Number], seed: int
) -> list[dict[str, Any]]:
    """Count the sets with each fault that have a deciding number beyond its limit.

    The first space orders the kinds of people, also if the discriminator was trained on it: only features of
    real people are used, and the order is the same for all candidates.

    Returns:
        One entry for each of `FAULTS`, with its "question" and "words", and "noticed" of "draws".
    """
    first = spaces[0].together(sets.pool)[0][0]
    order = kinds_in_order(first, who_of(sets.pool))
    asked = {fault.question for fault in FAULTS}
    limits = {(each.space, each.metric): each for each in judging(numbers) if each.metric.decides in asked}
    metrics = list(dict.fromkeys(metric for _, metric in limits if isinstance(metric, FeatureMetric)))
    found = {
        space.name: space.once(
            f"faults {sets.real} {seed}", partial(with_faults, space, sets, metrics, order, seed)
        )
        for space in spaces
        if space.name in {name for name, _ in limits}
    }

    def is_noticed(fault: Fault, draw: int) -> bool:
        return any(
            not limits[space, metric].accepts(value)
            for space, values in found.items()
            for (metric, _), value in values[fault][draw].items()
            if metric.decides == fault.question
        )

    return [
        {
            "question": fault.question.name,
            "words": fault.words,
            "noticed": sum(is_noticed(fault, draw) for draw in range(DRAWS)),
            "draws": DRAWS,
        }
        for fault in FAULTS
        if any(metric.decides == fault.question for metric in metrics)
    ]


def kinds_in_order(features: Features, people: np.ndarray) -> np.ndarray:
    """The names of the people, in order along the direction in which their mean features differ most."""
    names, who = np.unique(people, return_inverse=True)
    values = features.values.numpy()
    means = np.stack([values[who == person].mean(0) for person in range(len(names))])
    means -= means.mean(0)
    direction = np.linalg.svd(means, full_matrices=False)[2][0]
    return names[np.argsort(means @ direction, kind="stable")]


def with_faults(
    space: Space, sets: Sets, metrics: Sequence[FeatureMetric], order: np.ndarray, seed: int
) -> dict[Fault, list[Values]]:
    """The numbers of the sets with each fault beside held-out people; each is the mean over extractors."""
    found: dict[Fault, list[list[Values]]] = {fault: [] for fault in FAULTS}
    noise_count = max(round(fault.noise * len(sets.samples)) for fault in FAULTS)
    for held_out, pool in space.together(sets.held_out, sets.pool):
        people = pool.without_people() if sets.form == UNKNOWN else pool
        pair = Pair(held_out, people.with_others(noise_like(pool.values, noise_count, seed)))
        for fault in FAULTS:
            with_fault = pair.with_each(list(rows_with(fault, sets, order, seed)))
            found[fault].append([values_of(metrics, each, HELD_OUT) for each in with_fault])
    return {
        fault: [mean_values(list(draw)) for draw in zip(*several, strict=True)]
        for fault, several in found.items()
    }


def noise_like(values: Tensor, count: int, seed: int) -> Tensor:
    """Normal noise (count, F) with the mean of features (N, F) and `NOISE` times their deviation."""
    draws = stream(seed, "evaluate/noise").standard_normal((count, values.shape[1]))
    return values.mean(0) + NOISE * values.std(0) * torch.from_numpy(draws)


def rows_with(fault: Fault, sets: Sets, order: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """The rows of each set with the fault. Rows beyond the pool are those of the noise."""
    size, people = len(sets.samples), who_of(sets.pool)
    left_out = round(fault.missing * len(order))
    noise = len(sets.pool) + np.arange(round(fault.noise * size))
    for draw in range(DRAWS):
        ordered = order if draw % 2 else order[::-1]
        there = np.flatnonzero(np.isin(people, ordered[left_out:]))
        if sets.form != INDEPENDENT:
            there = there[draw_group(sets.pool.of(there), size, seed, "fault", draw)]
        kept = stream(seed, "evaluate/fault rows", draw).permutation(there)[: size - len(noise)]
        yield np.concatenate([kept, noise])
