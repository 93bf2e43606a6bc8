"""One scan, from whatever file it lies in, in the canonical frame.

That is: first axis to the patient's right, second to the front, third up. NIfTI (.nii, .nii.gz, pairs of .hdr
and .img), FreeSurfer (.mgh, .mgz), Analyze 7.5 (.hdr and .img) and DICOM (`alzgan.sources.dicom`) are read. A
file that does not say how the head lies is refused unless an orientation is given.
"""

import gzip
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from alzgan.errors import UserError
from alzgan.images.decoding import Window, window_of
from alzgan.sources.bad_volume import MAX_VOXELS, BadVolume
from alzgan.sources.dicom import Series, read_series
from alzgan.text import printable

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}  # the axis of the canonical frame that a plane cuts
SUFFIXES = (".nii", ".nii.gz", ".mgh", ".mgz", ".hdr")
NIFTI_PAIR = (b"ni1\0", b"ni2\0")  # magic of a NIfTI header whose voxels are in an .img
MAX_SIDE = 4096  # pixels of a slice
MANY_VALUES = 64  # whole numbers: a volume of fewer holds labels; FreeSurfer's aseg has 45
ORIENTATION = re.compile(r"(?=.*[RL])(?=.*[AP])(?=.*[SI])[RLAPSI]{3}")


