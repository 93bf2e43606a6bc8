"""Two candidates beside the same unseen people: is one of them closer, or do they cover more of these people.

The test asks about these two generators. Whether the recipe of one is better, runs of several seeds answer.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alzgan.evaluation.fidelity import Sets
from alzgan.evaluation.numbers import DISTANCES
from alzgan.evaluation.reference import who_of
from alzgan.evaluation.spaces import Pair, Space
from alzgan.files import digest_of
from alzgan.metrics.distances import kernel
from alzgan.metrics.pairs import others
from alzgan.metrics.significance import LEVEL, holm, sign_flip
from alzgan.people.splits import NEEDED_PEOPLE

GROUPS = 40  # of people, at most: the test is hardly sharper with more
MANY = 4  # candidates; of more, each is compared with the best one only


class Contributions(NamedTuple):
    """What groups of held-out people, each with a share of the samples, contribute to a candidate's numbers.

    Attributes:
        judges: a digest of the held-out images and their groups. Numbers beside other ones do not compare.
        values: by metric and space, (G,).
    """

    judges: str
    values: dict[tuple[str, str], np.ndarray]


NO_CONTRIBUTIONS = Contributions("", {})


def contributions(sets: Sets, spaces: Sequence[Space]) -> Contributions:
    """The contributions to kernel distance, recall and coverage, in each space the means over its extractors.

    Held-out people are dealt into G groups, and so are the samples (their people, where they are known). A
    group's contribution is a pseudo-value of the jackknife (Tukey 1958): the number, plus G - 1 times how far
    the number without the group is below the mean of all such. The contributions vary by both sources of
    chance: who was held out, and which samples were drawn. A test that takes the samples as given tells two
    sets of one generator apart (in 42 % of simulated pairs of a poor one). The training and the radii are
    taken as given; samples of unknown people count as independent.
    """
    sides = sets.held_out, sets.samples
    count = min(GROUPS, *(side.person_count() for side in sides))
    if count < NEEDED_PEOPLE:  # the samples may show fewer
        return NO_CONTRIBUTIONS
    judges = digest_of(sets.held_out.pixels, repr((count, who_of(sets.held_out).tolist())))
    groups = [in_groups(who_of(side), count) for side in sides]
    values = {}
    for space in spaces:
        found = [pseudo_values(Pair(*each), *groups) for each in space.together(*sides)]
        values |= {(metric, space.name): np.mean([each[metric] for each in found], 0) for metric in found[0]}
    return Contributions(judges, values)


def in_groups(who: np.ndarray, count: int) -> Tensor:
    """Which of so many groups (N, G) each image is in, as ones and zeros; people are dealt in turns."""
    return F.one_hot(torch.from_numpy(np.unique(who, return_inverse=True)[1] % count), count).double()


def pseudo_values(pair: Pair, people: Tensor, samples: Tensor) -> dict[str, np.ndarray]:
    """The pseudo-values (G,) of samples, the pair's second set, beside held-out people.

    Their mean is the number itself: the mean of Tukey's, corrected for bias, is much noisier for shares.
    The kernel distance is without the term of the held-out people alone, which all candidates share.

    Args:
        pair: of held-out people (N images) and samples (M).
        people: (N, G) which group each image is in.
        samples: (M, G) the same.
    """
    real, fake = pair.one, pair.two
    pairs = others(fake.people, len(fake), fake.values.device).double()
    between = people.T @ kernel(real.values, fake.values) @ samples
    numbers = {
        "kernel_distance": means_without(samples.T @ fake.kernels @ samples, samples.T @ pairs @ samples)
        - 2 * means_without(between, torch.outer(people.sum(0), samples.sum(0))),
        "recall": shares_without(pair.distances < fake.radii[1], people, samples),
        "coverage": shares_without(pair.distances < real.radii[1][:, None], people, samples),
    }
    count = people.shape[1]
    return {
        metric: (values[0] + (count - 1) * (values[1:].mean() - values[1:])).numpy()
        for metric, values in numbers.items()
    }


def means_without(sums: Tensor, weights: Tensor) -> Tensor:
    """Means (1 + G,) over pairs of groups: of all, then of all without each group.

    Args:
        sums: (G, G) over the pairs.
        weights: (G, G) how many there are.
    """
    whole, count = (
        torch.cat([table.sum()[None], table.sum() - table.sum(0) - table.sum(1) + table.diagonal()])
        for table in (sums, weights)
    )
    return whole / count


def shares_without(inside: Tensor, people: Tensor, samples: Tensor) -> Tensor:
    """The share (1 + G,) of images that samples cover: of all, then of all without each group.

    Args:
        inside: (N, M) which sample covers which image.
        people: (N, G) which group each image is in.
        samples: (M, G) the same of samples.
    """
    covering = inside.double() @ samples
    every = covering.sum(1, keepdim=True)
    kept = 1 - people
    without = ((every - covering > 0) * kept).sum(0) / kept.sum(0)
    return torch.cat([(every > 0).double().mean()[None], without])


def compared(candidates: Sequence[Contributions], seed: int) -> list[dict[str, Any]]:
    """Which of two candidates is better, by each number that both have, for the pairs that `shown` chooses.

    The p-value is that of `sign_flip` over the groups, after Holm over all numbers and all pairs, also those
    that are not shown: of candidates of one law, any is called better in at most about 5 % of evaluations.

    Returns:
        for each pair and number: "one" and "two", indices of the candidates; "metric" and "space"; "p"; and
        "better", the index of the better one, None where p is not below 5 %.
    """
    everyone = list(combinations(range(len(candidates)), 2))
    tests = [
        (one, two, *key, candidates[one].values[key] - candidates[two].values[key])
        for one, two in shown(candidates)
        if candidates[one].judges == candidates[two].judges
        for key in candidates[one].values.keys() & candidates[two].values.keys()
    ]
    tests.sort(key=lambda test: test[:4])
    left_out = (len(everyone) - len(shown(candidates))) * max(len(each.values) for each in candidates)
    p_values = [sign_flip(differences, seed) for *_, differences in tests]
    adjusted = holm(np.array([*p_values, *[1.0] * left_out]))
    rows = []
    for (one, two, metric, space, differences), p in zip(tests, adjusted[: len(tests)].tolist(), strict=True):
        lower = differences.mean() < 0
        better = (one if lower == (metric in DISTANCES) else two) if p < LEVEL else None
        rows.append({"one": one, "two": two, "metric": metric, "space": space, "p": p, "better": better})
    return rows


def shown(candidates: Sequence[Contributions]) -> list[tuple[int, int]]:
    """All pairs of candidates; of more than `MANY`, those of the one that is nearest in the first space."""
    everyone = list(combinations(range(len(candidates)), 2))
    if len(candidates) <= MANY:
        return everyone

    def distance(index: int) -> float:
        values = candidates[index].values
        return next((float(each.mean()) for (name, _), each in values.items() if name in DISTANCES), np.inf)

    best = min(range(len(candidates)), key=distance)
    return [pair for pair in everyone if best in pair]
