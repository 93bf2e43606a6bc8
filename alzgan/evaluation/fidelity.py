"""The stage fidelity: metrics of features, which tell whether samples look real and are varied."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
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
SHARES = (0.25, 0.5, 0.75, 1.0)  # of N: the points of the curves of metrics that depend on N
LONG_DRAWS = 20  # groups of unseen people for slow metrics
IMAGE_DRAWS = 40  # sets of independent images
CURVE_DRAWS = 3  # groups of unseen people in the mean of a curve
AGAINST_TRAIN = 5  # groups of training people that the samples are compared with

# Forms of samples. Independent samples vary less than whole people. Samples of unknown people may be stacks
# of slices, which are near neighbours; they are compared with groups of unseen people without names.
INDEPENDENT, PEOPLE, UNKNOWN = FORMS = "independent", "people", "unknown"

Key = tuple[FeatureMetric, str]  # a metric and the people that samples are compared with
Values = dict[Key, float]


class Sets(NamedTuple):
    """Sets of equal size to compare; real ones are of whole people.

    Attributes:
        samples: the samples to judge.
        held_out: images of held-out people.
        pool: images of the training people from whom groups are drawn.
        groups: the rows of the pool in each group.
        drawn: the number of people in the largest group.
        form: one of `FORMS`.
    """

    samples: Images
    held_out: Images
    pool: Images
    groups: list[np.ndarray]
    drawn: int
    form: str

    @property
    def people(self) -> dict[str, int]:
        """The number of real people that samples are compared with, held-out and training people."""
        return {HELD_OUT: self.held_out.person_count(), TRAIN: self.pool.of(self.groups[0]).person_count()}

    @property
    def real(self) -> str:
        """A digest of everything but the samples; the numbers of unseen people depend on nothing else."""
        people = [
            None if each.people is None else each.people.tolist() for each in (self.held_out, self.pool)
        ]
        pixels = torch.cat([self.held_out.pixels, self.pool.pixels])
        rows = [rows.tolist() for rows in self.groups]
        return digest_of(pixels.numpy(), repr((len(self.held_out), people, rows, self.form)))

    @property
    def widen(self) -> float:
        """The deviation of new people over that of the groups, which share people."""
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
    """The sets to compare; None if there are too few people.

    Args:
        samples: the samples to judge.
        reference: the real images.
        size: the largest number of images on each side.
        pool: the largest number of images of the people from whom groups are drawn.
        draws: the number of groups.
        seed: the seed of the draws.
        form: one of `FORMS`.
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
    """The numbers of the samples in every space, each beside that of unseen people.

    Args:
        sets: the sets to compare.
        spaces: the feature spaces.
        seed: the seed of the draws of people.
        label: the class of the images; None: all classes.
        whole: whether slow metrics are computed too.
        metrics: the metrics.
    """
    metrics = [metric for metric in metrics if whole or not metric.slow]
    numbers = []
    for space in spaces:
        triples = space.together(sets.samples, sets.held_out, sets.pool)
        samples = mean_values(
            [of_samples(metrics, ours, held_out, pool, sets.groups) for ours, held_out, pool in triples]
        )
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
    """The report's text on the comparison of numbers with those of unseen people."""
    redrawn, slow = (
        ", ".join(metric.words for metric in metrics if chosen(metric))
        for chosen in (lambda metric: metric.redrawn, lambda metric: metric.slow)
    )
    text = (
        "Slices of one person are nearly the same picture, so the unit is the person, not the slice. All "
        "images of a person are either in the training part or held out. Each number of the generated images "
        "stands beside the same number for unseen people: groups of real people, drawn at random with all "
        "their images, replace the generated images at the same number of images N. In comparisons with "
        "held-out people these groups come from the training part. In comparisons with training people the "
        f"held-out people replace the generated images, and the number is a mean over {AGAINST_TRAIN} groups "
        f"of the training part. {told(widening, 1)} Groups are drawn without replacement"
    )
    if redrawn:
        text += f"; for numbers that are sums over people or pairs of them ({redrawn}) {Redraws.method}"
    text += (
        f". The neighbourhood of an image reaches to the {neighbours.K}th nearest image of another person, "
        "because the nearest images are of the same person"
    )
    if slow:
        text += (
            f". Numbers whose computation takes long ({slow}) are computed of the first {LONG_DRAWS} groups"
        )
    if INDEPENDENT in forms:
        text += (
            ". The images of a generator are independent of each other, so single images of the training "
            f"part replace them. There are {IMAGE_DRAWS} sets, drawn without replacement; for the sums, "
            f"images are drawn {REDRAWS:,} times with replacement. The training part has few people, so a "
            f"variance between people is added. It is that of {IMAGE_DRAWS} more sets, each from half of the "
            "people; for the sums, it is that of the groups"
        )
    if UNKNOWN in forms:
        text += (
            ". If the people in the images are unknown, the images may be stacks of slices. Unseen people "
            "then replace them without names"
        )
    return text


