"""Do samples look like real scans, and are they as varied: metrics of features, in feature spaces."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from alzgan.device.streams import stream
from alzgan.evaluation.numbers import Number, Unseen, unseen_of
from alzgan.evaluation.reference import Images, Reference, draw_group, who_of, widening
from alzgan.evaluation.spaces import Space
from alzgan.files import digest_of
from alzgan.metrics import distances, diversity, neighbours
from alzgan.metrics.record import HELD_OUT, TRAIN, FeatureMetric, told
from alzgan.metrics.resampling import REDRAWS, Redraws
from alzgan.metrics.sets import Features, Pair
from alzgan.people.splits import NEEDED_PEOPLE
from alzgan.text import printable

METRICS = (
    *(distances.FRECHET, distances.MIND, diversity.VENDI, diversity.INCEPTION_SCORE),
    distances.KERNEL_DISTANCE,
    *neighbours.METRICS,
)
SHARES = (0.25, 0.5, 0.75, 1.0)  # of N, at which the metrics that depend on N are computed
LONG_DRAWS = 20  # groups of unseen people of whom slow metrics are computed
IMAGE_DRAWS = 50  # sets of independent images
CURVE_DRAWS = 3  # groups of unseen people of whom a curve is the mean
AGAINST_TRAIN = 5  # groups of people trained on that the samples are compared with

# How samples come. Independent ones vary less than whole people do. Where nobody knows who is in the samples,
# they may be stacks of slices, near neighbours of each other: unseen people then stand in their place without
# names, too.
INDEPENDENT, PEOPLE, UNKNOWN = FORMS = "independent", "people", "unknown"

Key = tuple[FeatureMetric, str]  # a metric and the people that it compares with
Values = dict[Key, float]


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
    if few or any(images.others() < neighbours.K for images in compared):
        return None
    return Sets(first, unseen, drawn_from, groups, drawn, form)


def fidelity(
    sets: Sets,
    spaces: list[Space],
    seed: int,
    label: str | None = None,
    whole: bool = True,
    metrics: Sequence[FeatureMetric] = METRICS,
) -> list[Number]:
    """All numbers of the samples in every space, beside unseen people's."""
    metrics = [metric for metric in metrics if whole or not metric.slow]
    numbers = []
    for space in spaces:
        triples = space.together(sets.samples, sets.held_out, sets.pool)
        samples = mean_values([of_samples(metrics, *each, sets.groups) for each in triples])
        bar = f"comparing in {space.name} {printable(label or '')}".strip()
        unseen = space.once(
            f"groups {sets.real} {whole} {seed}", partial(of_unseen, metrics, triples, sets, seed, bar)
        )
        numbers += [
            Number(
                metric=metric,
                space=space.name,
                extractor=space.extractor,
                against=people,
                label=label,
                value=value,
                n=len(sets.samples),
                people=sets.people[people],
                unseen=unseen[metric, people],
                seed=seed,
            )
            for (metric, people), value in samples.items()
        ]
    return numbers


def methods(metrics: Sequence[FeatureMetric], forms: Collection[str]) -> str:
    """How numbers of features stand beside those of unseen people, for the report."""
    redrawn, slow = (
        ", ".join(metric.words for metric in metrics if chosen(metric))
        for chosen in (lambda metric: metric.redrawn, lambda metric: metric.slow)
    )
    text = (
        "Slices of one person are nearly one picture, so the person is the unit throughout. People were "
        "dealt to training and held-out parts as wholes. Each number of the samples stands beside the same "
        "number for unseen people: groups of real people, drawn at random and as whole people, take the "
        "samples' place at the same number of images N. Compared with held-out people, these groups are of "
        "the training part. Compared with training people, they are those held out; the number is then a "
        f"mean over {AGAINST_TRAIN} groups of the training part. {told(widening, 1)} Groups are drawn "
        "without replacement"
    )
    if redrawn:
        text += f"; for numbers that are sums over people or pairs of them ({redrawn}) {Redraws.method}"
    text += (
        f". Neighbourhoods reach to the {neighbours.K}th nearest image of another person, since the nearest "
        "ones are of the same person"
    )
    if slow:
        text += f". What takes long ({slow}) is found of the first {LONG_DRAWS} groups"
    if INDEPENDENT in forms:
        text += (
            ". A generator's samples are independent. Single images of the training part stand in "
            f"their place: {IMAGE_DRAWS} sets, drawn without replacement, or, for the sums, images drawn "
            f"{REDRAWS:,} times with replacement. How little these people tell of all people is added to "
            "their variance"
        )
    if UNKNOWN in forms:
        text += (
            ". Where nobody knows who is in the samples they may be stacks of slices, so unseen people then "
            "stand in their place without names"
        )
    return text


def values_of(metrics: Sequence[FeatureMetric], pair: Pair, people: str) -> Values:
    """What a pair gets, by those metrics that compare with such people and that its space has."""
    found = {(metric, people): metric.compute(pair) for metric in metrics if people in metric.against}
    return {key: value for key, value in found.items() if value is not None}


def of_samples(
    metrics: Sequence[FeatureMetric],
    samples: Features,
    held_out: Features,
    pool: Features,
    groups: list[np.ndarray],
) -> Values:
    """What samples get beside the held-out people, and in the mean beside groups of those trained on."""
    trained = [
        values_of(metrics, Pair(samples, pool.of(rows)).turned(), TRAIN) for rows in groups[:AGAINST_TRAIN]
    ]
    return values_of(metrics, Pair(held_out, samples), HELD_OUT) | mean_values(trained)


