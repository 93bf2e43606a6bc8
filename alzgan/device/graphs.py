"""A training step as CUDA graphs: recorded once, then launched without Python between its kernels."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

WARM_UP_STEPS = 3  # as PyTorch's notes on CUDA graphs have it: lazy set-ups must be over before a capture

Turns = Sequence[NamedTuple]  # of tensors or None, always of the same shapes
Due = tuple[str, ...]
Step = Callable[[Turns, Due], dict[str, Tensor]]
Capture = Callable[[Callable[[], dict[str, Tensor]]], tuple[Callable[[], None], dict[str, Tensor]]]


class CapturedStep:
    """A step that is run as it is a few times, then captured and replayed; each call trains once.

    There is one graph for each set of names that a step is called with. The tensors that a replay returns are
    the same ones each time: they hold a step's values until the graph's next replay.

    Args:
        step: takes turns and names, and returns tensors. It must neither read a value of the device nor
            depend on anything that changes between calls but the turns' tensors, the weights and `scheduled`.
        optimizers: that it steps; Adam needs `fused=True`, which counts on the device.
        scheduled: for each optimizer the options that change between calls; the captured step reads them from
            tensors. Only the learning rate can.
        capture: `cuda_capture`, or a test's stand-in that works without CUDA.
        warm_up: `on_side_stream`, or likewise.
    """

    def __init__(
        self,
        step: Step,
        optimizers: Sequence[Optimizer],
        scheduled: Sequence[Sequence[str]] = (),
        capture: Capture | None = None,
        warm_up: Callable[..., dict[str, Tensor]] | None = None,
    ):
        self.step = step
        self.optimizers = optimizers
        self.options = [
            (group, name)
            for optimizer, names in zip(optimizers, scheduled or [()] * len(optimizers), strict=True)
            for group in optimizer.param_groups
            for name in names
        ]
        self.capture = capture or cuda_capture
        self.warm_up = warm_up or on_side_stream
        self.calls: Counter[Due] = Counter()
        self.graphs: dict[Due, tuple[Callable[[], None], dict[str, Tensor]]] = {}

    def __call__(self, turns: Turns, due: Due) -> dict[str, Tensor]:
        """Train one step."""
        self.calls[due] += 1
        if self.calls[due] <= WARM_UP_STEPS:
            return self.warm_up(self.step, turns, due)
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
                self.graphs[due] = self.capture(lambda: self.step(self.turns, due))
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
    """Record what the body queues, without running it; returns how to run it and its results' places."""
    graph = torch.cuda.CUDAGraph()
    # Other threads, a loader's that pins memory say, may go on with what a capture forbids.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = body()
    return graph.replay, outputs


def on_side_stream(step: Step, turns: Turns, due: Due) -> dict[str, Tensor]:
    """Run a step off the default stream, as a capture does."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        outputs = step(turns, due)
    torch.cuda.current_stream().wait_stream(stream)
    return outputs


def capturable(optimizers: Sequence[Optimizer]) -> contextlib.AbstractContextManager[None]:
    """Let the optimizers be captured."""
    options = [(group, "capturable") for optimizer in optimizers for group in optimizer.param_groups]
    return options_as(options, [True] * len(options))


@contextlib.contextmanager
def options_as(options: Sequence[tuple[dict[str, Any], str]], values: Sequence[Any]) -> Iterator[None]:
    """Give options of optimizers other values for the capture alone, since checkpoints carry them."""
    before = [group.get(name, False) for group, name in options]
    for (group, name), value in zip(options, values, strict=True):
        group[name] = value
    try:
        yield
    finally:
        for (group, name), value in zip(options, before, strict=True):
            group[name] = value
