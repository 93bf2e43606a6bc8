"""The comparison of two candidates by their distance to, and coverage of, the same held-out people.

The test is about two trained generators. Only runs with several seeds compare two recipes.
"""

from collections.abc import Sequence, Set
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from alzgan.evaluation.fidelity import METRICS, Sets
from alzgan.evaluation.reference import who_of
from alzgan.evaluation.spaces import Space
from alzgan.files import digest_of
from alzgan.metrics.record import FeatureMetric, told
from alzgan.metrics.resampling import Groups, in_groups
from alzgan.metrics.sets import Pair
from alzgan.metrics.significance import LEVEL, holm, sign_flip
from alzgan.people.splits import NEEDED_PEOPLE

GROUPS = 40  # the largest number of groups; more add little power
MANY = 4  # with more candidates, each is compared with the best one only


class Contributions(NamedTuple):
    """The contributions of groups, each of held-out people and samples, to a candidate's numbers.

    Attributes:
        judges: a digest of the held-out images and groups. Only candidates with equal digests are compared.
        values: the contributions (G,) by metric and space.
        trained: the spaces that the candidate's discriminator was trained on.
    """

    judges: str
    values: dict[tuple[FeatureMetric, str], np.ndarray]
    trained: Set[str] = frozenset()


NO_CONTRIBUTIONS = Contributions("", {})


def contributions(
    sets: Sets, spaces: Sequence[Space], metrics: Sequence[FeatureMetric] = METRICS
) -> Contributions:
    """The contributions to the metrics by which candidates are compared, in each space.

    Held-out people are divided into G groups, and so are the generated images (by person, if known). The
    contribution of a group is a pseudo-value of the jackknife (Tukey 1958): the number, plus G - 1 times the
    difference between the mean of the numbers without one group and the number without this group. The
    contributions vary by both sources of chance: who was held out, and which images were generated. A test
    that ignores the second source finds a difference between two sets of images of one generator (in 42 % of
    simulated pairs of a poor one). The trained generator and the radii of neighbourhoods are taken as given.
    Generated images of unknown people count as independent.
    """
    sides = sets.held_out, sets.samples
    count = min(GROUPS, *(side.person_count() for side in sides))
    if count < NEEDED_PEOPLE:  # the samples may show fewer people than are held out
        return NO_CONTRIBUTIONS
    judges = digest_of(sets.held_out.pixels.numpy(), repr((count, who_of(sets.held_out).tolist())))
    groups = Groups(*(in_groups(who_of(side), count) for side in sides))
    values: dict[tuple[FeatureMetric, str], np.ndarray] = {}
    for space in spaces:
        together = space.together(*sides)
        found = [pseudo_values(metrics, Pair(held_out, samples), groups) for held_out, samples in together]
        values |= {(metric, space.name): np.mean([each[metric] for each in found], 0) for metric in found[0]}
    return Contributions(judges, values)


def pseudo_values(
    metrics: Sequence[FeatureMetric], pair: Pair, groups: Groups
) -> dict[FeatureMetric, np.ndarray]:
    """The pseudo-values (G,) of the pair's fake set for each metric by which candidates are compared.

    Their mean is the number itself. Tukey's pseudo-values have a mean that is corrected for bias, which is
    noisier for shares.
    """
    count = groups.real.shape[1]
    found = {metric: metric.without(pair, groups) for metric in metrics if metric.without is not None}
    return {
        metric: (values[0] + (count - 1) * (values[1:].mean() - values[1:])).numpy()
        for metric, values in found.items()
    }


def compared(candidates: Sequence[Contributions], seed: int) -> list[dict[str, Any]]:
    """Which of two candidates is better by each number that both have.

    The p-value is that of a sign-flip test (Fisher 1935) over the groups. It is corrected after Holm (1979)
    for all numbers and all pairs, including pairs that are not shown. If all candidates are equally good, at
    most about 5 % of evaluations call any of them better. Numbers in a space that one of the two
    discriminators was trained on are not tested.

    Returns:
        One entry for each pair and number, with "one" and "two", the indices of the candidates; "metric" and
        "space"; "trained", whether one of the discriminators was trained on the space; "p", None if so; and
        "better", the index of the better candidate, or None if p is not below 5 %.
    """
    everyone = list(combinations(range(len(candidates)), 2))
    tests = [
        (one, two, *key, candidates[one].values[key] - candidates[two].values[key])
        for one, two in shown(candidates)
        if candidates[one].judges == candidates[two].judges
        for key in candidates[one].values.keys() & candidates[two].values.keys()
    ]
    tests.sort(key=lambda test: (*test[:2], test[2].name, test[3]))
    left_out = (len(everyone) - len(shown(candidates))) * max(len(each.values) for each in candidates)
    p_values = {
        (one, two, metric, space): sign_flip(differences, seed)
        for one, two, metric, space, differences in tests
        if space not in candidates[one].trained | candidates[two].trained
    }
    adjusted = holm(np.array([*p_values.values(), *[1.0] * left_out])).tolist()
    tested = dict(zip(p_values, adjusted, strict=False))
    rows = []
    for one, two, metric, space, differences in tests:
        p = tested.get((one, two, metric, space))
        lower = differences.mean() < 0
        better = one if lower == (metric.better == "lower") else two
        rows.append(
            {
                "one": one,
                "two": two,
                "metric": metric.name,
                "space": space,
                "trained": p is None,
                "p": p,
                "better": None if p is None or p >= LEVEL else better,
            }
        )
    return rows


def shown(candidates: Sequence[Contributions]) -> list[tuple[int, int]]:
    """All pairs of candidates; with more than `MANY`, only the pairs with the best.

    The best is so in the first space that no discriminator was trained on.
    """
    everyone = list(combinations(range(len(candidates)), 2))
    if len(candidates) <= MANY:
        return everyone
    trained = frozenset[str]().union(*(each.trained for each in candidates))

    def distance(index: int) -> float:
        values = candidates[index].values
        distances = (
            each.mean()
            for (metric, space), each in values.items()
            if metric.better == "lower" and space not in trained
        )
        return float(next(distances, np.inf))

    best = min(range(len(candidates)), key=distance)
    return [pair for pair in everyone if best in pair]


METHOD = (
    f"{told(contributions, 1)} There are at most {GROUPS} groups. {told(compared, 1)} With more than {MANY} "
    "candidates, each is compared with the one that is nearest to held-out people in the first space "
    "that no discriminator was trained on"
)
