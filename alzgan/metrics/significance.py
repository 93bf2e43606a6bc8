"""Tests of whether differences between people could be chance."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import permutation_test, t

from alzgan.device.streams import stream

SIGN_DRAWS = 2**14  # draws of signs; with up to 14 people all combinations are used, and the test is exact
POWER = 0.8
LEVEL = 0.05


def sign_flip(differences: np.ndarray, seed: int = 0) -> float:
    """The two-sided p-value of the mean of paired differences (P,), from 1 / 2**(P - 1) to 1.

    There are 2**P ways to choose the signs of the differences. The p-value is the share of them whose mean is
    at least as far from 0 as the observed one (Fisher 1935, "The design of experiments"). With 15 people or
    more, `SIGN_DRAWS` ways are drawn and the observed one is added to them (Phipson and Smyth 2010,
    "Permutation p-values should never be zero").

    Args:
        differences: the difference for each person (P,).
        seed: the seed of the draws.
    """
    found = permutation_test(
        (np.asarray(differences, float),),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=SIGN_DRAWS,
        batch=1024,
        rng=stream(seed, "significance/signs"),
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """The p-values (M,) of M tests, adjusted so that the level holds for all tests together.

    The smallest is multiplied by M, the next by M - 1, and so on. The results keep their order and are at
    most 1 (Holm 1979, "A simple sequentially rejective multiple test procedure").
    """
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)
    raised = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)).clip(max=1)
    return raised[np.argsort(order)]


class Effect(NamedTuple):
    """The mean difference between two ways to train, as an estimate for new trainings and new people.

    Attributes:
        mean: the mean over trainings and people.
        error: the standard error of the mean.
        degrees: the degrees of freedom of the error.
    """

    mean: float
    error: float
    degrees: float

    @property
    def p(self) -> float:
        """The two-sided p-value of the hypothesis that there is no difference."""
        return (
            float(2 * t.sf(abs(self.mean) / self.error, self.degrees)) if self.error else float(not self.mean)
        )

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean."""
        reach = float(t.ppf(1 - LEVEL / 2, self.degrees)) * self.error
        return self.mean - reach, self.mean + reach

    def plain(self) -> dict[str, float]:
        """The mean, both ends of its interval and its p-value, as plain numbers."""
        low, high = self.interval
        return {"mean": self.mean, "low": low, "high": high, "p": self.p}

    def detectable(self, tests: int = 1) -> float:
        """The true mean that the strictest of Holm's tests finds in 80 % of studies of this size.

        It is t(1 - 0.025 / tests) + t(0.8) standard errors: 2.8 for one test of many people.
        """
        reach = t.ppf(1 - LEVEL / 2 / tests, self.degrees) + t.ppf(POWER, self.degrees)
        return float(reach) * self.error


def crossed(differences: np.ndarray) -> Effect:
    """The mean of differences (S, P) between pairs of S trainings, each judged on the same P people.

    All people share the luck of a training, and all trainings share the traits of a person. With the mean
    squares of an analysis of variance, the variance of the mean is (MS_S + max(MS_P - MS_SP, 0)) / (S P), and
    its degrees of freedom are (S - 1) times the square of that sum over MS_S squared. Reader studies treat
    readers and cases in the same way (Dorfman, Berbaum and Metz 1992; Hillis 2007, "A comparison of
    denominator degrees of freedom methods for multiple observer ROC analysis"). There are at most P - 1
    degrees: Hillis has many cases, and with few people MS_P is uncertain too. A test over people alone would
    mistake the luck of the trainings for an effect.

    Args:
        differences: the difference for each training and person (S, P), both at least 2.
    """
    differences = np.asarray(differences, float)
    trainings, people = differences.shape
    of_training, of_person = differences.mean(1), differences.mean(0)
    mean = float(differences.mean())
    rest = differences - of_training[:, None] - of_person + mean
    by_training, by_person = people * of_training.var(ddof=1), trainings * of_person.var(ddof=1)
    by_both = np.square(rest).sum() / ((trainings - 1) * (people - 1))
    total = by_training + max(by_person - by_both, 0.0)
    degrees = (trainings - 1) * (total / by_training) ** 2 if by_training else np.inf
    return Effect(mean, float((total / differences.size) ** 0.5), float(min(degrees, people - 1)))
