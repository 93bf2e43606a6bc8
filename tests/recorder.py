"""A stand-in for a CUDA graph on a CPU: records the operations of a step and replays them, without Python.

So what a graph would bake in is baked in here: numbers, branches, and values read at the recording. As a
capture does, recording leaves the state as it was, and refuses to read a value.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from alzgan.device import graphs

WRITTEN_UNSAID = {
    (torch.ops.aten.native_batch_norm.default, name) for name in ("running_mean", "running_var")
}


def storages(values: Any) -> set[int]:
    """Addresses of the tensors in nested containers."""
    return {leaf.untyped_storage().data_ptr() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)}


class Recorder(TorchDispatchMode):
    """Runs operations, remembers them, and what they found in the tensors that they write to."""

    def __init__(self):
        super().__init__()
        self.operations: list[tuple[Any, tuple, dict, Any]] = []
        self.made: set[int] = set()  # storages that came to be while recording
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.kept: list[Any] = []  # so that no storage's address comes again

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("a value of the device is read while a graph is recorded")
        given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
        written = [
            value
            for argument in func._schema.arguments
            if (argument.alias_info is not None and argument.alias_info.is_write)
            or (func, argument.name) in WRITTEN_UNSAID
            for value in tree_leaves(given.get(argument.name))
            if isinstance(value, Tensor)
        ]
        for value in written:
            place = value.untyped_storage().data_ptr()
            if place not in self.made and place not in self.before:
                whole = torch.empty(0, dtype=value.dtype).set_(value.untyped_storage())
                self.before[place] = whole, whole.clone()
        result = func(*args, **kwargs)
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self.kept.append(value)
                if value.untyped_storage().data_ptr() not in storages((args, kwargs)):
                    self.made.add(value.untyped_storage().data_ptr())
        self.operations.append((func, args, kwargs, result))
        return result


def recorded(body: Callable[[], dict[str, Tensor]]) -> tuple[Callable[[], None], dict[str, Tensor]]:
    """As `alzgan.device.graphs.cuda_capture`."""
    with Recorder() as recorder:
        outputs = body()
    with torch.no_grad():
        for whole, content in recorder.before.values():
            whole.copy_(content)

    def replay() -> None:
        with torch.no_grad():
            for func, args, kwargs, result in recorder.operations:
                again = func(*args, **kwargs)
                for place, value in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(place, Tensor) and place.data_ptr() != value.data_ptr():
                        place.copy_(value)

    return replay, outputs


def patch_graphs(
    monkeypatch: pytest.MonkeyPatch, capture: Callable[..., tuple[Callable[[], None], dict]] = recorded
) -> None:
    """Let steps be captured without CUDA."""
    monkeypatch.setattr(graphs, "cuda_capture", capture)
    monkeypatch.setattr(graphs, "on_side_stream", as_it_is)


def as_it_is(step: Callable, turns: Any, due: Any) -> dict[str, Tensor]:
    """As `alzgan.device.graphs.on_side_stream`, where there are no streams."""
    return step(turns, due)
