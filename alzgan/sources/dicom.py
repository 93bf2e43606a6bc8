"""Read DICOM series as volumes, ordering slices by their position in the patient.

See PS3.3 of the standard, C.7.6.2 (image plane) and C.7.6.16 (multi-frame functional groups).
"""

import contextlib
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from alzgan.sources.bad_volume import MAX_VOXELS, BadVolume, optional_package
from alzgan.text import counted, printable

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
MARK = re.compile(rb".{128}DICM", re.DOTALL)
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])  # DICOM's axes point to the left, the back and the top
ALIKE = 1e-3  # tolerance of the direction cosines and spacings (mm) of a series
EVEN = 0.1  # tolerance of the gaps between slices, as a share of their median
HEADER = ("SeriesInstanceUID", "PatientID", "SOPClassUID", "Rows")  # read to sort files into series


@dataclass(frozen=True)
class Series:
    """Files of one scan, in any order."""

    folder: Path
    files: tuple[Path, ...]
    patient: str  # ID, may be empty
    lost: int = 0  # unreadable files in the folder: as many slices may be missing


@dataclass(frozen=True)
class Plane:
    """A slice, rescaled, and its position in the patient, in mm."""

    path: Path
    values: np.ndarray  # float32 (rows, columns)
    corner: np.ndarray  # (3,) position of the first pixel
    across: np.ndarray  # (3,) unit vector from column to column
    down: np.ndarray  # (3,) unit vector from row to row
    spacing: np.ndarray  # (2,) from column to column and from row to row
    thickness: float


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its suffix or its first bytes."""
    start = start_of(path)
    return path.suffix.lower() in DICOM_SUFFIXES or MARK.match(start) is not None or is_bare(start)


def start_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1024)
    except OSError:
        return b""


def is_bare(start: bytes) -> bool:
    """Whether a file without a preamble begins with two little-endian elements of groups 2 or 8."""
    if len(start) < 8:
        return False
    group, element, length = struct.unpack_from("<HHI", start)
    if start[4:6].isalpha():  # explicit value representation, with a shorter length
        length = struct.unpack_from("<H", start, 6)[0]
    if group not in (2, 8) or 12 + length > len(start):
        return False
    following = struct.unpack_from("<HH", start, 8 + length)
    return (group, element) < following and following[0] in (2, 8)


def series_among(paths: Sequence[Path]) -> tuple[list[Series], list[BadVolume]]:
    """Group files into series by folder, series UID and patient; return the series and the bad files.

    Files without an image, such as reports, are ignored.

    Raises:
        UserError: pydicom is missing.
    """
    files: dict[tuple[Path, str, str], list[Path]] = defaultdict(list)
    imageless: list[tuple[Path, str]] = []
    classes = {""}  # of files with images; "" is that of a file that ends before its class
    odd: list[BadVolume] = []
    for path in paths:
        try:
            header = read(path, stop_before_pixels=True, specific_tags=list(HEADER))
        except BadVolume as error:
            odd.append(error)
            continue
        uid, patient, kind = (str(header.get(name) or "") for name in HEADER[:3])
        kind = kind or str(header.file_meta.get("MediaStorageSOPClassUID") or "")
        if "Rows" in header:
            files[path.parent, uid, patient].append(path)
            classes.add(kind)
        else:
            imageless.append((path, kind))
    odd += [BadVolume(path, "it ends before its image") for path, kind in imageless if kind in classes]
    lost = Counter(error.path.parent for error in odd)
    series = [Series(key[0], tuple(paths), key[2], lost[key[0]]) for key, paths in files.items()]
    return series, odd


def read_series(series: Series) -> tuple[np.ndarray, np.ndarray, list[BadVolume]]:
    """Read a series as a volume, rescaled, with inverted greys (MONOCHROME1) turned back.

    A file is left out if it is damaged, in colour, a copy of another file, or differs from most slices in
    size, direction or spacing. Other gaps are errors.

    Returns:
        Voxels, float32 (columns, rows, slices), NaN in missing slices; the affine (4, 4) to mm towards the
        patient's right, front and top; an error for each file that is left out.

    Raises:
        UserError: pydicom is missing.
        BadVolume: no file can be used; no size, direction and spacing is that of most slices; two slices are
            in one place; slices are missing; the volume is too large.
    """
    planes: list[Plane] = []
    odd: list[BadVolume] = []
    size = 0
    for path in series.files:
        try:
            several = list(planes_of(path, read(path)))
        except BadVolume as error:
            odd.append(error)
            continue
        planes += several
        size += sum(plane.values.size for plane in several)
        if size > MAX_VOXELS:
            raise BadVolume(series.folder, f"more than the limit of {MAX_VOXELS} voxels")
    odd += strangers(series.folder, planes)
    lost = series.lost + len(odd)
    odd += copies(without(planes, odd))
    planes = without(planes, odd)
    if not planes:
        raise BadVolume(series.folder, odd[0].reason)
    return *stacked(series.folder, planes, lost), odd


def without(planes: Sequence[Plane], odd: Sequence[BadVolume]) -> list[Plane]:
    refused = {error.path for error in odd}
    return [plane for plane in planes if plane.path not in refused]


def strangers(folder: Path, planes: Sequence[Plane]) -> list[BadVolume]:
    """The files whose slices differ from most in geometry; BadVolume if no majority is alike."""
    if not planes:
        return []
    cuts = np.array([(*plane.values.shape, *plane.across, *plane.down, *plane.spacing) for plane in planes])
    each = (np.abs(cuts - cut).max(axis=1) < ALIKE for cut in cuts)
    usual = next((alike for alike in each if 2 * alike.sum() > len(planes)), None)
    if usual is None:
        raise BadVolume(folder, "slices of several sizes, directions or spacings, as of a localizer")
    reason = "not of the size, direction and spacing of most slices of its series, as of a localizer"
    paths = dict.fromkeys(plane.path for plane, alike in zip(planes, usual, strict=True) if not alike)
    return [BadVolume(path, reason) for path in paths]


def copies(planes: Sequence[Plane]) -> list[BadVolume]:
    """The files with a slice that an earlier file also has: the same values in the same place."""
    first: dict[tuple[Any, ...], Path] = {}
    found: dict[Path, Path] = {}
    for plane in planes:
        place = tuple(np.round(plane.corner, 2).tolist())
        original = first.setdefault((place, blake2b(plane.values.tobytes()).digest()), plane.path)
        if original != plane.path:
            found.setdefault(plane.path, original)
    return [BadVolume(path, f"a copy of {printable(original.name)}") for path, original in found.items()]


def stacked(folder: Path, planes: Sequence[Plane], lost: int) -> tuple[np.ndarray, np.ndarray]:
    """Stack slices by position, of which up to `lost` may be missing; return the voxels and the affine."""
    first = planes[0]
    normal = np.cross(first.across, first.down)
    planes = sorted(planes, key=lambda plane: plane.corner @ normal)
    gaps = np.diff([plane.corner @ normal for plane in planes])
    step = np.median(gaps) if len(gaps) else 1.0
    if len(gaps) and gaps.min() < max(ALIKE, EVEN * step):
        raise BadVolume(folder, "several slices at one place, as of several echoes or times")
    steps = np.rint(gaps / step).astype(int)
    places = np.concatenate([[0], np.cumsum(steps)])
    missing = places[-1] + 1 - len(planes)
    if missing > lost or (np.abs(gaps - steps * step) > EVEN * step).any():
        raise BadVolume(folder, f"gaps of {gaps.min():.2f} to {gaps.max():.2f} mm: a slice is missing")
    lowest, highest = planes[0], planes[-1]
    up = (highest.corner - lowest.corner) / places[-1] if len(gaps) else normal * first.thickness
    columns = [first.across * first.spacing[0], first.down * first.spacing[1], up]
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ np.stack(columns, axis=1)
    affine[:3, 3] = LPS_TO_RAS @ lowest.corner
    voxels = np.full((*first.values.shape[::-1], places[-1] + 1), np.nan, np.float32)
    for place, plane in zip(places, planes, strict=True):
        voxels[:, :, place] = plane.values.T
    return voxels, affine


def planes_of(path: Path, file: Any) -> Iterator[Plane]:
    """The slices of a file, one for each frame."""
    if "MOSAIC" in (file.get("ImageType") or ()):
        raise BadVolume(path, "a Siemens mosaic, many slices in one image: convert it with dcm2niix")
    if file.get("SamplesPerPixel", 1) != 1:
        raise BadVolume(path, "colour images, not a scan")
    if not file.get("Rows") or not file.get("Columns"):
        raise BadVolume(path, "it does not say how many rows and columns it has")
    frames = int(file.get("NumberOfFrames") or 1)
    if frames * file.Rows * file.Columns > MAX_VOXELS:  # checked before decoding
        raise BadVolume(path, f"more than the limit of {MAX_VOXELS} voxels")
    try:
        pixels = file.pixel_array.reshape(frames, file.Rows, file.Columns)
    except Exception as error:  # a decoder may raise anything on damaged data
        raise BadVolume(path, f"its pixels cannot be read ({error})") from None
    dark = -1.0 if file.get("PhotometricInterpretation") == "MONOCHROME1" else 1.0
    shared = next(iter(file.get("SharedFunctionalGroupsSequence") or [file]))
    each = file.get("PerFrameFunctionalGroupsSequence") or [file] * frames
    if len(each) != frames:
        raise BadVolume(path, f"{frames} frames, but places of {len(each)}")
    for frame, image in zip(each, pixels, strict=True):
        yield plane_of(path, (frame, shared, file), image, dark)


def plane_of(path: Path, places: tuple[Any, ...], pixels: np.ndarray, dark: float) -> Plane:
    """A slice; its geometry is that of its frame, else of the shared group, else of the file."""

    def numbers(name: str, group: str, count: int, default: float | None = None) -> np.ndarray:
        for place in places:
            inner = next(iter(place.get(group) or [place]))
            if inner.get(name) is not None:
                break
        else:
            if default is None:
                said = "how far apart its pixels are" if name == "PixelSpacing" else "where its slices lie"
                raise BadVolume(path, f"it does not say {said} (no {name})")
            return np.full(count, default)
        with contextlib.suppress(TypeError, ValueError):
            return np.array(inner.get(name), float).reshape(count)
        raise BadVolume(path, f"its {name} is not {counted(count, 'number')}")

    directions = numbers("ImageOrientationPatient", "PlaneOrientationSequence", 6)
    slope = dark * numbers("RescaleSlope", "PixelValueTransformationSequence", 1, 1).item()
    intercept = dark * numbers("RescaleIntercept", "PixelValueTransformationSequence", 1, 0).item()
    return Plane(
        path,
        (pixels * slope + intercept).astype(np.float32),
        numbers("ImagePositionPatient", "PlanePositionSequence", 3),
        directions[:3],
        directions[3:],
        numbers("PixelSpacing", "PixelMeasuresSequence", 2)[::-1],
        numbers("SliceThickness", "PixelMeasuresSequence", 1, 1).item(),
    )


def read(path: Path, **options: Any) -> Any:
    """Read a file; one without a preamble must be little endian."""
    pydicom = optional_package("pydicom", "dicom")
    start = start_of(path)
    bare = is_bare(start)
    if not bare and not MARK.match(start):
        raise BadVolume(path, "damaged or not DICOM" if start else "the file is empty")
    try:
        file = pydicom.dcmread(path, force=bare, **options)
    except Exception as error:  # a parser may raise anything on damaged data
        raise BadVolume(path, f"damaged or not DICOM ({error})") from None
    if "TransferSyntaxUID" not in file.file_meta:  # the pixel decoder needs it
        file.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    return file