def values_of(metrics: Sequence[FeatureMetric], pair: Pair, people: str) -> Values:
    """The numbers of a pair by the metrics that compare with `people` and exist in the pair's space."""
    found = {(metric, people): metric.compute(pair) for metric in metrics if people in metric.against}
    return {key: value for key, value in found.items() if value is not None}


def of_samples(
    metrics: Sequence[FeatureMetric],
    samples: Features,
    held_out: Features,
    pool: Features,
    groups: list[np.ndarray],
) -> Values:
    """The samples' numbers beside held-out people, and the mean of those beside groups of training people."""
    beside = Pair(samples, pool).with_each(groups[:AGAINST_TRAIN])
    trained = [values_of(metrics, each.turned(), TRAIN) for each in beside]
    return values_of(metrics, Pair(held_out, samples), HELD_OUT) | mean_values(trained)


def of_unseen(
    metrics: Sequence[FeatureMetric],
    triples: list[tuple[Features, ...]],
    sets: Sets,
    seed: int,
    bar: str,
) -> dict[Key, Unseen]:
    """The numbers of unseen people in a space; each is the mean over its extractors.

    Groups of the pool replace the samples in comparisons with held-out people, and held-out people replace
    them in comparisons with the pool. Single images of the pool replace independent samples. A variance
    between people is then added, because the pool has few people. Sets from half of M people have it: their
    variance exceeds that of sets from all M people by the variance of a mean of M people.
    """
    people, drawn, size = sets.pool.person_count(), sets.drawn, len(sets.samples)
    pairs = [pairs_beside(held_out, pool, sets.form) for _, held_out, pool in triples]
    groups = draws_of(metrics, pairs, sets.groups, Redraws(who_of(sets.pool), drawn, seed), bar)

    def replaced(key: Key) -> bool:
        return key[0].redrawn is not None and key[1] == HELD_OUT

    found = {
        key: unseen_of(values, key[0], people, widening(people, drawn, replaced(key)), size)
        for key, values in groups.items()
    }
    if sets.form == INDEPENDENT:
        redraws = Redraws(np.arange(len(sets.pool)), size, seed)
        fast = [metric for metric in metrics if not metric.slow]
        images = draws_of(fast, pairs, single_images(sets, seed), redraws, bar)
        of_halves = draws_of(fast, pairs, single_images(sets, seed, 0.5), None, bar)
        for key, values in images.items():
            if key[1] == HELD_OUT:
                beside = (groups[key], (drawn / people) ** 0.5) if replaced(key) else (of_halves[key], 1.0)
                found[key] = unseen_of(values, key[0], people, n=size, beside=beside)
    return found


def single_images(sets: Sets, seed: int, share: float = 1.0) -> list[np.ndarray]:
    """The rows of single images of the pool in each draw, from a random `share` of its people."""
    names, who = np.unique(who_of(sets.pool), return_inverse=True)
    rows = []
    for draw in range(IMAGE_DRAWS):
        noise = stream(seed, "evaluate/images", draw)
        order = noise.permutation(len(who))
        there = noise.permutation(len(names)) < round(share * len(names))
        rows.append(order[there[who[order]]][: len(sets.samples)])
    return rows


