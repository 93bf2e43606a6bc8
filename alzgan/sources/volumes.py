"""Cut volumes into a folder of 8-bit slices, with a manifest that says who is in which slice.

Slices follow the neurological convention, however a file stores its voxels: the patient's left is on the left
of axial and coronal slices, the front is at the top of axial and on the right of sagittal ones, and the top
of the head is at the top of coronal and sagittal ones. Pixels are square.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from alzgan.errors import UserError, at_least, one_of
from alzgan.files import folder_name, new_folder, write_table
from alzgan.images.folder import (
    MASK_WORDS,
    ImageFile,
    Listing,
    has_image_suffix,
    is_excluded,
    laid_out,
    masks_of,
    walk,
)
from alzgan.people.cohort import CLASS_COLUMN, IN_FOLDERS, with_classes
from alzgan.people.names import suggest_pattern
from alzgan.people.splits import MANIFEST_COLUMNS, SCAN
from alzgan.people.subjects import (
    CHOICES,
    Subjects,
    by_table_or_names,
    identify,
    match_paths,
    nobody,
    refuse_spellings,
)
from alzgan.sources.bad_volume import BadVolume, optional_package
from alzgan.sources.dicom import Series, is_dicom, series_among
from alzgan.sources.scans import MANY_VALUES, ORIENTATION, PLANES, VOLUME_SUFFIXES, Volume, load_volume
from alzgan.text import counted, printable, shell_override

VOLUME_SUFFIX = re.compile(rf"(?:{'|'.join(map(re.escape, VOLUME_SUFFIXES))})\Z", re.IGNORECASE)
LABELS = re.compile(rf"(?:.+[_-])?(?:{MASK_WORDS})", re.IGNORECASE)
THIN = 8  # a slice with a side of fewer voxels is a stripe


@dataclass(frozen=True)
class VolumeFile:
    """A volume on disk, with its class, its person and the name of its slices."""

    path: Path  # the file, or the folder of a DICOM series
    label: str
    subject: str  # "" if only the slices can tell
    name: str
    part: str = ""  # one of `alzgan.people.subjects.PARTS`, if the folders or a table give it
    series: Series | None = None
    columns: dict[str, str] = field(default_factory=dict)  # the other columns of a table


class Found(NamedTuple):
    """The volumes of a folder, notes on how it was read, and the DICOM files that cannot be read."""

    volumes: list[VolumeFile]
    notes: list[str]
    odd: list[BadVolume]


@dataclass(frozen=True)
class Sliced:
    """The result of cutting a folder of volumes."""

    skipped: list[tuple[str, str]]  # (path relative to the root, reason) of each volume or file left out
    notes: list[str]  # on how the folder was read


def volume_paths(root: Path | str, exclude: Sequence[str] = ()) -> list[str]:
    """Sorted paths, relative to the root, of the volumes of a folder and of all files of DICOM series.

    A file belongs to a series, whatever its content, if its name differs only in numbers from that of a DICOM
    file beside it.

    Raises:
        UserError: the root is missing, is not a folder or cannot be listed.
    """
    paths = [path for path, is_folder in sorted(walk(str(root))) if not is_folder]
    paths = [path for path in paths if not has_image_suffix(path) and not is_excluded(path, exclude)]
    dicom = {form_of(path) for path in paths if not VOLUME_SUFFIX.search(path) and is_dicom(Path(root, path))}
    return [path for path in paths if VOLUME_SUFFIX.search(path) or form_of(path) in dicom]


def form_of(path: str) -> tuple[str, str]:
    """The folder of a file, and its name with all numbers replaced by 0."""
    folder, _, name = path.rpartition("/")
    return folder, re.sub(r"\d+", "0", name)


def find_volumes(
    root: Path | str, exclude: Sequence[str] = (), classes: str = "auto", subjects: str = "auto"
) -> Found:
    """Find the volumes of a folder, with their classes and people, sorted by path.

    Classes and parts are found as for images (`alzgan.images.folder.survey`). Volumes named as labels are
    left out, unless all are.

    Args:
        root: the folder.
        exclude: patterns of paths and names to leave out.
        classes: what a class is, as for images.
        subjects: who is in which volume: a rule of `alzgan.people.subjects.identify`; "content" leaves it to
            the slices. "auto" uses the first of these that fits: a table in the root, names of a known data
            set, DICOM patients, folders named like people, folders in class folders (`AD/p7/scan1.nii`)
            unless one person seems to have several.

    Raises:
        UserError: there are no volumes, or some in class folders and some beside them; slices of two volumes
            would have the same names; the people are unknown.
    """
    root = Path(root)
    found, odd = volumes_and_series(root, volume_paths(root, exclude))
    if odd and not found:
        raise odd[0]
    if not found:
        raise UserError(
            f"{printable(root)} holds no volume ({', '.join(VOLUME_SUFFIXES)} or DICOM): give a folder of "
            "volumes"
        )
    labels = label_volumes(found)
    paths = sorted(set(found).difference(labels))
    beside = [path for path in paths if "/" not in path]
    if beside and len(beside) < len(paths):
        raise UserError(
            f"{printable(root)} has volumes in class folders and {printable(beside[0])} beside them: "
            "move it into a class folder"
        )
    folders = sorted({path.partition("/")[0] for path in paths if "/" in path})
    listing = laid_out(paths, folders, [], [], classes)
    people = people_of(root, listing, found, subjects)
    refuse_spellings(people, listing.images)
    files = listing.images
    if classes == "csv":
        files = with_classes(files, people)
        for file in files:
            if not file.label:
                raise UserError(CLASS_COLUMN)
            folder_name(file.label)
    volumes = [volume_file(root, file, found[file.path], people, row) for row, file in enumerate(files)]
    refuse_twins(volumes)
    notes = [*listing.notes, *people.notes]
    if labels:
        notes.append(
            f"{counted(len(labels), 'volume')} left out, named as labels, the first is "
            f"{printable(labels[0])}; rename it if it is a scan"
        )
    return Found(volumes, notes, odd)


def refuse_twins(volumes: Sequence[VolumeFile]) -> None:
    """Raise UserError if slices of two volumes would have the same names."""
    seen: dict[tuple[str, str], Path] = {}
    for volume in volumes:
        twin = seen.setdefault((volume.label, volume.name), volume.path)
        if twin != volume.path:
            raise UserError(
                f"slices of {printable(twin)} and {printable(volume.path)} would have the same names: "
                "rename or remove one"
            )


def volumes_and_series(root: Path, paths: Sequence[str]) -> tuple[dict[str, Series | None], list[BadVolume]]:
    """The volumes by path, each with its series if it is DICOM, and the files that cannot be read."""
    found: dict[str, Series | None] = {path: None for path in paths if VOLUME_SUFFIX.search(path)}
    by_folder: dict[Path, list[Series]] = defaultdict(list)
    all_series, odd = series_among([root / path for path in paths if path not in found])
    for series in all_series:
        by_folder[series.folder].append(series)
    for folder, several in by_folder.items():
        path = folder.relative_to(root).as_posix() if folder != root else root.resolve().name
        for number, series in enumerate(several):
            found[path if len(several) == 1 else f"{path}/series-{number:03d}"] = series
    return found, odd


def label_volumes(found: dict[str, Series | None]) -> list[str]:
    """The volumes whose names are those of segmentations or masks; none if all are."""
    stems = {path: VOLUME_SUFFIX.sub("", path) for path, series in found.items() if series is None}
    beside = set(masks_of(stems.values()))
    labels = [
        path for path, stem in stems.items() if stem in beside or LABELS.fullmatch(PurePosixPath(stem).name)
    ]
    return sorted(labels) if len(labels) < len(found) else []


def people_of(root: Path, listing: Listing, found: dict[str, Series | None], rule: str) -> Subjects:
    """Who is in the volumes; see `find_volumes`."""
    files = listing.images
    unknown: list[Any] = [None] * len(files)
    if rule == "content":
        return Subjects(rule, [""] * len(files), unknown, unknown)
    if rule == "none":
        return replace(nobody(files), notes=["each volume counts as a person of its own"])
    if rule != "auto":
        return identify(root, files, rule)
    if (told := by_table_or_names(root, files)) is not None:
        return told
    if len(files) == 1:
        return replace(nobody(files), notes=[])
    patients = [series.patient if (series := found[file.path]) else "" for file in files]
    if all(patients) and len(set(patients)) > 1:
        return Subjects("patients", patients, unknown, unknown)
    if listing.people_in_folders:
        return match_paths(files, IN_FOLDERS, f"regex:{IN_FOLDERS}")
    owners = [owner_of(root, file, found[file.path]) for file in files]
    suggested = suggest_pattern(sorted(set(owners)), least_each=1)
    if suggested or not all(owners) or len(set(owners)) < max(2, len({file.label for file in files})):
        advice = ""
        if suggested := suggested or suggest_pattern([file.path for file in files], least_each=1):
            pattern, example = suggested
            override = shell_override("data.subjects", f"regex:{pattern}")
            advice = f"{override} if {printable(example)} is a person, or "
        raise UserError(
            f"the people in the volumes are unknown: no rule fits names like {printable(files[0].path)}; "
            f"give {advice}{CHOICES}"
        )
    note = f"each folder in a class folder is taken for a person, the first is {printable(owners[0])}"
    return Subjects("folders", owners, unknown, unknown, [f"{note}; if not, give {CHOICES}"])


def owner_of(root: Path, file: ImageFile, series: Series | None) -> str:
    """The folder of a volume in its class folder; "" if there is none."""
    folder = series.folder.relative_to(root) if series else PurePosixPath(file.path).parent
    parts = folder.parts[file.part is not None :]
    return next(iter(parts[1:] if parts[:1] == (file.label,) else parts), "")


def volume_file(root: Path, file: ImageFile, series: Series | None, people: Subjects, row: int) -> VolumeFile:
    """A volume with its person and the name of its slices."""
    parts = PurePosixPath(file.path if series else VOLUME_SUFFIX.sub("", file.path)).parts[
        file.part is not None :
    ]
    inner = parts[1:] if len(parts) > 1 and parts[0] == file.label else parts
    return VolumeFile(
        series.folder if series else root / file.path,
        file.label,
        people.subject[row],
        "_".join(inner),
        people.split[row] or file.part or "",
        series,
        {name: values[row] for name, values in (people.columns or {}).items()},
    )


def write_slices(
    root: Path | str,
    destination: Path | str,
    *,
    exclude: Sequence[str] = (),
    classes: str = "auto",
    subjects: str = "auto",
    bad_files: str = "error",
    **choice: Any,
) -> Sliced:
    """Cut a folder of volumes (see `find_volumes`) into an image folder of neighbouring slices.

    Writes 8-bit grey `<class>/<volume>_slice-<index>.png`, where the index counts from the lowest, rearmost
    or leftmost slice, and `manifest.csv` with the columns file, class, subject, slice, split (if the folders
    or a table give it), scan (the volume) and the other columns of a table. The folder appears whole or not
    at all. A volume or a file of a DICOM series that cannot be used is an error, or left out if `bad_files`
    is "skip". Volumes of few whole numbers are labels and left out, unless there are no others.

    The 0.5th and 99.5th percentile of a volume's foreground become 0 and 255. The background becomes 0: the
    value that most corners of the volume have, and what is not finite. The coarser of the two in-plane
    spacings is interpolated to the finer one (bicubic).

    Raises:
        UserError: nibabel or pydicom is missing; see `find_volumes` and `Choice`; `destination` is not empty
            or cannot be written; no volume can be used.
        BadVolume: see `alzgan.sources.scans.load_volume` and `Choice.cut`, unless `bad_files` is "skip".
    """
    optional_package("nibabel", "nifti")
    chosen = Choice(**choice)
    found = find_volumes(root, exclude, classes, subjects)
    with new_folder(Path(destination).absolute()) as folder:
        slicer = Slicer(folder, chosen, bad_files == "skip")
        slicer.leave_out(found.odd)
        for file in tqdm(found.volumes, "slicing", unit=" volumes"):
            slicer.add(file)
        if len(slicer.labels) == len(found.volumes):
            for file in slicer.labels:
                slicer.add(file, labels=True)
        elif labels := slicer.labels:
            said = f"{counted(len(labels), 'volume')} of fewer than {MANY_VALUES} whole numbers left out"
            first = printable(labels[0].path.relative_to(root))
            found.notes.append(f"{said} as labels, the first is {first}; prepare them alone to keep them")
        skipped = [(error.path.relative_to(root).as_posix(), error.reason) for error in slicer.skipped]
        if not slicer.rows:
            path, reason = skipped[-1]  # a volume: it follows the files of its series
            raise UserError(
                f"cannot use the volume {printable(path)}: {reason}; "
                f"nor can any other one in {printable(root)}"
            )
        write_table(
            folder / "manifest.csv", (*MANIFEST_COLUMNS, SCAN, *found.volumes[0].columns), slicer.rows
        )
    return Sliced(skipped, found.notes)


@dataclass
class Slicer:
    """Writes the slices of volumes, and records what is left out."""

    folder: Path
    choice: "Choice"
    skip: bool  # volumes that cannot be used; else they are an error
    rows: list[list[Any]] = field(default_factory=list)  # of the manifest
    labels: list[VolumeFile] = field(default_factory=list)  # volumes put aside as labels
    skipped: list[BadVolume] = field(default_factory=list)

    def leave_out(self, odd: Sequence[BadVolume]) -> None:
        if odd and not self.skip:
            raise odd[0]
        self.skipped += odd

    def add(self, file: VolumeFile, labels: bool = False) -> None:
        """Write the slices of a volume. Put it aside if it holds labels, unless `labels` is true."""
        try:
            volume = load_volume(file.path, file.series, self.choice.orientation)
            if volume.holds_labels and not labels:
                self.labels.append(file)
                return
            self.leave_out(volume.odd)
            indices, images = self.choice.cut(volume)
        except BadVolume as error:
            self.leave_out([error])
            return
        (self.folder / file.label).mkdir(exist_ok=True)
        for index, image in zip(indices, images, strict=True):
            path = f"{file.label}/{file.name}_slice-{index:03d}.png"
            Image.fromarray(image).save(self.folder / path)
            row = [path, file.label, file.subject, index, file.part, file.name, *file.columns.values()]
            self.rows.append(row)


@dataclass(frozen=True)
class Choice:
    """Which slices of a volume to cut.

    Args:
        plane: "axial" (from the bottom up), "coronal" (from the back) or "sagittal" (from the left).
        between: the part of the volume to cut, as fractions of its extent across the plane.
        central: number of slices to take from the middle of that part; None takes all.
        orientation: directions of the three voxel axes ("RAS", "LPI") for a file without an orientation.

    Raises:
        UserError: a value is out of its range.
    """

    plane: str = "axial"
    between: tuple[float, float] = (0.0, 1.0)
    central: int | None = None
    orientation: str | None = None

    def __post_init__(self):
        one_of(PLANES, **{"volumes.plane": self.plane})
        at_least(1, **{"volumes.central": self.central})
        if len(self.between) != 2 or not 0 <= self.between[0] < self.between[1] <= 1:
            raise UserError(
                f"volumes.between={list(self.between)}: give two fractions with 0 <= low < high <= 1"
            )
        if self.orientation is not None and not ORIENTATION.fullmatch(self.orientation):
            raise UserError(
                f"volumes.orientation={printable(self.orientation)}: give the directions of the three voxel "
                "axes by one letter each, R or L, A or P, S or I: RAS"
            )

    def cut(self, volume: Volume) -> tuple[list[int], np.ndarray]:
        """The indices of the chosen slices along the canonical axis, and the slices, uint8 (K, H, W).

        Raises:
            BadVolume: no contrast; slices of fewer than `THIN` voxels across, or with gaps; too few slices.
        """
        path, axis = volume.path, PLANES[self.plane]
        if volume.window is None:
            raise BadVolume(path, "empty, constant or a mask")
        self.refuse_stripes(volume)
        depth = volume.voxels.shape[axis]
        indices = range(round(self.between[0] * depth), round(self.between[1] * depth))
        if not indices:
            reason = f"none of its {depth} {self.plane} slices lies in volumes.between={list(self.between)}"
            raise BadVolume(path, reason, "give a wider part")
        if self.central is not None:
            if self.central > len(indices):
                several = counted(len(indices), f"{self.plane} slice")
                reason = f"volumes.central={self.central}, but it has {several} in volumes.between="
                raise BadVolume(path, f"{reason}{list(self.between)}", "give fewer")
            start = (len(indices) - self.central) // 2
            indices = indices[start : start + self.central]
        there = sorted(set(indices).difference(volume.missing(axis).tolist()))
        if not there:
            raise BadVolume(path, "the chosen slices are missing")
        return there, np.stack([volume.slice(self.plane, index) for index in there])

    def refuse_stripes(self, volume: Volume) -> None:
        """Raise BadVolume if the slices would be stripes or have gaps."""
        shape = volume.voxels.shape
        for other, axis in PLANES.items():
            if other == self.plane:
                continue
            if shape[axis] < THIN:
                reason = f"{shape[axis]} {other} slices alone: cut {self.plane} it gives stripes"
                raise BadVolume(volume.path, reason, f"set volumes.plane={other}")
            if missing := volume.missing(axis).size:
                reason = f"{counted(missing, f'{other} slice')} missing: cut {self.plane} it has gaps"
                raise BadVolume(volume.path, reason, f"set volumes.plane={other}")
