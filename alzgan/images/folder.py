"""What is in an image folder: one folder a class, found by names alone, no file is opened.

Folders inside a class folder are read too. Ignored: whatever is hidden or left behind by a file manager,
files whose suffix is none of ``SUFFIXES``, and files beside the class folders (manifests, reports).
A link to a folder is followed once a class, unless it leads back into the root or above it; so no loop
and no image counted twice. A class folder without an image is no class.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from alzgan.errors import UserError
from alzgan.text import counted, printable

SUFFIXES = frozenset([
    ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
])  # fmt: skip
CLUTTER = frozenset(["thumbs.db", "desktop.ini", "__macosx", "@eadir"])
SPLITS = frozenset(["train", "training", "test", "testing", "val", "valid", "validation"])


@dataclass(frozen=True)
class ImageFile:
    """One image of the folder; in its names, bytes that are no UTF-8 are surrogate-escaped."""

    path: str  # relative to the root, with "/" between its parts
    label: str  # name of the class folder, the first part of `path`


@dataclass(frozen=True)
class Listing:
    """All that a folder holds, sorted: what is read, and what is left alone."""

    images: list[ImageFile]
    folders: list[str]  # names of all class folders, those without an image included
    others: list[str]  # paths of the files that have no image suffix or lie outside any class folder


def scan(root: Path | str) -> list[ImageFile]:
    """List the images of a folder with one subfolder a class, sorted by path.

    Raises:
        UserError: the root is missing, is no folder or cannot be listed; it has no class folder with an
            image in it (the line says what was found); its folders are a split (train, test), not classes.
    """
    listing = survey(root)
    if not listing.images:
        raise UserError(
            f"no images to read: {printable(root)} holds {summary(listing)}; data.root must hold one folder "
            "a class with images in it (png, jpg, tif, bmp, gif, webp, pgm, ...)"
        )
    # A folder train/CLASS/image, test/CLASS/image must not silently become the classes train and test.
    nested = all(image.path.count("/") > 1 for image in listing.images)
    if nested and all(name.lower() in SPLITS for name in listing.folders):
        raise UserError(
            f"the folders of {printable(root)} ({', '.join(listing.folders)}) are a split, not classes: "
            "merge them into one folder a class, or set data.root to one of them"
        )
    return listing.images


def class_names(files: Iterable[ImageFile]) -> list[str]:
    """The classes that have at least one image, sorted."""
    return sorted({file.label for file in files})


def survey(root: Path | str) -> Listing:
    """List everything in the folder but clutter, without judging whether it can be trained on.

    Raises:
        UserError: the root, or a folder in it, is missing, is no folder or cannot be listed.
    """
    images, folders, others = [], [], []
    for path, is_folder in sorted(walk(os.fspath(root))):
        label, inside, _ = path.partition("/")
        if is_folder:
            if not inside:
                folders.append(path)
        elif inside and has_image_suffix(path):
            images.append(ImageFile(path, label))
        else:
            others.append(path)
    return Listing(images, folders, others)


def walk(root: str) -> Iterator[tuple[str, bool]]:
    """Yield (relative path, is it a folder) of everything under the root but clutter, level after level."""
    real_root = os.path.realpath(root)
    followed = set()
    waiting = [""]
    for folder in waiting:  # grows while it is read: no recursion, so no folder is too deep for Python
        for entry in entries_of(os.path.join(root, folder) if folder else root):
            if entry.name.startswith(".") or entry.name.lower() in CLUTTER:
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
            if is_folder and entry.is_symlink():
                target = os.path.realpath(entry.path)
                link = path.partition("/")[0], target
                leads_back = os.path.commonpath([target, real_root]) in (target, real_root)
                if leads_back or link in followed:
                    continue
                followed.add(link)
            if is_folder:
                waiting.append(path)
            yield path, is_folder


def entries_of(folder: str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        place = "" if os.path.isabs(folder) else f" ({printable(os.path.abspath(folder))})"
        raise UserError(f"there is no folder {printable(folder)}{place}: check data.root") from None
    except NotADirectoryError:
        raise UserError(f"{printable(folder)} is a file: data.root must be a folder") from None
    except OSError as error:
        raise UserError(f"cannot list {printable(folder)}: {error.strerror}; mend or remove it") from None


def has_image_suffix(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in SUFFIXES


def summary(listing: Listing) -> str:
    """What the folder holds beside images in class folders, the three most frequent kinds."""
    if not listing.others and not listing.folders:
        return "nothing"
    kinds = Counter(kind_of(path) for path in listing.others)
    folders = counted(len(listing.folders), "folder") if listing.folders else "no folders"
    return " and ".join([*(counted(n, kind) for kind, n in kinds.most_common(3)), folders])


def kind_of(path: str) -> str:
    if has_image_suffix(path):
        return "image"
    return printable(f"{PurePosixPath(path).suffix.lower()} file").strip()
