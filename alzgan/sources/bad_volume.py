"""Shared by all readers of volumes: their error, size limit and optional packages."""

from importlib import import_module
from pathlib import Path
from typing import Any

from alzgan.errors import UserError
from alzgan.text import printable

MAX_VOXELS = 512**3  # 0.5 GiB as float32; a whole head at 0.4 mm has 1e8


class BadVolume(UserError):
    """A file that is not a scan, or too small for the request; `reason` is the reason alone."""

    def __init__(self, path: Path, reason: str, advice: str = "mend or remove it"):
        self.path, self.reason = path, printable(" ".join(map(str.strip, reason.splitlines())))
        super().__init__(
            f"cannot use the volume {printable(path)}: {self.reason}; {advice}, or set data.bad_files=skip"
        )


def optional_package(name: str, extra: str) -> Any:
    """Import a package of one of alzgan's extras; UserError if it is missing."""
    try:
        return import_module(name)
    except ImportError:
        raise UserError(f"reading volumes needs {name}: run pip install -e '.[{extra}]'") from None
