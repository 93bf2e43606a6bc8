"""The people of the labels' curve and its measure, in `tests/benchmarks/labels.py`."""

import math
from collections import Counter

import numpy as np
import torch
from labels import LEAST, in_order, log_scores


def test_each_beginning_of_the_order_has_the_classes_in_their_shares():
    classes = {
        f"{name}{number}": name
        for name, count in {"a": 60, "b": 30, "c": 10}.items()
        for number in range(count)
    }
    order = in_order(list(classes), classes)
    assert sorted(order) == sorted(classes)
    assert order != sorted(classes)
    for count in (10, 20, 50):
        assert Counter(classes[person] for person in order[:count]) == {
            "a": 0.6 * count,
            "b": 0.3 * count,
            "c": 0.1 * count,
        }


def test_the_log_score_is_of_the_own_class_and_has_a_floor():
    votes = torch.tensor([[[0.5, 0.5], [1.0, 0.0]], [[0.2, 0.8], [0.75, 0.25]]], dtype=torch.double)
    expected = [[math.log(0.5), math.log(LEAST)], [math.log(0.2), math.log(0.25)]]
    np.testing.assert_allclose(log_scores(votes, np.array([0, 1])), expected)
