"""Counter-based randomness: every draw is a function of (seed, purpose, step, rank).

No random state is saved, restored or disturbed: a run resumed at step k asks for the streams of step k and
gets the numbers that an uninterrupted run would have drawn there.
"""

import hashlib

import numpy as np


def purpose_key(purpose: str) -> int:
    """The 64-bit key of a purpose's name, the same on every machine."""
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")


def stream(seed: int, purpose: str, step: int = 0, rank: int = 0) -> np.random.Generator:
    """An independent generator for each (seed, purpose, step, rank).

    Philox4x64 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). Seed and purpose are the
    key; step and rank are the counter's upper half, so each stream has 2**128 blocks of its own.
    """
    key = np.array([seed, purpose_key(purpose)], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, step, rank]))
