"""From volumes to a folder of 8-bit slices, with a manifest that says who is in which slice.

Every volume is turned to the canonical frame (first axis to the patient's right, second to the front, third
up), whatever order its file stores, and shown in the neurological convention: the patient's left is on the
left of axial and coronal slices, the front is up in axial and on the right in sagittal ones, and the top of
the head is up in coronal and sagittal ones. Pixels are square: voxel sizes are honoured.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from alzgan.errors import UserError
from alzgan.files import new_folder, write_table
from alzgan.images.folder import ImageFile, has_image_suffix, is_excluded, laid_out, walk
from alzgan.people.names import RULES
from alzgan.people.splits import MANIFEST, SCAN
from alzgan.sources.bad_volume import BadVolume
from alzgan.sources.dicom import Series, is_dicom, series_among
from alzgan.sources.scans import ORIENTATION, PLANES, SUFFIXES, import_nibabel, load_volume
from alzgan.text import counted, printable

LONGEST_FIRST = sorted(SUFFIXES, key=len, reverse=True)


@dataclass(frozen=True)
class VolumeFile:
    """A volume on disk, its class, its person, and the name that its slices begin with."""

    path: Path  # of the file, or of the folder of a DICOM series
    label: str
    subject: str
    name: str
    part: str = ""  # train, validation or test, where the folders say so
    series: tuple[Path, ...] = ()  # the files of it


class Found(NamedTuple):
    """The volumes of a folder, and lines on how it was read."""

    volumes: list[VolumeFile]
    notes: list[str]


@dataclass(frozen=True)
class Sliced:
    """What became of a folder of volumes."""

    skipped: list[tuple[str, str]]  # (path relative to the root, reason) of each volume that was left out
    notes: list[str] = field(default_factory=list)  # lines on how the folder was read


def volume_paths(root: Path | str, exclude: Sequence[str] = ()) -> list[str]:
    """Paths, relative to the root, of the volumes of a folder and of all files of DICOM series, sorted.

    Raises:
        UserError: the root is missing, is no folder or cannot be listed.
    """
    paths = (path for path, is_folder in sorted(walk(str(root))) if not is_folder)
    return [path for path in paths if is_volume(Path(root), path) and not is_excluded(path, exclude)]


def is_volume(root: Path, path: str) -> bool:
    return path.lower().endswith(SUFFIXES) or (not has_image_suffix(path) and is_dicom(root / path))


def find_volumes(root: Path | str, exclude: Sequence[str] = (), classes: str = "auto") -> Found:
    """The volumes of a folder, by class folder, sorted by path.

    Classes and parts are read as of images (`alzgan.images.folder.survey`). A person is whom a data set's
    names (`alzgan.people.names`) say, where they fit every volume, or the patients of DICOM; else whoever
    gives a folder its name, where folders are people; else volumes that lie together in a folder inside a
    class folder (`AD/p7/scan1.nii`), or whose names begin with the same `sub-...`, are of one person, and any
    other volume is a person of its own.

    Raises:
        UserError: no volumes; some in class folders and some beside them; two volumes whose slices would have
            the same names.
        BadVolume: a DICOM file cannot be read.
    """
    root = Path(root)
    found = volumes_and_series(root, volume_paths(root, exclude))
    if not found:
        raise UserError(
            f"{printable(root)} holds no volume ({', '.join(SUFFIXES)} or DICOM): give a folder of volumes"
        )
    beside = [path for path in found if "/" not in path]
    if beside and len(beside) < len(found):
        raise UserError(
            f"{printable(root)} has volumes in class folders and {printable(beside[0])} beside them: "
            "move it into a class folder"
        )
    folders = sorted({path.partition("/")[0] for path in found if "/" in path})
    listing = laid_out(sorted(found), folders, [], [], classes)
    people = known_people(found)
    volumes = [volume_file(root, file, found[file.path], people.get(file.path)) for file in listing.images]
    seen: dict[tuple[str, str], Path] = {}
    for volume in volumes:
        twin = seen.setdefault((volume.label, volume.name), volume.path)
        if twin != volume.path:
            raise UserError(
                f"slices of {printable(twin)} and {printable(volume.path)} would have the same names: "
                "rename or remove one"
            )
    return Found(volumes, listing.notes)


def volumes_and_series(root: Path, paths: Sequence[str]) -> dict[str, Series | None]:
    """Each volume under the path that names it, with the series that it is of DICOM."""
    found: dict[str, Series | None] = {path: None for path in paths if path.lower().endswith(SUFFIXES)}
    by_folder: dict[Path, list[Series]] = defaultdict(list)
    for series in series_among([root / path for path in paths if path not in found]):
        by_folder[series.folder].append(series)
    for folder, several in by_folder.items():
        path = folder.relative_to(root).as_posix() if folder != root else root.resolve().name
        for number, series in enumerate(several):
            found[path if len(several) == 1 else f"{path}/series-{number:03d}"] = series
    return found


def known_people(found: dict[str, Series | None]) -> dict[str, str]:
    """The person of each volume, by the names of a data set or by the patients of DICOM, if one fits all."""
    for rule in RULES.values():
        matches = {path: re.search(rule.pattern, path) for path in found}
        if all(matches.values()):
            return {path: match["subject"] for path, match in matches.items()}
    patients = {path: series.patient for path, series in found.items() if series and series.patient}
    return patients if len(patients) == len(found) and len(set(patients.values())) > 1 else {}


def volume_file(root: Path, file: ImageFile, series: Series | None, person: str | None) -> VolumeFile:
    """A volume with its person, if it is known, and the name of its slices."""
    parts = list(PurePosixPath(file.path).parts)
    if series is None:
        suffix = next(suffix for suffix in LONGEST_FIRST if parts[-1].lower().endswith(suffix))
        parts[-1] = parts[-1][: -len(suffix)]
    parts = parts[file.part is not None :]
    inner = parts[1:] if len(parts) > 1 and parts[0] == file.label else parts
    first = inner[0].partition("_")[0] if inner[0].startswith("sub-") else inner[0]
    return VolumeFile(
        series.folder if series else root / file.path,
        file.label,
        person or first,
        "_".join(inner),
        file.part or "",
        series.files if series else (),
    )


def slices(
    path: Path | str,
    *,
    plane: str = "axial",
    between: tuple[float, float] = (0.0, 1.0),
    central: int | None = None,
    orientation: str | None = None,
) -> np.ndarray:
    """Neighbouring slices of one volume, as they are to be looked at.

    The 0.5th and 99.5th percentile of the whole volume's foreground become 0 and 255. Foreground is what is
    finite and differs from the value that most corners of the volume have; the rest becomes 0. The coarser
    of the two in-plane spacings is interpolated (bicubic) to the finer one.

    Args:
        path: a file, or the folder of one DICOM series.
        plane: "axial" (from the lowest up), "coronal" (from the back) or "sagittal" (from the left).
        between: the part of the volume to take slices from, as fractions of its extent across the plane.
        central: how many slices to take, from the middle of that part; None takes all of it.
        orientation: where the three voxel axes run to ("RAS", "LPI") in a volume that does not say it.

    Returns:
        uint8 (K, H, W).

    Raises:
        UserError: nibabel or pydicom is missing; there is no such plane, part or orientation.
        BadVolume: as of `alzgan.sources.scans.load_volume`; or it has fewer slices than asked for.
    """
    choice = Choice(plane, tuple(between), central, orientation)
    path, files = Path(path), ()
    if path.is_dir():
        several = series_among(sorted(file for file in path.iterdir() if is_dicom(file)))
        if len(several) != 1:
            raise BadVolume(path, f"{len(several)} DICOM series", "give the folder of one")
        files = several[0].files
    return choice.cut(path, files)[1]


def write_slices(
    root: Path | str,
    destination: Path | str,
    *,
    plane: str = "axial",
    between: tuple[float, float] = (0.0, 1.0),
    central: int | None = None,
    orientation: str | None = None,
    exclude: Sequence[str] = (),
    classes: str = "auto",
    bad_files: str = "error",
    progress: bool = True,
) -> Sliced:
    """Turn a folder of volumes (see `find_volumes`) into an image folder of their slices (see `slices`).

    Writes `<class>/<volume>_slice-<index>.png`, 8-bit grey, where index counts from the volume's lowest,
    rearmost or leftmost slice, and `manifest.csv` with the columns file, class, subject, slice, split (empty,
    unless the folders say it) and scan (the volume). The folder, new or empty before, is there whole or not
    at all. A volume that cannot be used is an error, or is left out where `bad_files` is "skip".

    Raises:
        UserError: as `find_volumes` and `slices`; `destination` is there already or cannot be written; no
            volume can be used.
    """
    import_nibabel()
    choice = Choice(plane, tuple(between), central, orientation)
    (volumes, notes), skipped, rows = find_volumes(root, exclude, classes), [], []
    with new_folder(Path(destination).absolute()) as folder:
        for file in tqdm(volumes, "slicing", unit=" volumes", disable=not progress):
            try:
                indices, images = choice.cut(file.path, file.series)
            except BadVolume as error:
                if bad_files == "error":
                    raise
                skipped.append((file.path.relative_to(root).as_posix(), error.reason))
                continue
            (folder / file.label).mkdir(exist_ok=True)
            for index, image in zip(indices, images, strict=True):
                path = f"{file.label}/{file.name}_slice-{index:03d}.png"
                Image.fromarray(image).save(folder / path)
                rows.append([path, file.label, file.subject, index, file.part, file.name])
        if not rows:
            raise BadVolume(volumes[0].path, f"{skipped[0][1]}, nor can any other one in {printable(root)}")
        write_table(folder / "manifest.csv", (*MANIFEST, SCAN), rows)
    return Sliced(skipped, notes)


@dataclass(frozen=True)
class Choice:
    """Which slices of a volume; UserError where a value is out of its range."""

    plane: str
    between: tuple[float, float]
    central: int | None
    orientation: str | None

    def __post_init__(self):
        if self.plane not in PLANES:
            raise UserError(f"volumes.plane={printable(self.plane)}: choose axial, coronal or sagittal")
        if len(self.between) != 2 or not 0 <= self.between[0] < self.between[1] <= 1:
            raise UserError(
                f"volumes.between={list(self.between)}: give two fractions with 0 <= low < high <= 1"
            )
        if self.central is not None and self.central < 1:
            raise UserError(f"volumes.central={self.central}: give 1 or more, or null for all")
        if self.orientation is not None and not ORIENTATION.fullmatch(self.orientation):
            raise UserError(
                f"volumes.orientation={printable(self.orientation)}: say where the three voxel axes run to, "
                "with one letter each of R or L, A or P, S or I: RAS"
            )

    def cut(self, path: Path, files: Sequence[Path] = ()) -> tuple[range, np.ndarray]:
        """The chosen slices, uint8 (K, H, W), and where they lie along the canonical axis."""
        volume = load_volume(path, files, self.orientation)
        depth = volume.voxels.shape[PLANES[self.plane]]
        indices = range(round(self.between[0] * depth), round(self.between[1] * depth))
        if not indices:
            reason = f"none of its {depth} {self.plane} slices lies in volumes.between={list(self.between)}"
            raise BadVolume(path, reason, "give a wider part")
        if self.central is not None:
            if self.central > len(indices):
                there = counted(len(indices), f"{self.plane} slice")
                reason = f"volumes.central={self.central}, but it has {there} in volumes.between="
                raise BadVolume(path, f"{reason}{list(self.between)}", "give fewer")
            start = (len(indices) - self.central) // 2
            indices = indices[start : start + self.central]
        return indices, np.stack([volume.slice(self.plane, index) for index in indices])
