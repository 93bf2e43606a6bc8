"""What every reader of volumes refuses in the same words, and from which size on."""

from pathlib import Path

from alzgan.errors import UserError
from alzgan.text import printable

MAX_VOXELS = 512**3  # 0.5 GiB as float32; a whole head at 0.4 mm has 1e8


class BadVolume(UserError):
    """A file that is no scan, or one too small for what is asked: `reason` is the line's reason alone."""

    def __init__(self, path: Path, reason: str, advice: str = "mend or remove it"):
        super().__init__(
            f"cannot use the volume {printable(path)}: {reason}; {advice}, or set data.bad_files=skip"
        )
        self.path, self.reason = path, reason
