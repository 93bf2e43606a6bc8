"""DICOM series as volumes: slices by where they lie in the patient, never by the names of their files.

PS3.3 of the standard, C.7.6.2 (image plane) and C.7.6.16 (multi-frame functional groups). pydicom reads the
files; nothing in them is run.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from alzgan.errors import UserError
from alzgan.sources.bad_volume import MAX_VOXELS, BadVolume
from alzgan.text import printable

SUFFIXES = (".dcm", ".dicom", ".ima")
PREAMBLE = 128  # bytes before the four letters that every file begins with
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])  # the standard's axes run to the left, the back and up
PARALLEL = 1e-3  # how far the directions of two slices of a series may differ
EVEN = 0.1  # how far gaps between slices may differ from their median, as a share of it
HEADER = ("SeriesInstanceUID", "PatientID", "Rows")  # what is read to sort files into series


@dataclass(frozen=True)
class Series:
    """Files of one scan, in any order."""

    folder: Path
    files: tuple[Path, ...]
    patient: str  # its ID, perhaps empty


@dataclass(frozen=True)
class Plane:
    """A slice: its pixels, and where they lie in the patient in mm."""

    pixels: np.ndarray  # (rows, columns), as stored
    slope: float
    intercept: float
    corner: np.ndarray  # (3,) the first pixel
    across: np.ndarray  # (3,) unit vector from column to column
    down: np.ndarray  # (3,) unit vector from row to row
    spacing: np.ndarray  # (2,) from column to column and from row to row
    thickness: float


def is_dicom(path: Path) -> bool:
    """Whether a file is one, by its suffix or by its first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"
    except OSError:
        return False


def series_among(paths: Sequence[Path]) -> list[Series]:
    """The series of files, by folder and series UID; files without an image, reports say, are in none.

    Raises:
        UserError: pydicom is missing.
        BadVolume: a file cannot be read.
    """
    if not paths:
        return []
    pydicom = import_pydicom()
    files: dict[tuple[Path, str, str], list[Path]] = defaultdict(list)
    for path in paths:
        header = read(path, pydicom, stop_before_pixels=True, specific_tags=list(HEADER))
        if "Rows" in header:
            uid, patient = (str(header.get(name) or "") for name in HEADER[:2])
            files[path.parent, uid, patient].append(path)
    return [Series(folder, tuple(paths), patient) for (folder, _, patient), paths in files.items()]


