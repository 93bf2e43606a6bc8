"""Whether differences that people show could be chance."""

import numpy as np
from scipy.stats import norm, permutation_test

from alzgan.device.streams import stream

DRAWS = 2**14  # of signs; up to 14 people have no more, and their test is exact
POWER = 0.8
LEVEL = 0.05


def sign_flip(differences: np.ndarray, seed: int = 0) -> float:
    """The two-sided p-value of the mean of paired differences (P,), from 1 / 2**(P - 1) to 1.

    The share of the 2**P ways to sign the differences that leave their mean as far from 0 as it is; for 15
    people or more that of `DRAWS` ways drawn, the observed one counted with them (Fisher 1935, "The design of
    experiments"; Phipson and Smyth 2010, "Permutation p-values should never be zero").

    Args:
        differences: one of each person.
        seed: of the draws.
    """
    found = permutation_test(
        (np.asarray(differences, float),),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=DRAWS,
        batch=1024,
        rng=stream(seed, "significance/signs"),
    )
    return float(found.pvalue)


def holm(p_values: np.ndarray) -> np.ndarray:
    """The p-values (M,) of M tests so adjusted that any below a level is as rare as the level says.

    The i-th smallest times M + 1 - i, never below a smaller one's, at most 1 (Holm 1979, "A simple
    sequentially rejective multiple test procedure").
    """
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)
    raised = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)).clip(max=1)
    return raised[np.argsort(order)]


def detectable(differences: np.ndarray) -> float:
    """The smallest true mean that a two-sided test at 5 % finds in 80 % of so many differences (P,).

    (z(0.975) + z(0.8)) s / sqrt(P) = 2.8 s / sqrt(P) with their standard deviation s, where means are normal.
    """
    reach = norm.ppf(1 - LEVEL / 2) + norm.ppf(POWER)
    return float(reach * np.std(differences, ddof=1) / len(differences) ** 0.5)
