"""Torch's global random generators, from which dropout and some custom networks draw."""

import contextlib
from collections.abc import Iterator

import torch

from alzgan.device.streams import stream


@contextlib.contextmanager
def torch_stream(
    device: torch.device, seed: int, purpose: str, step: int = 0, rank: int = 0
) -> Iterator[None]:
    """Seed torch's global generators from a stream, and restore their states after the block."""
    # A CPU generator uses only 32 bits of its seed.
    key = int(stream(seed, purpose, step, rank).integers(2**32))
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if on_cuda else []):
        torch.default_generator.manual_seed(key)
        if on_cuda:
            torch.cuda.default_generators[device.index].manual_seed(key)
        yield
