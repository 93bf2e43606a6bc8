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
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index])
    before = [generator.get_state() for generator in generators]
    # A CPU generator uses only 32 bits of its seed.
    key = int(stream(seed, purpose, step, rank).integers(2**32))
    for generator in generators:
        generator.manual_seed(key)
    try:
        yield
    finally:
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)
