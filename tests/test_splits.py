"""No person is in two parts, and every class is in all parts that its people can fill."""

import random
from collections import Counter

import numpy as np
import pytest

from alzgan.errors import SettingError, UserError
from alzgan.images.folder import ImageFile
from alzgan.people.splits import split_by_subject, write_split
from alzgan.people.subjects import Subjects, assert_disjoint, identify


def cohort(people, slices=4):
    """(labels, subjects) of `people[label]` people each."""
    pairs = [(label, f"{label}{k}") for label, n in people.items() for k in range(n) for _ in range(slices)]
    return [label for label, _ in pairs], [subject for _, subject in pairs]


def people_in(subjects, parts, label=""):
    people = {
        (subject, part) for subject, part in zip(subjects, parts, strict=True) if subject.startswith(label)
    }
    return Counter(part for _, part in people)


def test_people_are_dealt_by_class_as_the_fractions_say():
    labels, subjects = cohort({"N": 100, "V": 70, "M": 28, "P": 3}, slices=2)
    split = split_by_subject(labels, subjects, (0.8, 0.1, 0.1))
    assert people_in(subjects, split.parts, "N") == {"train": 80, "validation": 10, "test": 10}
    assert people_in(subjects, split.parts, "V") == {"train": 56, "validation": 7, "test": 7}
    assert people_in(subjects, split.parts, "M") == {"train": 22, "validation": 3, "test": 3}
    assert people_in(subjects, split.parts, "P") == {"train": 1, "validation": 1, "test": 1}
    assert sum(people_in(subjects, split.parts).values()) == 201  # each person once
    assert split.notes == []


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.1), (0.2, 0.5, 0.3), (0.34, 0.33, 0.33), (0.3, 0.4, 0.3)])
@pytest.mark.parametrize(
    ("people", "where", "note"),
    [
        (1, {"train": 1}, "class M has 1 person, too few for all parts: none in validation and test"),
        (2, {"train": 1, "test": 1}, "class M has 2 people, too few for all parts: none in validation"),
    ],
)
def test_a_class_with_too_few_people_is_said_in_one_line(fractions, people, where, note):
    labels, subjects = cohort({"M": people, "N": 10})
    split = split_by_subject(labels, subjects, fractions)
    assert people_in(subjects, split.parts, "M") == where
    assert split.notes == [note]


@pytest.mark.parametrize("fractions", [(0.98, 0.01, 0.01), (0.01, 0.01, 0.98), (0.1, 0.6, 0.3)])
@pytest.mark.parametrize("people", [3, 4, 7, 20])
def test_three_people_are_enough_for_all_parts(fractions, people):
    labels, subjects = cohort({"M": people})
    split = split_by_subject(labels, subjects, fractions)
    assert set(split.parts) == {"train", "validation", "test"}
    assert split.notes == []


def test_a_part_that_is_not_wanted_stays_empty():
    labels, subjects = cohort({"M": 10, "P": 1})
    split = split_by_subject(labels, subjects, (0.9, 0.0, 0.1))
    assert people_in(subjects, split.parts, "M") == {"train": 9, "test": 1}
    assert split.notes == ["class P has 1 person, too few for all parts: none in test"]


@pytest.mark.parametrize(("people", "whole"), [({"A": 1, "B": 1}, True), ({"A": 1, "B": 2}, False)])
def test_classes_of_one_person_each_may_be_people_and_are_said_in_one_line(people, whole):
    split = split_by_subject(*cohort(people))
    line = (
        "each class has 1 person, the first is A: nobody can be held out of a class; "
        "if the class folders are people, set data.classes=none"
    )
    assert (split.notes == [line]) is whole


def test_one_person_in_two_classes_is_not_taken_for_two():
    assert not any("data.classes" in note for note in split_by_subject(["A", "B"], ["x", "x"]).notes)


def test_the_seed_alone_decides_who_goes_where():
    labels, subjects = cohort({"M": 30, "N": 30})
    split = split_by_subject(labels, subjects, seed=3)
    assert split == split_by_subject(labels, subjects, seed=3)
    assert split.parts != split_by_subject(labels, subjects, seed=4).parts
    order = list(range(len(labels)))
    random.Random(0).shuffle(order)
    shuffled = split_by_subject([labels[i] for i in order], [subjects[i] for i in order], seed=3)
    assert shuffled.parts == [split.parts[i] for i in order]


def test_every_person_comes_to_test_under_some_seed():
    labels, subjects = cohort({"M": 5}, slices=1)
    drawn = {split_by_subject(labels, subjects, seed=seed).parts.index("test") for seed in range(60)}
    assert drawn == set(range(5))


SEEDS = 2000


