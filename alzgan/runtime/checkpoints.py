"""Checkpoints on the disk: written whole or not at all, read without running anything that is in them.

State that a run needs to go on has one door. Tensors: a submodule or buffer of the GAN, whose `state_dict`
is saved, checked and restored. Anything else: `state_dict` and `load_state_dict` of a callback.
"""

import io
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import TorchCheckpointIO
from torch import Tensor, nn
from torch.optim import Optimizer

import alzgan
from alzgan.runtime.errors import UserError
from alzgan.runtime.files import replacing

TO_CONTINUE = ("global_step", "optimizer_states", "callbacks", "loops")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the target, flush, rename: a kill or a full disk leaves the previous file in place.

    Lightning's own goes through a temporary file that may lie on another file system.

    Raises:
        UserError: the file cannot be written.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Save plain tensors and containers."""
        path = Path(path)
        # Through memory: torch's own writer hides the system's reason of a failure.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            # Not its parents: a run's folder that has vanished is an error, not a folder to make anew.
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as part:
                part.write_bytes(content.getbuffer())
        except OSError as error:
            raise UserError(
                f"cannot save {path}: {error.strerror}; free or mount the disk; the previous file is kept"
            ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of alzgan, on the CPU, as tensors and plain containers only.

    Raises:
        UserError: the file cannot be read, would run code, is damaged, or is no checkpoint of alzgan.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are then refused
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # bytes of any kind make the reader fail in any way
        raise UserError(refusal(path, error)) from None
    record = checkpoint.get("alzgan") if isinstance(checkpoint, dict) else None
    if not (is_record(record) and is_state(checkpoint.get("state_dict"))):
        raise UserError(f"{path} is no checkpoint of alzgan: it has no record of config and provenance")
    return checkpoint


def refusal(path: Path, error: Exception) -> str:
    """Why a file was not loaded, in one line."""
    foreign = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if foreign:
        return (
            f"{path} holds more than tensors and plain containers ({foreign[1]}) and could run code: it was "
            "not loaded. Use only checkpoints that alzgan wrote"
        )
    return f"{path} is damaged or no checkpoint; use another, checkpoints/best.ckpt say"


def is_record(record: Any) -> bool:
    """Whether it is what `RunRecord` writes."""
    return isinstance(record, dict) and all(
        isinstance(record.get(key), dict) for key in ("config", "provenance")
    )


def is_state(state: Any) -> bool:
    """Whether it is named tensors."""
    return isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())


def check_weights(module: nn.Module, checkpoint: dict[str, Any], path: Path) -> None:
    """Check that names and shapes of the checkpoint's weights are those of the module.

    Raises:
        UserError: they are not; the line names the first that differs, and the versions if they do.
    """
    ours, theirs = module.state_dict(), checkpoint["state_dict"]
    for name in [*ours, *theirs]:
        sides = [tuple(state[name].shape) if name in state else "none" for state in (theirs, ours)]
        if sides[0] != sides[1]:
            raise UserError(
                f"{path} does not fit the model: {name} is {sides[0]} in the file and {sides[1]} in the model"
                + version_note(checkpoint)
            )


def check_continuable(optimizers: tuple[Optimizer, ...], checkpoint: dict[str, Any], path: Path) -> None:
    """Check that the checkpoint has the state of a run, and of these optimizers.

    Raises:
        UserError: it has not.
    """
    missing = [key for key in TO_CONTINUE if key not in checkpoint]
    if missing:
        raise UserError(f"{path} has no {missing[0]}: it can be sampled from, but not continued")
    states = checkpoint["optimizer_states"]
    if len(states) != len(optimizers) or not all(map(optimizer_fits, optimizers, states)):
        raise UserError(f"{path}: its optimizers' state does not fit the model" + version_note(checkpoint))


def optimizer_fits(optimizer: Optimizer, state: Any) -> bool:
    """Whether each parameter's state has the parameter's shape (or none at all, as counters)."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    try:
        kept = [list(values.values()) for _, values in sorted(state["state"].items())]
        count = sum(len(group["params"]) for group in state["param_groups"])
    except (TypeError, KeyError, AttributeError):
        return False
    return count == len(parameters) == len(kept) and all(
        isinstance(value, Tensor) and value.shape in (parameter.shape, ())
        for parameter, values in zip(parameters, kept, strict=True)
        for value in values
    )


def version_note(checkpoint: dict[str, Any]) -> str:
    """Which version wrote it, where that is not this one."""
    version = checkpoint["alzgan"]["provenance"].get("alzgan")
    if version == alzgan.__version__:
        return ""
    return f" (written by alzgan {version}, this is {alzgan.__version__})"


def between_steps(checkpoint: dict[str, Any], batches: int) -> None:
    """Let Lightning's counters say exactly: `global_step` steps are done, of epochs of so many batches.

    Its own depend on the hook that a checkpoint was saved in, and on how the run ended; the epoch that
    follows would then be skipped, begun anew or counted twice.
    """
    step = checkpoint["global_step"]
    epoch, batch = divmod(step, batches)
    loop = checkpoint["loops"]["fit_loop"]
    for counts in ("total", "current"):
        begun = epoch + (batch > 0)
        loop["epoch_progress"][counts] |= {"ready": begun, "started": begun}
        loop["epoch_progress"][counts] |= {"processed": epoch, "completed": epoch}
        steps = step if counts == "total" else batch
        loop["epoch_loop.batch_progress"][counts] |= dict.fromkeys(
            ("ready", "started", "processed", "completed"), steps
        )
    loop["epoch_loop.batch_progress"]["is_last_batch"] = False
    loop["epoch_loop.state_dict"]["_batches_that_stepped"] = step
    checkpoint["epoch"] = epoch