@dataclass(frozen=True)
class Volume:
    """A scan in the canonical frame."""

    path: Path
    voxels: np.ndarray  # float32 (right, front, up)
    spacing: np.ndarray  # (3,) mm from voxel to voxel
    window: Window | None  # None: no contrast
    odd: Sequence[BadVolume] = ()  # files of a DICOM series that are not in it
    is_series: bool = False

    @cached_property
    def holds_labels(self) -> bool:
        """Whether the voxels are few whole numbers, as of a segmentation or a mask."""
        values = self.voxels[np.isfinite(self.voxels)]
        for some in (values[:: len(values) // 10_000 + 1], values):  # a few suffice to recognise a scan
            different = np.unique(some)
            if len(different) >= MANY_VALUES or (different % 1).any():
                return False
        return len(different) > 1

    def missing(self, axis: int) -> np.ndarray:
        """Indices of the slices across an axis that a DICOM series lacks; the first one is always there."""
        line = np.moveaxis(self.voxels, axis, 0)[:, 0, 0]
        return np.flatnonzero(np.isnan(line)) if self.is_series else np.array([], int)

    def slice(self, plane: str, index: int) -> np.ndarray:
        """One slice, uint8 (H, W), as it is to be looked at."""
        axis = PLANES[plane]
        # Of the two axes left, the first runs to the right of the image and the second up.
        values = np.moveaxis(self.voxels, axis, 0)[index].T[::-1]
        image = Image.fromarray(np.rint(self.window.show(values)).astype(np.uint8))
        across, up = np.delete(self.spacing, axis)
        finer = min(across, up)  # the coarser axis is interpolated: no detail is lost, nothing can alias
        size = round(image.width * across / finer), round(image.height * up / finer)
        return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def load_volume(path: Path, series: Series | None = None, orientation: str | None = None) -> Volume:
    """Read a scan into the canonical frame, slope and intercept applied.

    Args:
        path: of the file, or of the folder of a DICOM series.
        series: that one; None for a volume of one file.
        orientation: where the three voxel axes run to, as "RAS" or "LPI", in a volume that does not say it.

    Raises:
        UserError: a package is missing.
        BadVolume: the file is truncated or damaged, too large, not one 3-D scan of real numbers, without
            orientation.
    """
    nibabel = import_nibabel()
    no_scan = nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold becomes infinite
            scan = read_series(series) if series else None
            image = nibabel.Nifti1Image(scan.voxels, scan.affine) if scan else opened(path, nibabel)
            check_header(path, image)
            if not is_oriented(image):
                image = oriented(path, image, orientation, nibabel)
            check_affine(path, image)
            check_compression(path)
            canonical = nibabel.as_closest_canonical(image)
            voxels = canonical.get_fdata(dtype=np.float32).reshape(canonical.shape[:3])
    except (OSError, EOFError, ValueError, OverflowError, zlib.error, *no_scan) as error:
        reason = printable(" ".join(str(error).split()))
        raise BadVolume(path, f"damaged or no scan ({reason})") from None
    spacing = nibabel.affines.voxel_sizes(canonical.affine)
    return Volume(path, voxels, spacing, window_of(voxels), scan.odd if scan else (), scan is not None)


def import_nibabel() -> ModuleType:
    try:
        import nibabel
    except ImportError:
        raise UserError("volumes need nibabel: run pip install 'alzgan[nifti]'") from None
    return nibabel


def opened(path: Path, nibabel: ModuleType) -> Any:
    """The file as a nibabel image; no voxel is read yet."""
    if path.suffix.lower() == ".mgh":  # nibabel would leave the file open
        return nibabel.MGHImage.from_bytes(path.read_bytes())
    if path.suffix.lower() != ".hdr":
        return nibabel.load(path, mmap=False)
    with path.open("rb") as header:
        magic = header.read(348)[344:]
    if magic in NIFTI_PAIR or path.stat().st_size >= 540:  # the header of NIfTI-2
        return nibabel.load(path, mmap=False)
    # Not by `nibabel.load`, which would read a MATLAB file beside it for SPM's sake.
    return nibabel.analyze.AnalyzeImage.from_filename(path, mmap=False)


def check_header(path: Path, image: Any) -> None:
    """Refuse what the header already shows to be unusable, before a voxel is read."""
    shape, kind = image.shape, image.get_data_dtype()
    if len(shape) < 3 or min(shape) < 1 or math.prod(shape[3:]) != 1:
        raise BadVolume(path, f"not one 3-D scan but of shape {shape}")
    if math.prod(shape) > MAX_VOXELS:
        raise BadVolume(path, f"shape {shape}, more than the limit of {MAX_VOXELS} voxels")
    if kind.kind not in "iuf":
        raise BadVolume(path, f"{kind} voxels, not one real number each")


def is_oriented(image: Any) -> bool:
    """Whether the file says how the head lies: NIfTI and FreeSurfer may, Analyze cannot."""
    header = image.header
    if "sform_code" in header:
        return bool(header["sform_code"] or header["qform_code"])
    return "goodRASFlag" in header and bool(header["goodRASFlag"])


def oriented(path: Path, image: Any, orientation: str | None, nibabel: ModuleType) -> Any:
    """The image with the orientation that is to be assumed."""
    if orientation is None:
        raise BadVolume(
            path, "it does not say how the head lies", "if you know it, set volumes.orientation, to RAS say"
        )
    turn = nibabel.orientations.axcodes2ornt(orientation)
    axes = np.linalg.inv(nibabel.orientations.inv_ornt_aff(turn, image.shape[:3]))
    spacing = np.abs(image.header.get_zooms()[:3])
    return nibabel.Nifti1Image(image.dataobj, axes @ np.diag([*spacing, 1.0]))


def check_affine(path: Path, image: Any) -> None:
    affine = image.affine
    if not np.isfinite(affine).all() or np.linalg.det(affine) == 0:
        raise BadVolume(path, "its affine maps the voxels to no place")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if (image.shape[:3] * spacing).max() / spacing.min() > MAX_SIDE:
        raise BadVolume(path, f"voxels of {spacing} mm would make slices of more than {MAX_SIDE} pixels")


def check_compression(path: Path) -> None:
    """Read a .gz to its end, in blocks: only there stands the checksum of all the voxels."""
    if path.suffix.lower() not in (".gz", ".mgz"):
        return
    limit = 16 * MAX_VOXELS  # the widest voxels have 16 bytes
    with gzip.open(path) as stream:
        while stream.read(2**20):
            if stream.tell() > limit:
                raise BadVolume(path, f"it unpacks to more than the limit of {limit} bytes")