def draws(sizes, fractions):
    """The part of each person (SEEDS, N) of one class, whose people have so many images."""
    subjects = [f"p{k}" for k, size in enumerate(sizes) for _ in range(size)]
    first = np.cumsum(sizes) - sizes
    labels = ["M"] * len(subjects)
    return np.array(
        [np.array(split_by_subject(labels, subjects, fractions, seed).parts)[first] for seed in range(SEEDS)]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("people", "fractions", "least", "most"),
    [(66, (0.8, 0.1, 0.1), 0.1, 2.6), (30, (0.6, 0.2, 0.2), 0.4, 1.8)],
)
def test_everyone_has_the_same_chance_of_each_part_however_many_images(people, fractions, least, most):
    sizes = np.linspace(1, 90, people).round().astype(int)
    drawn = draws(sizes, fractions)
    for part in ("train", "validation", "test"):
        held = (drawn == part).astype(float)
        (count,) = set(held.sum(1).astype(int))  # as many people each time
        chance = count / people
        deviation = np.abs(held.mean(0) - chance) / np.sqrt(chance * (1 - chance) / SEEDS)
        assert deviation.max() < 4  # 3 x 66 binomials: one of 80 such tests is worse by chance
        # Two people together: as often as in a draw without strata, give or take.
        together = (held.T @ held / SEEDS)[np.triu_indices(people, 1)]
        expected = count * (count - 1) / (people * (people - 1))
        assert least < together.min() / expected
        assert together.max() / expected < most
        # And the strata do what they are for: the part's images stay near its share.
        images = held @ sizes / sizes.sum()
        assert images.mean() == pytest.approx(chance, abs=0.005)
        unstratified = [np.random.default_rng(seed).permutation(sizes)[:count].sum() for seed in range(SEEDS)]
        assert images.std() < 0.75 * np.std(unstratified) / sizes.sum()


def test_people_who_share_a_copy_stay_together_and_count_as_one():
    labels, subjects = cohort({"M": 30}, slices=2)
    units = ["M0" if subject == "M1" else subject for subject in subjects]
    for seed in range(50):
        split = split_by_subject(labels, subjects, (0.6, 0.2, 0.2), seed, units)
        part = dict(zip(subjects, split.parts, strict=True))
        assert part["M0"] == part["M1"]
        assert sorted(Counter(part[unit] for unit in set(units)).values()) == [6, 6, 17]


def test_a_person_with_two_classes_counts_for_the_more_frequent_one():
    labels = ["a", "b", "b", "a", "b"]
    split = split_by_subject(labels, ["p", "p", "p", "q", "r"])
    assert split.parts[0] == split.parts[1] == split.parts[2]
    assert split.notes[0] == (
        "1 of 3 subjects has images of several classes: each counts for the class of most of its images"
    )
    assert [note[:21] for note in split.notes[1:]] == ["class a has 2 people,", "class b has 2 people,"]


def test_people_with_an_image_of_each_class_count_for_each():
    labels = ["a"] * 30 + ["b"] * 30
    split = split_by_subject(labels, [f"p{k}" for k in range(30)] * 2)
    assert Counter(split.parts[:30]) == {"train": 24, "validation": 3, "test": 3}
    assert split.parts[:30] == split.parts[30:]
    assert split.notes == [
        "30 of 30 subjects have images of several classes: each counts for the class of most of its images"
    ]


def test_a_class_that_lacks_a_part_by_its_peoples_other_images_is_not_too_small():
    people = [f"p{k}" for k in range(30)]
    labels, subjects = ["a"] * 30 + ["b"] * 4, people + people[:4]
    splits = (split_by_subject(labels, subjects, (0.8, 0.1, 0.1), seed) for seed in range(20))
    split = next(split for split in splits if set(split.parts[30:]) == {"train"})
    assert split.notes[1:] == ["class b has 4 people: none in validation and test"]


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.5), (0.8, 0.3, 0.1), (1.2, -0.1, -0.1), (0.0, 0.5, 0.5), (float("nan"), 1, 0)]
)
def test_fractions_that_are_none_are_refused(fractions):
    told = r"^fractions=.* (must be three numbers from 0 to 1|leave no people to train on)"
    with pytest.raises(SettingError, match=told):
        split_by_subject(["a"], ["p"], fractions)


def test_a_leak_is_named():
    assert_disjoint(["p", "q", "p"], ["train", "test", "train"])
    with pytest.raises(UserError, match="subject q is in test and in train"):
        assert_disjoint(["p", "q", "q"], ["train", "test", "train"])


def test_a_written_split_reads_back_whatever_the_names(tmp_path):
    names = [
        "plain.png",
        'with "quotes", commas.png',
        "two\nlines.png",
        "carriage\rreturn.png",
        " spaces .png",
        "\udcff.png",
    ]
    files = [ImageFile(f"class é/{name}", "class é") for name in names]
    subjects = Subjects("none", [f"p\n{name}" for name in names], [1, None, 3, -4, 0, 6], [None] * 6)
    parts = ["train", "validation", "test"] * 2
    write_split(tmp_path / "split.csv", files, subjects, parts)
    (tmp_path / "class é").mkdir()
    for file in files:
        (tmp_path / file.path).write_bytes(b"")
    back = identify(tmp_path, files)
    assert back.rule == f"csv:{tmp_path / 'split.csv'}"
    assert (back.subject, back.slice, back.split) == (subjects.subject, subjects.slice, parts)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["split.csv"]


def test_a_split_is_replaced_whole(tmp_path):
    table = tmp_path / "split.csv"
    table.write_text("old")
    subjects = Subjects("none", ["p"], [2], [None])
    write_split(table, [ImageFile("a/1.png", "a")], subjects, ["test"])
    assert table.read_bytes().split() == [b"file,class,subject,slice,split", b"a/1.png,a,p,2,test"]
