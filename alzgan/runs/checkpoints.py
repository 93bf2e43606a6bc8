"""Checkpoint files: written whole or not at all, and loaded without running code from them.

A run has two kinds of state. Tensors are in the `state_dict` of the GAN, as weights or buffers, and are
checked when they are loaded. Everything else is in the `state_dict` of a callback.
"""

import contextlib
import hashlib
import io
import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import TorchCheckpointIO
from torch import Tensor, nn
from torch.optim import Optimizer

import alzgan
from alzgan.errors import UserError
from alzgan.files import replacing
from alzgan.upstream.lightning import has_progress

TO_CONTINUE = {"global_step": int, "epoch": int, "optimizer_states": list, "callbacks": dict, "loops": dict}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a scratch file and renames it, so that a kill or a full disk leaves the previous checkpoint.

    Lightning's own writer may put its temporary file on another file system.

    Raises:
        UserError: the file cannot be written.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Save plain tensors and containers."""
        path = Path(path)
        # Through memory, because torch's own writer hides the operating system's error.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            # No parents: if the run's folder has vanished, it must not be made again.
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as part:
                part.write_bytes(content.getbuffer())
        except OSError as error:
            raise UserError(
                f"cannot save {path}: {error.strerror}; free or mount the disk; the previous file is kept"
            ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of alzgan, on the CPU, as tensors and plain containers only."""
    return load_with_digest(path)[0]


def load_with_digest(path: Path) -> tuple[dict[str, Any], str]:
    """A checkpoint with the SHA-256 of the bytes that were read; a run may replace the file at any time."""
    try:
        content = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about formats that are refused below
            checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # the reader may raise anything on damaged bytes
        raise UserError(refusal(path, error)) from None
    record = checkpoint.get("alzgan") if isinstance(checkpoint, dict) else None
    parts = [record.get(name) for name in ("config", "provenance")] if isinstance(record, dict) else [None]
    state = checkpoint.get("state_dict") if all(isinstance(part, dict) for part in parts) else None
    if not (isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())):
        raise UserError(f"{path} is not a checkpoint of alzgan: it has no record of config and provenance")
    return checkpoint, hashlib.sha256(content).hexdigest()


def refusal(path: Path, error: Exception) -> str:
    """The reason why a file was not loaded, in one line."""
    foreign = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if foreign:
        return (
            f"{path} holds more than tensors and plain containers ({foreign[1]}), which could run code: it "
            "was not loaded. Use only checkpoints that alzgan has written"
        )
    return f"{path} is damaged or not a checkpoint; use another, for example checkpoints/best.ckpt"


def check_weights(module: nn.Module, checkpoint: dict[str, Any], path: Path) -> None:
    """Check that the checkpoint's weights have the names and shapes of the module's."""
    ours, theirs = module.state_dict(), checkpoint["state_dict"]
    for name in [*ours, *theirs]:
        sides = [tuple(state[name].shape) if name in state else "none" for state in (theirs, ours)]
        if sides[0] != sides[1]:
            raise UserError(
                f"{path} does not fit the model: {name} is {sides[0]} in the file and {sides[1]} in the model"
                f"{version_note(checkpoint)}"
            )


def check_state(checkpoint: dict[str, Any], path: Path) -> None:
    """Check that the checkpoint has all state of a run, and its provenance."""
    for key, kind in TO_CONTINUE.items():
        if not isinstance(checkpoint.get(key), kind) or (key == "loops" and not has_progress(checkpoint)):
            raise UserError(f"{path} has no {key}: it can make samples, but not be continued")
    before = checkpoint["alzgan"]["provenance"]
    for key, kind in {"data": dict, "world_size": int, "packages": dict}.items():
        if not isinstance(before.get(key), kind):
            raise UserError(f"{path} has no record of its {key}: it can make samples, but not be continued")


def check_optimizers(optimizers: tuple[Optimizer, ...], checkpoint: dict[str, Any], path: Path) -> None:
    """Check that the checkpoint's optimizer states fit these optimizers."""
    states = checkpoint["optimizer_states"]
    if len(states) != len(optimizers) or not all(map(optimizer_fits, optimizers, states)):
        raise UserError(f"{path}: its optimizers' state does not fit the model{version_note(checkpoint)}")


def optimizer_fits(optimizer: Optimizer, state: Any) -> bool:
    """Whether each parameter's state, if any, has the parameter's shape or is a scalar."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    try:
        # Frozen parameters have no state, and an optimizer such as plain SGD has none at all.
        kept = {int(index): list(values.values()) for index, values in state["state"].items()}
        count = sum(len(group["params"]) for group in state["param_groups"])
    except (TypeError, KeyError, AttributeError, ValueError):
        return False
    return count == len(parameters) and all(
        0 <= index < count and shape_fits(value, parameters[index])
        for index, values in kept.items()
        for value in values
    )


def shape_fits(value: Any, parameter: Tensor) -> bool:
    """Whether a value is a number, or a tensor of the parameter's shape with some sides 1."""
    if not isinstance(value, Tensor):
        return value is None or isinstance(value, int | float)
    sides = zip(value.shape, parameter.shape, strict=False)
    return value.shape == () or (value.dim() == parameter.dim() and all(n in (1, m) for n, m in sides))


@contextlib.contextmanager
def naming_the_file(path: Path, checkpoint: dict[str, Any]) -> Iterator[None]:
    """Add the file to an error about a setting that may come from it."""
    try:
        yield
    except UserError as error:
        version = checkpoint["alzgan"]["provenance"].get("alzgan")
        raise UserError(f"{error} (as in {path}, written by alzgan {version})") from None


def version_note(checkpoint: dict[str, Any]) -> str:
    """A note on the version that wrote the file, if it is not this one."""
    version = checkpoint["alzgan"]["provenance"].get("alzgan")
    if version == alzgan.__version__:
        return ""
    return f" (written by alzgan {version}, this is {alzgan.__version__})"
