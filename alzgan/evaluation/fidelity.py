"""Do samples look like real scans, and are they as varied: distances and neighbours in feature spaces."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from alzgan.data.features import digest_of
from alzgan.evaluation.numbers import DISTANCES, Number, unseen_of
from alzgan.evaluation.reference import Images, Reference, draw_group, widening
from alzgan.evaluation.spaces import Features, K, Pair, Space
from alzgan.metrics.distances import at_infinity
from alzgan.metrics.diversity import inception_score
from alzgan.people.splits import NEEDED_PEOPLE
from alzgan.text import printable

SHARES_OF_IMAGES = ("precision", "recall", "coverage")
SHARES = (0.25, 0.5, 0.75, 1.0)  # of N, at which the distances that depend on N are computed
CURVE_DRAWS = 3  # groups of unseen people of whom a curve is the mean
AGAINST_TRAIN = 5  # groups of people trained on that the samples are compared with
HELD_OUT, TRAIN = "held-out", "train"

Values = dict[Any, float]  # by metric, or by metric and the people that it compares with


class Sets(NamedTuple):
    """What is compared: as many images of each, whole people where they are real.

    Attributes:
        samples: what is judged.
        held_out: of people who were not trained on.
        pool: of people who were, from whom the groups are drawn.
        groups: rows of the pool, each of as many images as there are samples.
        widen: see `alzgan.evaluation.reference.widening`.
    """

    samples: Images
    held_out: Images
    pool: Images
    groups: list[np.ndarray]
    widen: float

    @property
    def people(self) -> dict[str, int]:
        """How many are in each reference."""
        return {HELD_OUT: self.held_out.person_count(), TRAIN: self.pool.of(self.groups[0]).person_count()}

    @property
    def real(self) -> str:
        """A digest of all but the samples: what unseen people get depends on nothing else."""
        people = [
            None if each.people is None else each.people.tolist() for each in (self.held_out, self.pool)
        ]
        pixels = torch.cat([self.held_out.pixels, self.pool.pixels])
        return digest_of(pixels, repr((len(self.held_out), people, [rows.tolist() for rows in self.groups])))


def sets_of(
    samples: Images, reference: Reference, size: int, pool: int, draws: int, seed: int
) -> Sets | None:
    """Choose what is compared; None where there are too few people.

    Args:
        samples: what is judged.
        reference: the real images.
        size: images on each side, at most.
        pool: images of the people from whom groups are drawn, at most.
        draws: number of groups.
        seed: of the draws.
    """
    train, held_out = reference.train, reference.held_out
    drawn_from = train.of(draw_group(train, pool, seed, "pool"))
    size = min(size, len(held_out), len(samples), len(drawn_from) // 2)
    unseen = held_out.of(draw_group(held_out, size, seed, "held-out"))
    groups = [draw_group(drawn_from, size, seed, "group", draw) for draw in range(draws)]
    people = drawn_from.person_count()
    drawn = max((drawn_from.of(rows).person_count() for rows in groups), default=0)
    first = samples.of(np.arange(size))
    compared = [first, unseen, *(drawn_from.of(rows) for rows in groups)]
    few = unseen.person_count() < NEEDED_PEOPLE or people - drawn < NEEDED_PEOPLE
    if few or any(images.others() < K for images in compared):
        return None
    return Sets(first, unseen, drawn_from, groups, widening(people, drawn))


def fidelity(
    sets: Sets, spaces: list[Space], seed: int, label: str | None = None, whole: bool = True
) -> list[Number]:
    """All numbers of the samples in every space, beside unseen people's.

    Args:
        sets: what is compared.
        spaces: in which.
        seed: of the draws, for the record.
        label: of the class; None: of all.
        whole: with those that need as many images as features have dimensions.
    """
    numbers = []
    for space in spaces:
        triples = space.together(sets.samples, sets.held_out, sets.pool)
        samples = mean_values([of_samples(*each, sets.groups, whole) for each in triples])
        bar = f"comparing in {space.name} {printable(label or '')}".strip()
        unseen = space.once(
            f"groups {sets.real} {whole}", partial(of_unseen, triples, sets.groups, whole, bar)
        )
        numbers += [
            Number(
                stage="fidelity",
                metric=metric,
                space=space.name,
                extractor=space.extractor,
                against=people,
                label=label,
                value=value,
                n=len(sets.samples),
                people=sets.people[people],
                unseen=unseen_of(
                    [draw[metric, people] for draw in unseen],
                    sets.widen,
                    **({"grain": 1 / len(sets.samples), "most": 1} if metric in SHARES_OF_IMAGES else {}),
                ),
                better="lower" if metric in DISTANCES else "higher",
                seed=seed,
            )
            for (metric, people), value in samples.items()
        ]
    return numbers


def of_samples(
    samples: Features, held_out: Features, pool: Features, groups: list[np.ndarray], whole: bool
) -> Values:
    """What samples get beside the held-out people, and in the mean beside groups of those trained on."""
    trained = []
    for rows in groups[:AGAINST_TRAIN]:
        pair = Pair(samples, pool.of(rows))
        trained.append(against(TRAIN, (pair.frechet_and_mind() if whole else {}) | pair.one_in_two()))
    pair = Pair(samples, held_out)
    found = (pair.frechet_and_mind() | kinds(samples) if whole else {}) | pair.one_in_two()
    return against(HELD_OUT, found) | mean_values(trained)


def of_unseen(
    triples: list[tuple[Features, ...]], groups: list[np.ndarray], whole: bool, bar: str
) -> list[Values]:
    """What each group of unseen people gets, in the mean over a space's extractors.

    People of the pool, who are other people than those held out, are unseen people in the samples' place
    where the reference is held out; where it is of the pool, those held out are.
    """
    found: list[list[Values]] = [[] for _ in groups]
    with tqdm(total=len(triples) * len(groups), desc=bar, unit=" groups", leave=False) as progress:
        for _, held_out, pool in triples:
            for values, rows in zip(found, groups, strict=True):
                group = pool.of(rows)
                pair = Pair(held_out, group)
                by_n = pair.frechet_and_mind() if whole else {}
                values.append(
                    against(HELD_OUT, by_n | pair.two_in_one() | (kinds(group) if whole else {}))
                    | against(TRAIN, by_n | pair.one_in_two())
                )
                progress.update()
    return [mean_values(values) for values in found]


def against(people: str, values: dict[str, float]) -> Values:
    """Numbers with whom they compare with."""
    return {(metric, people): value for metric, value in values.items()}


def kinds(features: Features) -> dict[str, float]:
    """The numbers of a set by itself."""
    found = {"vendi": features.vendi}
    probabilities = features.extractor.probabilities(features.values)
    if probabilities is not None:
        found["inception_score"] = inception_score(probabilities)
    return found


def mean_values(several: list[Values]) -> Values:
    """The mean of each number."""
    return {key: float(np.mean([values[key] for values in several])) for key in several[0]}


def curves(sets: Sets, spaces: list[Space]) -> list[dict[str, Any]]:
    """Fréchet distance and MIND to the held-out people at several N, and where they head for."""
    counts = [max(2, round(share * len(sets.samples))) for share in SHARES]
    return [curve for space in spaces for curve in curves_in(space, sets, counts)]


def curves_in(space: Space, sets: Sets, counts: list[int]) -> Iterator[dict[str, Any]]:
    """Those of one space."""
    triples = space.together(sets.samples, sets.held_out, sets.pool)

    def at_counts(pairs: Callable[..., list[Pair]]) -> list[Values]:
        return [
            mean_values([pair.frechet_and_mind() for each in triples for pair in pairs(*each, count)])
            for count in counts
        ]

    def with_groups(_: Features, held_out: Features, pool: Features, count: int) -> list[Pair]:
        few = held_out.first(count)
        return [Pair(few, pool.of(rows[:count])) for rows in sets.groups[:CURVE_DRAWS]]

    ours = at_counts(lambda samples, held_out, _, count: [Pair(held_out.first(count), samples.first(count))])
    theirs = space.once(f"curve {sets.real} {counts}", lambda: at_counts(with_groups))
    for metric in ("frechet", "mind"):
        lines = [[values[metric] for values in side] for side in (ours, theirs)]
        yield {
            "metric": metric,
            "space": space.name,
            "n": counts,
            "samples": lines[0],
            "unseen": lines[1],
            "samples_at_infinity": at_infinity(counts, lines[0]),
            "unseen_at_infinity": at_infinity(counts, lines[1]),
        }
