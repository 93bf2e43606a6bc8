"""Each sentence of the report's methods says what the code does: neither changes alone."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from alzgan.evaluation import copies, fidelity, numbers, paired, power
from alzgan.evaluation.methods import methods
from alzgan.evaluation.numbers import Number, unseen_of
from alzgan.evaluation.reference import Images, Reference, draw_group
from alzgan.images import likeness
from alzgan.metrics import memorisation, resampling
from alzgan.metrics.anatomy import WASSERSTEIN
from alzgan.metrics.distances import KERNEL_DISTANCE, MIND
from alzgan.metrics.neighbours import PRECISION, distances, radius
from alzgan.metrics.record import HELD_OUT, TRAIN
from alzgan.metrics.resampling import Redraws, one_of_each, resampled
from alzgan.metrics.sets import Features

METRICS = (*fidelity.METRICS, *copies.METRICS, WASSERSTEIN)
PEOPLE, EACH = 30, 3
WHO = np.repeat(np.arange(PEOPLE), EACH)


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    return methods(METRICS, fidelity.FORMS, pairs=True)


def figure(text: str, pattern: str) -> int:
    """The one whole number in a sentence, where the pattern has its group."""
    (found,) = re.findall(pattern, text)
    return int(found.replace(",", ""))


def features(seed: int) -> Features:
    values = torch.randn(PEOPLE * EACH, 4, generator=torch.Generator().manual_seed(seed)).double()
    return Features(values, WHO + 100 * seed)


class Table:
    """A feature space: an image's first pixel is the row of its features."""

    name = space = extractor = "table"

    def __init__(self):
        self.values = torch.from_numpy(np.random.default_rng(0).normal(size=(250, 4)))

    def probabilities(self, features: torch.Tensor) -> None:
        return None

    def together(self, *several: Images) -> list[tuple[Features, ...]]:
        return [
            tuple(Features(self.values[each.pixels.flatten().int()], each.people, self) for each in several)
        ]

    def once(self, what: str, find):
        return find()


def compared(form: str, draws: int) -> fidelity.Sets:
    def images(first: int) -> Images:
        pixels = torch.arange(first, first + PEOPLE * EACH)[:, None, None, None]
        return Images(pixels.byte(), None, WHO + first)

    reference = Reference(images(0), images(90), ["all"])
    samples = Images(torch.arange(180, 250)[:, None, None, None].byte())
    return fidelity.sets_of(samples, reference, 30, 90, draws, 0, form)


def test_every_metric_is_told_with_its_paper(told: dict[str, str]):
    for metric in METRICS:
        (text,) = [text for names, text in told.items() if metric.words in names.split(", ")]
        assert len(text) > 50
        assert "Args" not in text
        if metric not in (WASSERSTEIN, copies.SHARE_ABOVE_THRESHOLD, memorisation.MEMBERSHIP_AUC):
            assert re.search(r"[A-Z]\w+ .*(19|20)\d\d", text), metric.name


def test_what_was_not_computed_is_not_told():
    text = methods([MIND], [fidelity.PEOPLE], pairs=False)
    assert list(text) == ["unseen people", "limits", "MIND", "at infinite N"]
    assert "without names" not in text["unseen people"]
    assert "times with replacement" not in text["unseen people"]


def test_sums_are_redrawn_so_often_with_replacement(told: dict[str, str]):
    text = told["unseen people"]
    redraws = Redraws(WHO, PEOPLE, 0)
    assert len(redraws.counts) == figure(text, r"\) people are drawn ([\d,]+) times with replacement")
    assert redraws.counts.max() > 1
    assert (redraws.counts.sum(1) == PEOPLE).all()
    names = re.search(r"sums over people or pairs of them \(([^)]+)\)", text)[1].split(", ")
    found = {metric.words: metric.redrawn for metric in METRICS if getattr(metric, "redrawn", None)}
    assert list(found) == names
    for redrawn in found.values():
        assert redrawn(fidelity.Pair(features(0), features(1)), redraws).shape == (len(redraws.counts),)


def test_groups_are_drawn_without_replacement(told: dict[str, str]):
    assert "Groups are drawn without replacement" in told["unseen people"]
    for draw in range(5):
        rows = draw_group(Images(torch.zeros(90, 1, 1, 1), None, WHO), 60, 0, "group", draw)
        assert len(set(rows)) == 60


