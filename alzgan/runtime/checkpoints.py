"""How a checkpoint gets to the disk: whole, or not at all."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import TorchCheckpointIO

from alzgan.runtime.errors import UserError
from alzgan.runtime.files import replacing


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
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Through a Python file: torch's own writer hides the system's reason of a failure.
            with replacing(path) as part, part.open("wb") as file:
                torch.save(checkpoint, file)
        except OSError as error:
            raise UserError(
                f"cannot save {path}: {error.strerror}; free or mount the disk; the previous file is kept"
            ) from error
