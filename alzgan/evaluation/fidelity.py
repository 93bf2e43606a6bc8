"""Do samples look like real scans, and are they as varied: distances and neighbours in feature spaces."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from alzgan.device.streams import stream
from alzgan.evaluation.numbers import DISTANCES, Number, Unseen, unseen_of
from alzgan.evaluation.reference import Images, Reference, draw_group, who_of, widening
from alzgan.evaluation.spaces import Features, K, Pair, Space
from alzgan.files import digest_of
from alzgan.metrics.distances import at_infinity
from alzgan.metrics.diversity import inception_score
from alzgan.people.splits import NEEDED_PEOPLE
from alzgan.text import printable

SHARES = (0.25, 0.5, 0.75, 1.0)  # of N, at which the distances that depend on N are computed
REDRAWN = ("kernel_distance", "precision", "density")  # see `alzgan.evaluation.spaces.Pair.redrawn`
LONG_DRAWS = 20  # groups of unseen people of whom Fréchet distance, MIND and Vendi score are computed
IMAGE_DRAWS = 50  # sets of independent images
CURVE_DRAWS = 3  # groups of unseen people of whom a curve is the mean
AGAINST_TRAIN = 5  # groups of people trained on that the samples are compared with
HELD_OUT, TRAIN = "held-out", "train"

# How samples come. Independent ones vary less than whole people do. Where nobody knows who is in the samples,
# they may be stacks of slices, near neighbours of each other: unseen people then stand in their place without
# names, too.
INDEPENDENT, PEOPLE, UNKNOWN = FORMS = "independent", "people", "unknown"

Values = dict[Any, float]  # by metric, or by metric and the people that it compares with


class Sets(NamedTuple):
    """What is compared: as many images of each, whole people where they are real.

    Attributes:
        samples: what is judged.
        held_out: of people who were not trained on.
        pool: of people who were, from whom the groups are drawn.
        groups: rows of the pool, each of as many images as there are samples.
        drawn: people in a group, at most.
        form: how the samples come, one of `FORMS`.
    """

    samples: Images
    held_out: Images
    pool: Images
    groups: list[np.ndarray]
    drawn: int
    form: str

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
        rows = [rows.tolist() for rows in self.groups]
        return digest_of(pixels, repr((len(self.held_out), people, rows, self.form)))

    @property
    def widen(self) -> float:
        """By how much people drawn anew vary more than the groups, which share people."""
        return widening(self.pool.person_count(), self.drawn)


def sets_of(
    samples: Images,
    reference: Reference,
    size: int,
    pool: int,
    draws: int,
    seed: int,
    form: str = PEOPLE,
) -> Sets | None:
    """Choose what is compared; None where there are too few people.

    Args:
        samples: what is judged.
        reference: the real images.
        size: images on each side, at most.
        pool: images of the people from whom groups are drawn, at most.
        draws: number of groups.
        seed: of the draws.
        form: how the samples come, one of `FORMS`.
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
    return Sets(first, unseen, drawn_from, groups, drawn, form)


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
            f"groups {sets.real} {whole} {seed}", partial(of_unseen, triples, sets, whole, seed, bar)
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
                unseen=unseen[metric, people],
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
    pair = Pair(held_out, samples)
    found = (pair.frechet_and_mind() | kinds(samples) if whole else {}) | pair.two_in_one()
    return against(HELD_OUT, found) | mean_values(trained)


def of_unseen(
    triples: list[tuple[Features, ...]], sets: Sets, whole: bool, seed: int, bar: str
) -> dict[Any, Unseen]:
    """What unseen people get, in the mean over a space's extractors.

    Where samples are compared with held-out people, groups of the pool stand in the samples' place. Where
    they are compared with the pool, the held-out people do. Whole people stand for samples of people. For
    independent samples, independent images of the pool do: to what varies between draws of those comes how
    little the pool's people tell of all people.
    """
    people, drawn, size = sets.pool.person_count(), sets.drawn, len(sets.samples)
    groups = draws_of(triples, sets, sets.groups, Drawn(who_of(sets.pool), drawn, seed), whole, bar)

    def replaced(key: Any) -> bool:
        return key[0] in REDRAWN and key[1] == HELD_OUT

    found = {
        key: unseen_of(values, key[0], people, widening(people, drawn, replaced(key)), size)
        for key, values in groups.items()
    }
    if sets.form == INDEPENDENT:
        orders = [
            stream(seed, "evaluate/images", draw).permutation(len(sets.pool)) for draw in range(IMAGE_DRAWS)
        ]
        units = Drawn(np.arange(len(sets.pool)), size, seed)
        images = draws_of(triples, sets, [order[:size] for order in orders], units, False, bar)
        for key, values in images.items():
            if key[1] == HELD_OUT:
                pool_tells = (drawn / (people if replaced(key) else people - drawn)) ** 0.5
                found[key] = unseen_of(values, key[0], people, n=size, beside=(groups[key], pool_tells))
    return found


class Drawn(NamedTuple):
    """What `Pair.redrawn` draws with replacement: so many people, or images, of those in each row."""

    units: np.ndarray
    count: int
    seed: int


def draws_of(
    triples: list[tuple[Features, ...]],
    sets: Sets,
    groups: list[np.ndarray],
    drawn: Drawn,
    whole: bool,
    bar: str,
) -> dict[Any, np.ndarray]:
    """What each group of the pool gets (D,), by number; those of `REDRAWN` are of many more draws."""
    found: dict[Any, list[list[float]]] = defaultdict(list)  # by number, then extractor
    with tqdm(total=len(triples) * len(groups), desc=bar, unit=" groups", leave=False) as progress:
        for _, held_out, pool in triples:
            values: dict[Any, list[float]] = defaultdict(list)
            for each in of_groups(held_out, pool, sets, groups, whole):
                for key, value in each.items():
                    values[key].append(value)
                progress.update()
            stand_ins = pool.without_names() if sets.form == UNKNOWN else pool
            values |= against(HELD_OUT, Pair(held_out, stand_ins).redrawn(*drawn))
            for key, several in values.items():
                found[key].append(several)
    return {key: np.mean(several, 0) for key, several in found.items()}


def of_groups(
    held_out: Features, pool: Features, sets: Sets, groups: list[np.ndarray], whole: bool
) -> Iterator[Values]:
    """The numbers of each group; of the first ones also those that take long."""
    unknown = sets.form == UNKNOWN
    stand_ins, others = (each.without_names() if unknown else each for each in (pool, held_out))
    ours, theirs = Pair(held_out, stand_ins), Pair(others, pool)
    for draw, rows in enumerate(groups):
        as_samples = ours.with_rows(rows)
        long = whole and draw < LONG_DRAWS
        by_n = as_samples.frechet_and_mind() if long else {}
        yield against(
            HELD_OUT, by_n | as_samples.two_in_one() | (kinds(as_samples.two) if long else {})
        ) | against(TRAIN, by_n | theirs.with_rows(rows).one_in_two())


def against(people: str, values: dict[str, Any]) -> dict[Any, Any]:
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