def test_so_many_groups_stand_for_the_training_part_and_for_slow_metrics(
    told: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    sets = compared(fidelity.PEOPLE, 25)
    triples = Table().together(sets.samples, sets.held_out, sets.pool)
    asked = Counter()
    plain = fidelity.values_of
    monkeypatch.setattr(
        fidelity,
        "values_of",
        lambda metrics, pair, people: asked.update([people]) or plain(metrics, pair, people),
    )
    fidelity.of_samples([MIND], *triples[0], sets.groups)
    assert asked == {
        HELD_OUT: 1,
        TRAIN: figure(told["unseen people"], r"mean over (\d+) groups of the training"),
    }
    (_, held_out, pool) = triples[0]
    pairs = fidelity.pairs_beside(held_out, pool, sets.form)
    each = list(fidelity.of_groups([MIND, PRECISION], *pairs, sets.groups))
    assert sum((PRECISION, HELD_OUT) in values for values in each) == 25
    assert sum((MIND, HELD_OUT) in values for values in each) == figure(
        told["unseen people"], r"of the first (\d+) groups"
    )
    (slow,) = re.findall(r"takes long \(([^)]+)\)", told["unseen people"])
    assert slow.split(", ") == [metric.words for metric in fidelity.METRICS if metric.slow]


def test_so_many_sets_of_single_images_stand_for_independent_samples(
    told: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    sets, counts = compared(fidelity.INDEPENDENT, 3), []
    plain = fidelity.draws_of

    def noted(metrics, pairs, groups, redraws, bar):
        counts.append(len(groups))
        assert all(len(set(rows)) == len(rows) for rows in groups)
        return plain(metrics, pairs, groups, redraws, bar)

    monkeypatch.setattr(fidelity, "draws_of", noted)
    fidelity.fidelity(sets, [Table()], 0, metrics=[PRECISION])
    assert counts == [
        3,
        figure(told["unseen people"], r"(\d+) sets, drawn without replacement"),
        figure(told["unseen people"], r"(\d+) more sets, each from half of the people"),
    ]


def test_single_images_of_half_of_the_people_are_of_another_half_each_time():
    sets = compared(fidelity.INDEPENDENT, 3)
    of_all, of_halves = (fidelity.single_images(sets, 0, share) for share in (1.0, 0.5))
    assert {len(rows) for rows in of_all} == {len(sets.samples)}
    people = [set(sets.pool.people[rows]) for rows in of_halves]
    assert max(map(len, people)) <= sets.pool.person_count() / 2
    assert len(set().union(*people)) == sets.pool.person_count()


def test_a_neighbourhood_reaches_so_far(told: dict[str, str]):
    k = figure(told["unseen people"], r"to the (\d+)th nearest image of another person")
    found = features(0)
    between = distances(found.values, found.values)
    others = torch.from_numpy(WHO[:, None] != WHO)
    expected = torch.stack([row[who].sort().values[k - 1] for row, who in zip(between, others, strict=True)])
    # Sums of other orders: the last digits differ.
    torch.testing.assert_close(radius(found), expected, rtol=1e-9, atol=1e-9)


def test_the_limits_are_those_of_the_law(told: dict[str, str]):
    text, rng = told["limits"], np.random.default_rng(0)
    many = figure(text, r"people with (\d+) draws or more")
    for count, is_skewed in ((many - 1, False), (many, True)):
        found = unseen_of(rng.gamma(2, size=count), KERNEL_DISTANCE, PEOPLE)
        assert (found.law.skewness != 0) == is_skewed
        assert found.law.degrees == PEOPLE - 1
        assert found.law.share_below(found.high) - found.law.share_below(found.low) == pytest.approx(
            figure(text, r"interval holds (\d+)%") / 100
        )
    assert unseen_of(rng.normal(size=8), MIND, PEOPLE).law.degrees == 7
    number = Number(KERNEL_DISTANCE, "x", "x", HELD_OUT, None, 0.0, 10, 10, found, 0)
    beyond = 1 - found.law.share_below(number.limit)
    assert 1 / beyond == pytest.approx(figure(text, r"beyond what 1 in (\d+) of"), rel=1e-3)
    shares = re.search(r"Shares of images \(([^)]+)\)", text)[1].split(", ")
    assert shares == [metric.words for metric in METRICS if unseen_of([0.2, 0.4], metric, 9).law.is_share]


def test_so_many_groups_get_each_fault(told: dict[str, str]):
    sets, space = compared(fidelity.PEOPLE, 3), Table()
    found = fidelity.fidelity(sets, [space], 0, metrics=[PRECISION])
    draws = figure(told["power"], r"planted into (\d+) groups")
    assert {each["draws"] for each in power.noticed(sets, [space], found, 0)} == {draws}
    rows = list(power.rows_with(power.FAULTS[0], sets, np.unique(sets.pool.people), 0))
    assert len(rows) == draws
    noise = power.noise_like(features(0).values, 4000, 0)
    times = figure(told["power"], r"noise of (\d+) times")
    assert (noise.std(0) / features(0).values.std(0)).tolist() == pytest.approx([times] * 4, rel=0.05)


def test_a_fault_is_not_noticed_in_a_space_that_the_discriminator_was_trained_on():
    sets, blind, strict = compared(fidelity.PEOPLE, 3), Table(), Table()
    strict.name = "strict"
    beyond = unseen_of([2.0, 2.01, 2.02], MIND, PEOPLE)  # beyond whose limit each share lies
    judged = [
        replace(each, unseen=beyond) if each.space == "strict" else each
        for each in fidelity.fidelity(sets, [blind, strict], 0, metrics=[PRECISION])
    ]

    def noticed(*trained: str) -> list[int]:
        marked = [replace(each, trained=each.space in trained) for each in judged]
        return [each["noticed"] for each in power.noticed(sets, [strict, blind], marked, 0)]

    assert noticed() == [20, 20]
    assert noticed("strict") == [0, 0]
    assert noticed("strict", "table") == []


def test_people_stand_beside_samples_in_the_search_for_copies_as_is_told(
    told: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    text = told["copies"]
    draws = resampled(WHO, len(WHO), 0)
    for what in ("the share above the threshold", "authenticity"):
        assert len(draws) == figure(text, rf"For {what}, unseen people are drawn ([\d,]+) times with repl")
    assert any(len(np.unique(rows)) < len(rows) for rows in draws)
    values = np.arange(20.0)
    halves = list(zip(*resampling.halves(values, 0), strict=True))
    assert len(halves) == figure(text, r"held-out people is compared with the other half, ([\d,]+) times")
    assert all(sorted([*one, *two]) == values.tolist() and len(one) == 10 for one, two in halves)
    attacks = memorisation.control(values, 5, 0)
    assert len(attacks) == figure(text, r"beside ([\d,]+) attacks")
    singles = []
    monkeypatch.setattr(memorisation, "one_of_each", lambda *given: singles.append(0) or one_of_each(*given))
    memorisation.train_test(torch.rand(40), None, torch.rand(90), WHO, 0)
    assert len(singles) == figure(text, r"mean over (\d+) draws of one image")
    assert "than 99 of 100 images of unseen people are" in text
    similarity = torch.linspace(0, 1, 1001)
    nearest = likeness.Nearest(similarity, torch.zeros(1001, dtype=torch.long))
    assert memorisation.copies_of(nearest, nearest).above == 10


def test_images_are_searched_for_as_is_told(told: dict[str, str]):
    text = told["copies"]
    assert len(likeness.poses(likeness.SHIFTS)) == figure(text, r"has (\d+) poses")
    assert (
        likeness.small(torch.zeros(1, 1, 64, 64).byte())[0].shape[1]
        == figure(text, r"poses of (\d+) × 16") ** 2
    )


def test_candidates_are_compared_as_is_told(told: dict[str, str]):
    groups = figure(told["two candidates"], r"at most (\d+) groups")
    many = figure(told["two candidates"], r"more than (\d+) candidates")
    assert groups == paired.GROUPS
    values = {(KERNEL_DISTANCE, "x"): np.arange(4.0)}
    several = [paired.Contributions("a", values)] * (many + 1)
    assert len(paired.shown(several[:many])) == many * (many - 1) / 2
    assert len(paired.shown(several)) == many
    assert numbers.BAND == 0.95


# The value, what unseen people get in the mean, and the limit, as they were before metrics had records.
GOLDEN = {
    ("frechet", "held-out"): (0.379293685, 0.588528234, 1.25900136),
    ("mind", "held-out"): (1.53653245, 2.12604194, 4.08422619),
    ("vendi", "held-out"): (3.86199338, 3.74902324, 3.14315705),
    ("kernel_distance", "held-out"): (-0.216145874, -0.03543963, 0.804489754),
    ("precision", "held-out"): (1, 0.966083333, 0.726512201),
    ("recall", "held-out"): (0.933333333, 0.918333333, 0.474807807),
    ("density", "held-out"): (1.38666667, 1.18963333, 0.826715266),
    ("coverage", "held-out"): (1, 0.964166667, 0.501037384),
    ("alpha_precision", "held-out"): (0.832796935, 0.870796935, 0.70142518),
    ("beta_recall", "held-out"): (0.601532567, 0.533293103, 0.155784065),
    ("precision", "train"): (0.973333333, 0.916666667, 0.52259082),
}


def test_numbers_are_what_they_have_been():
    found = fidelity.fidelity(compared(fidelity.INDEPENDENT, 12), [Table()], 0)
    numbers = {(each.metric.name, each.against): each for each in found}
    for key, expected in GOLDEN.items():
        each = numbers[key]
        assert (each.value, each.unseen.mean, each.limit) == pytest.approx(expected, rel=1e-6), key
