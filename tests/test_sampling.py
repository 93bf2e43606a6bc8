"""Shares of the classes: words, weights, and whole numbers of images."""

import pytest

from alzgan.data.sampling import class_weights
from alzgan.errors import UserError
from alzgan.people.splits import apportion

CLASSES = ["AD", "CN", "7"]


def test_words_and_weights_become_a_weight_for_each_class():
    assert class_weights("as_is", CLASSES) is None
    assert class_weights("balanced", CLASSES) == [1, 1, 1]
    assert class_weights({"CN": 0, 7: 2.5, "AD": 1}, CLASSES) == [1, 0, 2.5]


@pytest.mark.parametrize(
    ("sampling", "line"),
    [
        ("equal", "data.sampling=equal must be as_is, balanced or {NAME: WEIGHT, ...}"),
        (3, "data.sampling=3 must be"),
        ({"AD": 1, "CN": 1, "7": 1, "MCI": 1}, "there is no class MCI, only AD, CN, 7"),
        ({"AD": 1, "7": 1}, "class CN has no weight"),
        ({"AD": 1, "CN": -1, "7": 1}, "weight -1 of CN must be a number from 0 on"),
        ({"AD": 1, "CN": "much", "7": 1}, "weight much of CN must be a number"),
        ({"AD": 1, "CN": float("nan"), "7": 1}, "weight nan of CN"),
        ({"AD": 1, "CN": True, "7": 1}, "weight True of CN"),
        ({"AD": 0, "CN": 0, "7": 0.0}, "all weights are 0"),
    ],
)
def test_sampling_that_cannot_be_is_one_line(sampling, line):
    with pytest.raises(UserError) as error:
        class_weights(sampling, CLASSES)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        (20, [1, 1, 1], [7, 7, 6]),
        (10, [0.3, 0.3, 0.4], [3, 3, 4]),
        (5, [0, 1, 0], [0, 5, 0]),
        (7, [1, 2, 4], [1, 2, 4]),
        (1, [1, 3], [0, 1]),
    ],
)
def test_whole_numbers_follow_the_largest_remainder(total, weights, parts):
    assert apportion(total, weights) == parts


def test_weights_of_any_names_are_given_as_a_text():
    classes = ["Très léger", "a: b", "7"]
    assert class_weights('{Très léger: 0, "a: b": 2.5, 7: 1}', classes) == [0, 2.5, 1]
    with pytest.raises(UserError, match="there is no class leger, only Très léger"):
        class_weights("{leger: 1}", classes)
