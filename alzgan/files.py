"""Files that are written whole or not at all, locks that end with their process, and the cache."""

import contextlib
import csv
import errno
import hashlib
import json
import os
import re
import shutil
import threading
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike

from alzgan.errors import UserError, causes, user_error
from alzgan.text import printable, shell_override

try:
    import fcntl
except ImportError:  # on Windows, which has no locks of this kind
    fcntl = None  # type: ignore[assignment]  # a module that may be missing

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE)

Found = TypeVar("Found")
held_locks: set[int] = set()
if fcntl:
    # A loader's worker may outlive a killed run for a while, and must not keep the run's lock.
    os.register_at_fork(after_in_child=lambda: close_locks())


def close_locks() -> None:
    """Close the locks that a forked process has inherited."""
    while held_locks:
        os.close(held_locks.pop())


@contextlib.contextmanager
def locked(place: Path, held_by_another: Callable[[], None]) -> Iterator[bool]:
    """Hold a lock on a file or a folder. The lock ends with the process and leaves no file.

    Args:
        place: an existing file or folder.
        held_by_another: called if another process holds the lock, before waiting for it.

    Yields:
        Whether the file system supports locks.
    """
    if not fcntl:
        yield False
        return
    descriptor = os.open(place, os.O_RDONLY)
    held_locks.add(descriptor)
    lockable = True
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held_by_another()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # some network file systems
            lockable = False
        yield lockable
    finally:
        if descriptor in held_locks:  # a forked process has closed it
            held_locks.remove(descriptor)
            os.close(descriptor)


@contextlib.contextmanager
def written_by_one_process(folder: Path) -> Iterator[None]:
    """Make the folder and hold its lock.

    Raises:
        UserError: another process holds it.
    """

    def refuse() -> None:
        raise UserError(f"{folder} is being written by another process; choose another run_dir")

    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, refuse):
        yield


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a scratch path for a file or folder, and rename it to `path` if the block succeeds.

    The rename is durable. It replaces a file or an empty folder.
    """
    with scratch(path) as part:
        yield part
        publish(part, path)


@contextlib.contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` that no other process gets; remove what is there after the block."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        yield part
    finally:
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


def publish(part: Path, path: Path) -> None:
    """Give a finished file its name, durably."""
    sync(part)
    os.replace(part, path)
    sync(path.parent)


def folder_name(name: str) -> str:
    """Return the name of a class if it can name a folder.

    Raises:
        UserError: such a folder could lie elsewhere. The name may come from an untrusted file.
    """
    if not name or any(sign in name for sign in "/\\:\0") or name.startswith("."):
        raise UserError(f"the class {printable(name)!r} cannot name a folder: nothing is written")
    return name


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill; it becomes `path` if the block succeeds.

    Raises:
        UserError: `path` exists already, or cannot be written.
    """
    try:
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise UserError(f"{printable(path)} exists already: give a new folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.mkdir()
            yield part
    except OSError as error:
        raise UserError(f"cannot write {printable(path)}: {error.strerror or error}") from None


def numbered_folder(path: Path) -> Path:
    """Make a new folder: `path`, or if that exists, the first free one of `path_2`, `path_3`, ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder, number = path, 1
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
            folder = path.with_name(f"{path.name}_{number}")


def sync(path: Path) -> None:
    """Flush a file to the disk, or a folder's list of names if the system can."""
    if not fcntl and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # folders on CIFS and some FUSE file systems
            raise
    finally:
        os.close(descriptor)


def remove_parts(folder: Path) -> None:
    """Remove the scratch files of killed processes. Only the owner of the folder may call this."""
    for part in folder.rglob("*.part"):
        if not re.search(r"\.[0-9a-f]{12}\.part$", part.name):
            continue  # another program's, for example of a download
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


@contextlib.contextmanager
def reporting_disk_errors(folder: Path, then: str | None = None) -> Iterator[None]:
    """Turn a failure to write to the folder into one line, whichever library was writing.

    Args:
        folder: of a run or a set.
        then: what to do once there is room; None: continue the run.

    Raises:
        UserError: a write failed; or the block's own UserError, if errors on closing files have hidden it.
    """
    report = threading.excepthook
    # TensorBoard's writing thread also hands its failure to the main thread.
    threading.excepthook = lambda failure: concerns(failure.exc_value, folder) or report(failure)
    try:
        yield
    except Exception as error:
        if (told := user_error(error)) is not None:
            raise told from None
        system = (cause for cause in causes(error) if isinstance(cause, OSError))
        failed = next((cause for cause in system if concerns(cause, folder)), None)
        if failed is None:
            raise
        then = then or f"continue with {shell_override('ckpt_path', folder)}"
        what = "choose a folder" if isinstance(failed, NotADirectoryError) else "free or mount the disk"
        raise UserError(f"cannot write to {folder}: {failed.strerror}; {what}, then {then}") from error
    finally:
        threading.excepthook = report


def concerns(error: BaseException | None, folder: Path) -> bool:
    """Whether the error comes from writing to the folder."""
    if not isinstance(error, OSError):
        return False
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | Path) else ""
    return error.errno in DISK_ERRORS or name.startswith(str(folder))


