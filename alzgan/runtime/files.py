"""Files that are there whole or not at all."""

import contextlib
import csv
import errno
import fcntl
import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from alzgan.runtime.errors import UserError, causes, user_error

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE)

_locks: set[int] = set()
# A loader's worker that outlives its killed run for a while must not keep the run's lock meanwhile.
os.register_at_fork(after_in_child=lambda: [os.close(_locks.pop()) for _ in range(len(_locks))])


@contextlib.contextmanager
def written_by_one_process(folder: Path) -> Iterator[None]:
    """Make the folder and hold a lock on it, which ends with the process and leaves no file.

    Raises:
        UserError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    _locks.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        release(descriptor)
        raise UserError(f"{folder} is being written by another process; choose another run_dir") from None
    except OSError:
        pass  # a file system without locks
    try:
        yield
    finally:
        release(descriptor)


def release(descriptor: int) -> None:
    """Give a lock back; in a forked process, which has closed it, there is none."""
    if descriptor in _locks:
        _locks.remove(descriptor)
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; rename it over `path`, durably, if the block succeeds.

    The name carries the process id, so that two processes that write the same file do not meet.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        sync(part)
        os.replace(part, path)
        sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_parts(folder: Path) -> None:
    """Remove what killed processes were writing; for the one process that writes to the folder now."""
    for part in folder.rglob("*.part"):
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors_told(folder: Path) -> Iterator[None]:
    """Tell in one line that the folder cannot be written to any more, whoever was writing.

    Raises:
        UserError: it cannot; or what the block raised, where failures of closing files have covered it.
    """
    report = threading.excepthook
    # TensorBoard's writing thread hands its failure to the main thread, too.
    threading.excepthook = lambda failure: concerns(failure.exc_value, folder) or report(failure)
    try:
        yield
    except Exception as error:
        if (told := user_error(error)) is not None:
            raise told from None
        failed = next((cause for cause in causes(error) if concerns(cause, folder)), None)
        if failed is None:
            raise
        raise UserError(
            f"cannot write to {folder}: {failed.strerror}; free or mount the disk, then continue with "
            f"ckpt_path={folder}"
        ) from error
    finally:
        threading.excepthook = report


def concerns(error: BaseException, folder: Path) -> bool:
    """Whether it is the system's answer to writing in the folder."""
    if not isinstance(error, OSError):
        return False
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | Path) else ""
    return error.errno in DISK_ERRORS or name.startswith(str(folder))


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, ended by a newline."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n")


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV in UTF-8; bytes that are none, of odd file names, are written as they are."""
    with (
        replacing(path) as part,
        part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(rows)