def read_series(folder: Path, files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """One series as a volume.

    Returns:
        float32 (columns, rows, slices), rescaled, dark for dark; and the affine (4, 4) from its voxels to mm
        to the patient's right, front and top.

    Raises:
        UserError: pydicom is missing.
        BadVolume: slices of several shapes or directions, at one place or with gaps; no place; colour; too
            large; compressed in a way that no installed package reads.
    """
    pydicom = import_pydicom()
    planes: list[Plane] = []
    for path in files:
        planes += planes_of(path, read(path, pydicom))
        if len(planes) * planes[0].pixels.size > MAX_VOXELS:
            raise BadVolume(folder, f"more than the limit of {MAX_VOXELS} voxels")
    return stacked(folder, planes)


def stacked(folder: Path, planes: Sequence[Plane]) -> tuple[np.ndarray, np.ndarray]:
    """Slices in the order of their places, and the affine; see `read_series`."""
    first = planes[0]
    for plane in planes:
        if plane.pixels.shape != first.pixels.shape:
            raise BadVolume(folder, f"slices of {first.pixels.shape} and {plane.pixels.shape} pixels")
        turned = np.abs(np.stack([plane.across - first.across, plane.down - first.down])).max()
        if turned > PARALLEL:
            raise BadVolume(folder, "slices that are not parallel, as of a localizer")
    normal = np.cross(first.across, first.down)
    heights = np.array([plane.corner @ normal for plane in planes])
    order = np.argsort(heights)
    gaps = np.diff(heights[order])
    if len(gaps) and gaps.min() < PARALLEL:
        raise BadVolume(folder, "several slices at one place, as of several echoes or times")
    if len(gaps) and np.abs(gaps - np.median(gaps)).max() > EVEN * np.median(gaps):
        raise BadVolume(folder, f"gaps of {gaps.min():.2f} to {gaps.max():.2f} mm: a slice is missing")
    lowest, highest = planes[order[0]], planes[order[-1]]
    step = (highest.corner - lowest.corner) / len(gaps) if len(gaps) else normal * first.thickness
    columns = [first.across * first.spacing[0], first.down * first.spacing[1], step]
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ np.stack(columns, axis=1)
    affine[:3, 3] = LPS_TO_RAS @ lowest.corner
    voxels = np.empty((*first.pixels.shape[::-1], len(planes)), np.float32)
    for index, place in enumerate(order):
        plane = planes[place]
        voxels[:, :, index] = plane.pixels.T * plane.slope + plane.intercept
    return voxels, affine


def planes_of(path: Path, file: Any) -> Iterator[Plane]:
    """The slices of a file, one or one a frame."""
    if file.get("SamplesPerPixel", 1) != 1:
        raise BadVolume(path, "colour images, no scan")
    frames = int(file.get("NumberOfFrames") or 1)
    if frames * file.Rows * file.Columns > MAX_VOXELS:  # before any is decoded
        raise BadVolume(path, f"more than the limit of {MAX_VOXELS} voxels")
    try:
        pixels = file.pixel_array.reshape(frames, file.Rows, file.Columns)
    except Exception as error:  # a decoder may raise anything on damaged data
        raise BadVolume(
            path, f"its pixels cannot be read ({printable(' '.join(str(error).split()))})"
        ) from None
    dark = -1.0 if file.get("PhotometricInterpretation") == "MONOCHROME1" else 1.0
    shared = next(iter(file.get("SharedFunctionalGroupsSequence") or [file]))
    each = file.get("PerFrameFunctionalGroupsSequence") or [file] * frames
    if len(each) != frames:
        raise BadVolume(path, f"{frames} frames, but places of {len(each)}")
    for frame, image in zip(each, pixels, strict=True):
        yield plane_of(path, (frame, shared, file), image, dark)


def plane_of(path: Path, places: tuple[Any, ...], pixels: np.ndarray, dark: float) -> Plane:
    """A slice, by what its frame, the frames' shared group or the whole file says."""

    def value(name: str, group: str, default: Any = None) -> Any:
        for place in places:
            inner = next(iter(place.get(group) or [place]))
            if inner.get(name) is not None:
                return inner.get(name)
        if default is None:
            raise BadVolume(path, f"it does not say how the head lies (no {name})")
        return default

    corner = np.array(value("ImagePositionPatient", "PlanePositionSequence"), float)
    directions = np.array(value("ImageOrientationPatient", "PlaneOrientationSequence"), float)
    between_rows, between_columns = map(float, value("PixelSpacing", "PixelMeasuresSequence"))
    return Plane(
        pixels,
        dark * float(value("RescaleSlope", "PixelValueTransformationSequence", 1)),
        dark * float(value("RescaleIntercept", "PixelValueTransformationSequence", 0)),
        corner,
        directions[:3],
        directions[3:],
        np.array([between_columns, between_rows]),
        float(value("SliceThickness", "PixelMeasuresSequence", 1)),
    )


def read(path: Path, pydicom: ModuleType, **options: Any) -> Any:
    try:
        return pydicom.dcmread(path, **options)
    except (
        pydicom.errors.InvalidDicomError,
        OSError,
        ValueError,
        KeyError,
        EOFError,
        AttributeError,
    ) as error:
        reason = printable(" ".join(str(error).split()))
        raise BadVolume(path, f"damaged or no DICOM ({reason})") from None


def import_pydicom() -> ModuleType:
    try:
        import pydicom
    except ImportError:
        raise UserError("DICOM needs pydicom: run pip install 'alzgan[dicom]'") from None
    return pydicom