def read_json(path: Path) -> Any:
    """A JSON file's content; None if it is missing or not JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON with a final newline."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n")


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV in UTF-8; file names that are not UTF-8 keep their bytes."""
    with (
        replacing(path) as part,
        part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows that `write_table` wrote, by column name; none if there is no file."""
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return list(csv.DictReader(file))
    except OSError:
        return []


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays that `write_arrays` wrote, by name; none if the file is missing or damaged."""
    try:
        # Opened here, because numpy does not close a file that is not a zip archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, BadZipFile, zlib.error):
        return {}


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays of numbers, with checksums."""
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub allows only allow_pickle by name


def cache_folder(cache_dir: Path | str | None = None) -> Path:
    """The given folder, else $ALZGAN_CACHE, else $XDG_CACHE_HOME/alzgan, else ~/.cache/alzgan."""
    chosen = cache_dir or os.environ.get("ALZGAN_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "alzgan"


def cache_path(folder: Path, name: str, version: int, *key: ArrayLike) -> Path:
    """The cache file of one result, which must depend on the key and the code's version alone.

    The name ends with `.json` for plain containers, or with `.npz` for a dictionary of arrays.
    """
    kind, form = os.path.splitext(name)
    return folder / f"{kind}-{digest_of(f'version {version}', *key)}{form}"


def cached(path: Path, compute: Callable[[], Any], read: Callable[[Any], Found]) -> Found:
    """The result stored at a `cache_path`; a missing or damaged one is computed and stored.

    `read` converts the content that `compute` returns to the result, and raises KeyError, TypeError or
    ValueError on other content. A result that cannot be stored is computed again next time.
    """
    arrays = path.suffix == ".npz"
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return read(read_arrays(path) if arrays else read_json(path))
    found = compute()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(path, **found) if arrays else write_json(path, found)
    return read(found)


def digest_of(*parts: ArrayLike) -> str:
    """Hexadecimal digest of bytes, texts and arrays; tensors of the CPU are arrays too."""
    return hash_of(*parts).hexdigest()


def hash_of(*parts: ArrayLike) -> hashlib.blake2b:
    """The hash object of `digest_of`, to which more can be added.

    Lengths and shapes are hashed too, so different sequences of parts cannot collide.
    """
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = os.fsencode(part) if isinstance(part, str) else part
        if not isinstance(content, bytes):
            array = np.ascontiguousarray(content)
            content = f"{array.dtype} {array.shape}".encode() + array.tobytes()
        found.update(len(content).to_bytes(8))
        found.update(content)
    return found


def unwritable_cache(cache: Path, error: OSError) -> UserError:
    """The error for a cache that cannot be written; it names a file that is in the place of a folder."""
    files = [path for path in (cache, *cache.parents) if path.exists() and not path.is_dir()]
    reason = f"{printable(files[0])} is a file, not a folder" if files else error.strerror or error
    return UserError(
        f"cannot write the cache {printable(cache)}: {reason}; "
        "set data.cache_dir or ALZGAN_CACHE to a folder that can be written and has room"
    )
