import numpy as np
import pytest

from alzgan.device.streams import stream


def draw(*arguments) -> list[float]:
    return stream(*arguments).standard_normal(5).tolist()


def test_the_same_counters_give_the_same_numbers():
    assert draw(3, "latents", 7, 1) == draw(3, "latents", 7, 1)


@pytest.mark.parametrize(
    "other", [(4, "latents", 7, 1), (3, "batches", 7, 1), (3, "latents", 8, 1), (3, "latents", 7, 2)]
)
def test_each_counter_changes_all_numbers(other):
    assert not set(draw(3, "latents", 7, 1)) & set(draw(*other))


def test_high_bits_of_a_seed_count():
    assert draw(1, "latents") != draw(1 + 2**32, "latents")


def test_step_and_rank_are_not_interchangeable():
    assert draw(0, "latents", 1, 2) != draw(0, "latents", 2, 1)


def test_streams_do_not_correlate():
    draws = np.stack([stream(0, "latents", step).standard_normal(2000) for step in range(20)])
    correlations = np.corrcoef(draws)[~np.eye(20, dtype=bool)]
    assert np.abs(correlations).max() < 5 / 2000**0.5


def test_the_global_generators_are_left_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    draw(0, "latents")
    assert np.array_equal(before, np.random.get_state()[1])
