"""A training step as one CUDA graph: recorded once, then launched without Python between its kernels."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

WARM_UP_STEPS = 3  # as PyTorch's notes on CUDA graphs have it: lazy set-ups must be over before a capture

Step = Callable[..., dict[str, Tensor]]
Capture = Callable[[Callable[[], dict[str, Tensor]]], tuple[Callable[[], None], dict[str, Tensor]]]


class CapturedStep:
    """A step that is run as it is a few times, then captured and replayed; each call trains once.

    The tensors that a replay returns are the same ones each time: they hold a step's values until the next.

    Args:
        step: takes tensors, always of the same shapes, and returns tensors. It must neither read a value of
            the device nor depend on anything that changes between calls but its arguments and the weights.
        optimizers: that it steps; Adam needs `fused=True`, which counts on the device.
        capture: `cuda_capture`, or a test's stand-in that works without CUDA.
        warm_up: `on_side_stream`, or likewise.
    """

    def __init__(
        self,
        step: Step,
        optimizers: Sequence[Optimizer],
        capture: Capture | None = None,
        warm_up: Callable[..., dict[str, Tensor]] | None = None,
    ):
        self.step = step
        self.optimizers = optimizers
        self.capture = capture or cuda_capture
        self.warm_up = warm_up or on_side_stream
        self.calls = 0

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Train one step."""
        self.calls += 1
        if self.calls <= WARM_UP_STEPS:
            return self.warm_up(self.step, *inputs)
        if self.calls == WARM_UP_STEPS + 1:
            self.inputs = [value.clone() for value in inputs]
            with capturable(self.optimizers):
                self.replay, self.outputs = self.capture(lambda: self.step(*self.inputs))
        for held, value in zip(self.inputs, inputs, strict=True):
            held.copy_(value)
        self.replay()
        return self.outputs


def cuda_capture(
    body: Callable[[], dict[str, Tensor]],
) -> tuple[Callable[[], None], dict[str, Tensor]]:
    """Record what the body queues, without running it; returns how to run it and its results' places."""
    graph = torch.cuda.CUDAGraph()
    # Other threads, a loader's that pins memory say, may go on with what a capture forbids.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = body()
    return graph.replay, outputs


def on_side_stream(step: Step, *inputs: Tensor) -> dict[str, Tensor]:
    """Run a step off the default stream, as a capture does."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        outputs = step(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    return outputs


@contextlib.contextmanager
def capturable(optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Let the optimizers be captured; for that time only, since checkpoints carry the setting."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    before = [group.get("capturable", False) for group in groups]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group, value in zip(groups, before, strict=True):
            group["capturable"] = value