def of_unseen(
    metrics: Sequence[FeatureMetric],
    triples: list[tuple[Features, ...]],
    sets: Sets,
    seed: int,
    bar: str,
) -> dict[Key, Unseen]:
    """What unseen people get, in the mean over a space's extractors.

    Where samples are compared with held-out people, groups of the pool stand in the samples' place. Where
    they are compared with the pool, the held-out people do. Whole people stand for samples of people. For
    independent samples, independent images of the pool do: to what varies between draws of those comes how
    little the pool's people tell of all people.
    """
    people, drawn, size = sets.pool.person_count(), sets.drawn, len(sets.samples)
    groups = draws_of(metrics, triples, sets, sets.groups, Redraws(who_of(sets.pool), drawn, seed), bar)

    def replaced(key: Key) -> bool:
        return key[0].redrawn is not None and key[1] == HELD_OUT

    found = {
        key: unseen_of(values, key[0], people, widening(people, drawn, replaced(key)), size)
        for key, values in groups.items()
    }
    if sets.form == INDEPENDENT:
        orders = [
            stream(seed, "evaluate/images", draw).permutation(len(sets.pool)) for draw in range(IMAGE_DRAWS)
        ]
        redraws = Redraws(np.arange(len(sets.pool)), size, seed)
        fast = [metric for metric in metrics if not metric.slow]
        images = draws_of(fast, triples, sets, [order[:size] for order in orders], redraws, bar)
        for key, values in images.items():
            if key[1] == HELD_OUT:
                pool_tells = (drawn / (people if replaced(key) else people - drawn)) ** 0.5
                found[key] = unseen_of(values, key[0], people, n=size, beside=(groups[key], pool_tells))
    return found


def draws_of(
    metrics: Sequence[FeatureMetric],
    triples: list[tuple[Features, ...]],
    sets: Sets,
    groups: list[np.ndarray],
    redraws: Redraws,
    bar: str,
) -> dict[Key, np.ndarray]:
    """What each group of the pool gets (D,), by number; some numbers are of many more draws, `redraws`."""
    found: dict[Key, list[np.ndarray]] = defaultdict(list)  # by number, then extractor
    with tqdm(total=len(triples) * len(groups), desc=bar, unit=" groups", leave=False) as progress:
        for _, held_out, pool in triples:
            values: dict[Key, Any] = defaultdict(list)
            for each in of_groups(metrics, held_out, pool, sets, groups):
                for key, value in each.items():
                    values[key].append(value)
                progress.update()
            pair = Pair(held_out, pool.without_names() if sets.form == UNKNOWN else pool)
            for metric in metrics:
                if metric.redrawn is not None:
                    values[metric, HELD_OUT] = metric.redrawn(pair, redraws)
            for key, several in values.items():
                found[key].append(several)
    return {key: np.mean(several, 0) for key, several in found.items()}


def of_groups(
    metrics: Sequence[FeatureMetric],
    held_out: Features,
    pool: Features,
    sets: Sets,
    groups: list[np.ndarray],
) -> Iterator[Values]:
    """The numbers of each group; of the first ones also those that take long."""
    unknown = sets.form == UNKNOWN
    stand_ins, others = (each.without_names() if unknown else each for each in (pool, held_out))
    ours, theirs = Pair(held_out, stand_ins), Pair(others, pool)
    for draw, rows in enumerate(groups):
        chosen = [metric for metric in metrics if draw < LONG_DRAWS or not metric.slow]
        as_samples = ours.with_rows(rows)
        as_real = theirs.with_rows(rows) if unknown else as_samples
        yield values_of(chosen, as_samples, HELD_OUT) | values_of(chosen, as_real.turned(), TRAIN)


def mean_values(several: list[Values]) -> Values:
    """The mean of each number."""
    return {key: float(np.mean([values[key] for values in several])) for key in several[0]}


def curves(
    sets: Sets, spaces: list[Space], metrics: Sequence[FeatureMetric] = METRICS
) -> list[dict[str, Any]]:
    """The distances that depend on N at several N, beside held-out people, and where they head for."""
    counts = [max(2, round(share * len(sets.samples))) for share in SHARES]
    metrics = [metric for metric in metrics if metric.by_n]
    return [curve for space in spaces for curve in curves_in(space, sets, counts, metrics)]


def curves_in(
    space: Space, sets: Sets, counts: list[int], metrics: Sequence[FeatureMetric]
) -> Iterator[dict[str, Any]]:
    """Those of one space."""
    triples = space.together(sets.samples, sets.held_out, sets.pool)

    def at_counts(pairs: Callable[..., list[Pair]]) -> list[Values]:
        return [
            mean_values(
                [values_of(metrics, pair, HELD_OUT) for each in triples for pair in pairs(*each, count)]
            )
            for count in counts
        ]

    def with_groups(_: Features, held_out: Features, pool: Features, count: int) -> list[Pair]:
        few = held_out.first(count)
        return [Pair(few, pool.of(rows[:count])) for rows in sets.groups[:CURVE_DRAWS]]

    ours = at_counts(lambda samples, held_out, _, count: [Pair(held_out.first(count), samples.first(count))])
    theirs = space.once(f"curve {sets.real} {counts}", lambda: at_counts(with_groups))
    for metric in metrics:
        lines = [[values[metric, HELD_OUT] for values in side] for side in (ours, theirs)]
        yield {
            "metric": metric.name,
            "space": space.name,
            "n": counts,
            "samples": lines[0],
            "unseen": lines[1],
            "samples_at_infinity": distances.at_infinity(counts, lines[0]),
            "unseen_at_infinity": distances.at_infinity(counts, lines[1]),
        }
