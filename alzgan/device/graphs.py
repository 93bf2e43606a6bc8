"""A training step as CUDA graphs: captured once, then replayed without Python between its kernels."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

WARM_UP_STEPS = 3  # as in PyTorch's notes on CUDA graphs: lazy initialization must precede a capture

Turns = Sequence[Any]  # named tuples of tensors or None, always of the same shapes
Due = tuple[str, ...]
Step = Callable[[Turns, Due], dict[str, Tensor]]


class CapturedStep:
    """A step that runs a few times as it is, and is then captured and replayed. Each call trains once.

    Each set of names that the step is called with has a graph. Each replay of a graph returns the same
    tensors, which hold the step's values until the next replay.

    Args:
        step: takes turns and names, and returns tensors. It must not read a value from the device. Between
            calls nothing may change but the turns' tensors, the weights and `scheduled`.
        optimizers: that the step uses; Adam needs `fused=True`, which counts on the device.
        scheduled: for each optimizer, the options that change between calls. The captured step reads them
            from tensors, which only works for the learning rate.
    """

    def __init__(
        self,
        step: Step,
        optimizers: Sequence[Optimizer],
        scheduled: Sequence[Sequence[str]] = (),
    ):
        self.step = step
        self.optimizers = optimizers
        self.options = [
            (group, name)
            for optimizer, names in zip(optimizers, scheduled or [()] * len(optimizers), strict=True)
            for group in optimizer.param_groups
            for name in names
        ]
        self.calls: Counter[Due] = Counter()
        self.graphs: dict[Due, tuple[Callable[[], None], dict[str, Tensor]]] = {}

    def __call__(self, turns: Turns, due: Due) -> dict[str, Tensor]:
        """Train one step."""
        self.calls[due] += 1
        if self.calls[due] <= WARM_UP_STEPS:
            return on_side_stream(self.step, turns, due)
        if not self.graphs:
            self.turns = [
                turn._make(value if value is None else value.clone() for value in turn) for turn in turns
            ]
            device = next(value.device for value in turns[0] if value is not None)
            self.values = [torch.empty((), device=device) for _ in self.options]
        for value, (group, name) in zip(self.values, self.options, strict=True):
            value.fill_(group[name])
        if due not in self.graphs:
            with capturable(self.optimizers), options_as(self.options, self.values):
                self.graphs[due] = cuda_capture(lambda: self.step(self.turns, due))
        for held, new in zip(self.turns, turns, strict=True):
            for place, value in zip(held, new, strict=True):
                if place is not None:
                    place.copy_(value)
        replay, outputs = self.graphs[due]
        replay()
        return outputs


def cuda_capture(
    body: Callable[[], dict[str, Tensor]],
) -> tuple[Callable[[], None], dict[str, Tensor]]:
    """Capture the body without running it; returns a function that replays it, and its output tensors."""
    graph = torch.cuda.CUDAGraph()
    # "thread_local" lets other threads, such as a loader's that pins memory, go on during the capture.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = body()
    return graph.replay, outputs


def on_side_stream(step: Step, turns: Turns, due: Due) -> dict[str, Tensor]:
    """Run a step on another stream than the default one, as a capture does."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        outputs = step(turns, due)
    torch.cuda.current_stream().wait_stream(stream)
    return outputs


def capturable(optimizers: Sequence[Optimizer]) -> contextlib.AbstractContextManager[None]:
    """Make the optimizers capturable in the block."""
    options = [(group, "capturable") for optimizer in optimizers for group in optimizer.param_groups]
    return options_as(options, [True] * len(options))


@contextlib.contextmanager
def options_as(options: Sequence[tuple[dict[str, Any], str]], values: Sequence[Any]) -> Iterator[None]:
    """Give options of optimizers other values in the block only, since checkpoints contain them."""
    before = [group.get(name, False) for group, name in options]
    for (group, name), value in zip(options, values, strict=True):
        group[name] = value
    try:
        yield
    finally:
        for (group, name), value in zip(options, before, strict=True):
            group[name] = value
