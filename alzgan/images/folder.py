"""List an image folder by names alone; no file is opened.

Each folder is a class; subfolders are read too. Images without any folder form one class. `train/CLASS` and
`test/CLASS` are classes with a split. Folders named like people are people. Ignored are hidden files, those
that file managers leave behind, files without a suffix of an image, masks beside images, and files beside the
class folders (manifests, reports). A link to a folder is followed once a class, unless it leads into the root
or above it, so there are no loops and no image is counted twice. A folder without an image is no class.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from alzgan.errors import UserError
from alzgan.text import counted, printable

IMAGE_SUFFIXES = frozenset([
    ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
])  # fmt: skip
VOLUMES = (".nii", ".nii.gz", ".mgh", ".mgz")
CLUTTER = frozenset(["thumbs.db", "desktop.ini", "__macosx", "@eadir"])
PART_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
FLAT = "all"  # the class of images without a class folder
CLASSES = ("auto", "folder", "none", "csv")
MASK_WORDS = r"(?:mask|seg|dseg|probseg|segmentation|labels?|roi)\d*|(?:aparc|aseg|wmparc).*"
MASK = re.compile(rf"(?P<image>.+?)[_-](?:{MASK_WORDS})", re.IGNORECASE)
MASK_FOLDERS = frozenset([
    "mask", "masks", "label", "labels", "labelstr", "labelsts", "seg", "segmentation", "segmentations",
])  # fmt: skip
IMAGE_FOLDERS = frozenset(["image", "images", "imagestr", "imagests", "img", "imgs", "scan", "scans"])
PERSON = re.compile(r"sub-\w+|\d{3}_S_\d{4,5}.*|OAS[1-4]_?\d{4}.*|IXI\d{3}.*|TCGA[-_]\w{2}[-_]\w{4}.*")
MANY_FOLDERS = 20  # so many folders whose names differ only in a number are people, not classes


@dataclass(frozen=True)
class ImageFile:
    """One image of the folder; bytes in its names that are not UTF-8 are surrogate-escaped."""

    path: str  # relative to the root, with "/" between its parts
    label: str  # name of the class; empty if a table gives none
    part: str | None = None  # train, validation or test, if the folders give it


@dataclass(frozen=True)
class Listing:
    """The content of a folder, sorted: the images and everything else."""

    images: list[ImageFile]
    folders: list[str]  # names of all class folders, including those without images
    others: list[str]  # paths of all other files
    people_in_folders: bool = False  # whether the top folders are people
    notes: list[str] = field(default_factory=list)  # on how the folder was read


def scan(root: Path | str, exclude: Sequence[str] = (), classes: str = "auto") -> list[ImageFile]:
    """List the images of a folder, sorted by path; see `survey`.

    Raises:
        UserError: the root is missing, not a folder or cannot be listed; there is no image (the line says
            what was found).
    """
    return images_of(survey(root, exclude, classes), root)


def images_of(listing: Listing, root: Path | str) -> list[ImageFile]:
    """The images of a listing; UserError if there are none."""
    if not listing.images:
        volumes = any(path.lower().endswith(VOLUMES) for path in listing.others)
        raise UserError(
            f"no images to read: {printable(root)} holds {summary(listing)}; data.root must hold one folder "
            "a class with images in it (png, jpg, tif, bmp, gif, webp, pgm, ...)"
            + ("; of volumes python -m alzgan.prepare makes such a folder" if volumes else "")
        )
    return listing.images


def class_names(files: Iterable[ImageFile]) -> list[str]:
    """The classes that have at least one image, sorted."""
    return sorted({file.label for file in files if file.label})


def survey(root: Path | str, exclude: Sequence[str] = (), classes: str = "auto") -> Listing:
    """List everything in the folder but clutter, whether or not it can be trained on.

    Args:
        root: the folder.
        exclude: shell patterns of paths and names to leave out.
        classes: what a class is: "folder", the first folder of a path; "none", one class for all; "csv", from
            a table; "auto", the folder, unless folders are people or there are none.

    Raises:
        UserError: the root, or a folder in it, is missing, not a folder or cannot be listed.
    """
    images: list[str] = []
    folders: list[str] = []
    others: list[str] = []
    for path, is_folder in sorted(walk(os.fspath(root))):
        if is_folder:
            folders += [path] if "/" not in path else []
        else:
            (images if has_image_suffix(path) else others).append(path)
    left_out = [path for path in images if is_excluded(path, exclude)]
    masks = masks_of(path for path in images if path not in set(left_out))
    others += [*left_out, *masks]
    paths = sorted(set(images).difference(others))
    notes = []
    if left_out:
        notes.append(f"{counted(len(left_out), 'image')} left out by data.exclude")
    if masks:
        more = counted(len(masks), "mask")
        notes.append(f"{more} beside images left out, the first is {printable(masks[0])}")
    return laid_out(paths, folders, others, notes, classes)


def laid_out(
    paths: Sequence[str], folders: list[str], others: Sequence[str], notes: list[str], classes: str
) -> Listing:
    """Read classes, and parts if there are any, from the images' folders.

    Args:
        paths: of the images, sorted.
        folders: names of the folders in the root.
        others: paths of the other files.
        notes: lines on how the folder was read so far.
        classes: as in `survey`.
    """
    parts = [name for name in folders if name.lower() in PART_OF]
    inside = [path for path in paths if path.partition("/")[0] in parts]
    if inside and len({PART_OF[name.lower()] for name in parts}) > 1:
        beside = ", ".join(printable(name) for name in folders if name not in parts)
        said = f"the folders {', '.join(map(printable, parts))} are a split"
        notes = [*notes, said + (f"; left alone beside them: {beside}" if beside else "")]
        images = [in_part(path, classes) for path in inside]
        return Listing(images, class_names(images), ignored(others, paths, inside), notes=notes)
    if not folders and paths:
        notes = [*notes, f"there are no class folders: all images are of one class, {FLAT}"]
        return Listing([ImageFile(path, FLAT) for path in paths], [], sorted(others), notes=notes)
    inside = [path for path in paths if "/" in path]
    people = classes != "folder" and are_people({path.partition("/")[0] for path in inside})
    if people and classes == "auto":
        said = (
            f"the {len(folders)} folders are people ({printable(folders[0])}, ...), not classes: all images "
        )
        notes = [*notes, said + f"are of one class, {FLAT}; data.classes=folder takes folders as classes"]
    one_class = people or classes in ("none", "csv")
    images = [ImageFile(path, FLAT if one_class else path.partition("/")[0]) for path in inside]
    return Listing(images, [] if one_class else folders, ignored(others, paths, inside), people, notes)


def ignored(others: Iterable[str], paths: Iterable[str], kept: Iterable[str]) -> list[str]:
    """The other files, and the images not kept."""
    return sorted({*others, *paths}.difference(kept))


def in_part(path: str, classes: str) -> ImageFile:
    """An image in a folder named like a part of a split."""
    top, _, rest = path.partition("/")
    label = rest.partition("/")[0] if "/" in rest and classes in ("auto", "folder") else FLAT
    return ImageFile(path, label, PART_OF[top.lower()])


def are_people(folders: Collection[str]) -> bool:
    """Whether folders are named like people of known datasets, or many differ only in a number."""
    if len(folders) > 1 and all(PERSON.fullmatch(name) for name in folders):
        return True
    forms = {re.sub(r"\d+", "0", name) for name in folders}
    return len(folders) >= MANY_FOLDERS and len(forms) == 1 and "0" in forms.pop()


def is_excluded(path: str, exclude: Sequence[str]) -> bool:
    """Whether a pattern matches the path, one of its folders or its name."""
    *folders, name = path.split("/")
    places = [path, name, *folders, *("/".join(folders[: n + 1]) for n in range(len(folders)))]
    return any(fnmatch(place, pattern.rstrip("/")) for pattern in exclude for place in places)


def masks_of(paths: Iterable[str]) -> list[str]:
    """The masks of other images: X_mask beside X, or a folder masks beside a folder images."""
    stems: dict[str, set[str]] = defaultdict(set)  # by folder
    names: dict[str, set[str]] = defaultdict(set)  # of the folders in a folder, in lower case
    split = [(PurePosixPath(path), path) for path in paths]
    for pure, _ in split:
        stems[str(pure.parent)].add(pure.stem.lower())
        for parent in pure.parents:
            names[str(parent.parent)].add(parent.name.lower())
    return [path for pure, path in split if is_mask(pure, stems, names)]


def is_mask(path: PurePosixPath, stems: dict[str, set[str]], names: dict[str, set[str]]) -> bool:
    named = MASK.fullmatch(path.stem)
    if named and named["image"].lower() in stems[str(path.parent)]:
        return True
    return any(
        parent.name.lower() in MASK_FOLDERS and names[str(parent.parent)] & IMAGE_FOLDERS
        for parent in path.parents
    )


def walk(root: str) -> Iterator[tuple[str, bool]]:
    """Yield (relative path, whether it is a folder) of everything but clutter, level by level."""
    real_root = os.path.realpath(root)
    followed = set()
    waiting = [""]
    for folder in waiting:  # grows while it is read; recursion could exceed Python's limit
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
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES


def summary(listing: Listing) -> str:
    """The other content of the folder: its three most frequent kinds."""
    if not listing.others and not listing.folders:
        return "nothing"
    suffixes = [PurePosixPath(path).suffix.lower() for path in listing.others]
    kinds = Counter(
        "image" if suffix in IMAGE_SUFFIXES else printable(f"{suffix} file").strip() for suffix in suffixes
    )
    folders = counted(len(listing.folders), "folder") if listing.folders else "no folders"
    return " and ".join([*(counted(n, kind) for kind, n in kinds.most_common(3)), folders])
