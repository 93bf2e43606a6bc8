"""Read a scan into the canonical frame: first axis to the patient's right, second to the front, third up.

Formats are NIfTI (.nii, .nii.gz, pairs of .hdr and .img), FreeSurfer (.mgh, .mgz), Analyze 7.5 (.hdr and
.img) and DICOM (`alzgan.sources.dicom`). A file without an orientation is refused unless one is given.
"""

import gzip
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alzgan.images.decoding import Window, window_of
from alzgan.sources.bad_volume import MAX_VOXELS, BadVolume, optional_package
from alzgan.sources.dicom import Series, read_series

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}  # the axis across each plane
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mgh", ".mgz", ".hdr")
NIFTI_PAIR = (b"ni1\0", b"ni2\0")  # magic of a NIfTI header with its voxels in an .img
MAX_SIDE = 4096  # pixels of a slice
MANY_VALUES = 64  # a volume of fewer different whole numbers holds labels; FreeSurfer's aseg has 45
ORIENTATION = re.compile(r"(?=.*[RL])(?=.*[AP])(?=.*[SI])[RLAPSI]{3}")


@dataclass(frozen=True)
class Volume:
    """A scan in the canonical frame."""

    path: Path
    voxels: np.ndarray  # float32 (right, front, up)
    spacing: np.ndarray  # (3,) mm from voxel to voxel
    window: Window | None  # None: the volume has no contrast
    odd: Sequence[BadVolume] = ()  # files of a DICOM series that are left out
    is_series: bool = False

    @cached_property
    def holds_labels(self) -> bool:
        """Whether the voxels are few whole numbers, as in a segmentation or a mask."""
        values = self.voxels[np.isfinite(self.voxels)]
        for some in (values[:: len(values) // 10_000 + 1], values):  # a sample suffices to recognise a scan
            different = np.unique(some)
            if len(different) >= MANY_VALUES or (different % 1).any():
                return False
        return len(different) > 1

    def missing(self, axis: int) -> np.ndarray:
        """Indices of the slices across an axis that a DICOM series lacks; it never lacks the first."""
        line = np.moveaxis(self.voxels, axis, 0)[:, 0, 0]
        return np.flatnonzero(np.isnan(line)) if self.is_series else np.array([], int)

    def slice(self, plane: str, index: int) -> np.ndarray:
        """One slice, uint8 (H, W), as it is shown."""
        assert self.window is not None, "without contrast there is nothing to show"
        axis = PLANES[plane]
        # Of the two remaining axes, the first points to the right of the image and the second up.
        values = np.moveaxis(self.voxels, axis, 0)[index].T[::-1]
        image = Image.fromarray(np.rint(self.window.show(values)).astype(np.uint8))
        across, up = np.delete(self.spacing, axis)
        finer = min(across, up)  # interpolating the coarser axis loses no detail and cannot alias
        size = round(image.width * across / finer), round(image.height * up / finer)
        return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def load_volume(path: Path, series: Series | None = None, orientation: str | None = None) -> Volume:
    """Read a scan into the canonical frame, and apply slope and intercept.

    Args:
        path: the file, or the folder of a DICOM series.
        series: the DICOM series; None for a file.
        orientation: directions of the three voxel axes ("RAS", "LPI") for a file without an orientation.

    Raises:
        UserError: a package is missing.
        BadVolume: the file is damaged, too large, not one 3-D scan of real numbers, or has no orientation.
    """
    nibabel = optional_package("nibabel", "nifti")
    no_scan = nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # values beyond float32 become infinite
            odd: Sequence[BadVolume] = ()
            if series:
                *scan, odd = read_series(series)
                image = nibabel.Nifti1Image(*scan)
            else:
                image = opened(path, nibabel)
            check_header(path, image)
            if not is_oriented(image):
                image = oriented(path, image, orientation, nibabel)
            check_affine(path, image)
            check_compression(path)
            canonical = nibabel.as_closest_canonical(image)
            voxels = canonical.get_fdata(dtype=np.float32).reshape(canonical.shape[:3])
    except (OSError, EOFError, ValueError, OverflowError, zlib.error, *no_scan) as error:
        raise BadVolume(path, f"damaged or not a scan ({error})") from None
    spacing = nibabel.affines.voxel_sizes(canonical.affine)
    return Volume(path, voxels, spacing, window_of(voxels), odd, series is not None)


def opened(path: Path, nibabel: Any) -> Any:
    """Open a file as a nibabel image, without reading its voxels."""
    if path.suffix.lower() == ".mgh":  # nibabel would leave the file open
        return nibabel.MGHImage.from_bytes(path.read_bytes())
    if path.suffix.lower() != ".hdr":
        return nibabel.load(path, mmap=False)
    with path.open("rb") as header:
        magic = header.read(348)[344:]
    if magic in NIFTI_PAIR or path.stat().st_size >= 540:  # the header of NIfTI-2
        return nibabel.load(path, mmap=False)
    # `nibabel.load` would also read a MATLAB file beside it, as SPM writes them.
    return nibabel.analyze.AnalyzeImage.from_filename(path, mmap=False)


def check_header(path: Path, image: Any) -> None:
    """Refuse a scan that its header shows to be unusable, before reading voxels."""
    shape, kind = image.shape, image.get_data_dtype()
    if len(shape) < 3 or min(shape) < 1 or math.prod(shape[3:]) != 1:
        raise BadVolume(path, f"not one 3-D scan but of shape {shape}")
    if math.prod(shape) > MAX_VOXELS:
        raise BadVolume(path, f"shape {shape}, more than the limit of {MAX_VOXELS} voxels")
    if kind.kind not in "iuf":
        raise BadVolume(path, f"{kind} voxels, not one real number each")


def is_oriented(image: Any) -> bool:
    """Whether the file has an orientation: NIfTI and FreeSurfer may, Analyze cannot."""
    header = image.header
    if "sform_code" in header:
        return bool(header["sform_code"] or header["qform_code"])
    return "goodRASFlag" in header and bool(header["goodRASFlag"])


def oriented(path: Path, image: Any, orientation: str | None, nibabel: Any) -> Any:
    """The image in the given orientation; BadVolume if none is given."""
    if orientation is None:
        raise BadVolume(
            path, "it stores no orientation", "if you know it, set volumes.orientation (such as RAS)"
        )
    turn = nibabel.orientations.axcodes2ornt(orientation)
    axes = np.linalg.inv(nibabel.orientations.inv_ornt_aff(turn, image.shape[:3]))
    spacing = np.abs(image.header.get_zooms()[:3])
    return nibabel.Nifti1Image(image.dataobj, axes @ np.diag([*spacing, 1.0]))


def check_affine(path: Path, image: Any) -> None:
    affine = image.affine
    if not np.isfinite(affine).all() or np.linalg.det(affine) == 0:
        raise BadVolume(path, "its affine is singular or not finite")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if (image.shape[:3] * spacing).max() / spacing.min() > MAX_SIDE:
        raise BadVolume(path, f"voxels of {spacing} mm would make slices of more than {MAX_SIDE} pixels")


def check_compression(path: Path) -> None:
    """Read a .gz to its end, in blocks: the checksum of the voxels is there."""
    if path.suffix.lower() not in (".gz", ".mgz"):
        return
    limit = 16 * MAX_VOXELS  # the widest voxels have 16 bytes
    with gzip.open(path) as stream:
        while stream.read(2**20):
            if stream.tell() > limit:
                raise BadVolume(path, f"it unpacks to more than the limit of {limit} bytes")