def pairs_beside(held_out: Features, pool: Features, form: str) -> tuple[Pair, Pair]:
    """The held-out people as real set and the pool as samples; and, to be turned, the other way round.

    The set in the place of the samples has no names if the samples have none.
    """
    if form == UNKNOWN:
        return Pair(held_out, pool.without_people()), Pair(held_out.without_people(), pool)
    together = Pair(held_out, pool)
    return together, together


def draws_of(
    metrics: Sequence[FeatureMetric],
    pairs: list[tuple[Pair, Pair]],
    groups: list[np.ndarray],
    redraws: Redraws | None,
    bar: str,
) -> dict[Key, np.ndarray]:
    """Each number (D,) of the groups of the pool, or of `redraws` if the metric has `redrawn`."""
    found: dict[Key, list[np.ndarray]] = defaultdict(list)  # one for each extractor
    with tqdm(total=len(pairs) * len(groups), desc=bar, unit=" groups", leave=False) as progress:
        for pool_judged, pool_judges in pairs:
            values: dict[Key, Any] = defaultdict(list)
            for each in of_groups(metrics, pool_judged, pool_judges, groups):
                for key, value in each.items():
                    values[key].append(value)
                progress.update()
            for metric in metrics:
                if redraws is not None and metric.redrawn is not None:
                    values[metric, HELD_OUT] = metric.redrawn(pool_judged, redraws)
            for key, several in values.items():
                found[key].append(several)
    return {key: np.mean(several, 0) for key, several in found.items()}


def of_groups(
    metrics: Sequence[FeatureMetric], pool_judged: Pair, pool_judges: Pair, groups: list[np.ndarray]
) -> Iterator[Values]:
    """The numbers of each group; slow metrics only for the first `LONG_DRAWS`."""
    as_samples, as_real = pool_judged.with_each(groups), pool_judges.with_each(groups)
    for draw in range(len(groups)):
        chosen = [metric for metric in metrics if draw < LONG_DRAWS or not metric.slow]
        judged = next(as_samples)
        judges = judged if pool_judges is pool_judged else next(as_real)
        yield values_of(chosen, judged, HELD_OUT) | values_of(chosen, judges.turned(), TRAIN)


def mean_values(several: list[Values]) -> Values:
    """The mean of each number."""
    return {key: float(np.mean([values[key] for values in several])) for key in several[0]}


def curves(
    sets: Sets, spaces: list[Space], metrics: Sequence[FeatureMetric] = METRICS
) -> list[dict[str, Any]]:
    """Metrics that depend on N, at several N and extrapolated to infinity, beside held-out people."""
    counts = [max(2, round(share * len(sets.samples))) for share in SHARES]
    metrics = [metric for metric in metrics if metric.by_n]
    groups, everything = sets.groups[:CURVE_DRAWS], [np.arange(len(sets.samples))]
    found = []
    for space in spaces:
        held_out, samples, pool = zip(*space.together(sets.held_out, sets.samples, sets.pool), strict=True)
        ours = at_counts(metrics, counts, held_out, samples, everything)
        theirs = space.once(
            f"curve {sets.real} {counts}", partial(at_counts, metrics, counts, held_out, pool, groups)
        )
        for metric in metrics:
            curve: dict[str, Any] = {"metric": metric.name, "space": space.name, "n": counts}
            for side, values in (("samples", ours), ("unseen", theirs)):
                curve[side] = [each[metric, HELD_OUT] for each in values]
                curve[f"{side}_at_infinity"] = distances.at_infinity(counts, curve[side])
            found.append(curve)
    return found


def at_counts(
    metrics: Sequence[FeatureMetric],
    counts: Sequence[int],
    real: Sequence[Features],
    fake: Sequence[Features],
    groups: list[np.ndarray],
) -> list[Values]:
    """The numbers of the first `count` images of each group of the fake set, for each of several counts.

    They stand beside as many real images. Each is the mean over groups and extractors.
    """
    found = []
    for count in counts:
        pairs = [
            Pair(one.of(np.arange(count)), two.of(rows[:count]))
            for one, two in zip(real, fake, strict=True)
            for rows in groups
        ]
        found.append(mean_values([values_of(metrics, pair, HELD_OUT) for pair in pairs]))
    return found
