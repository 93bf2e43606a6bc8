"""From NIfTI volumes to a folder of 8-bit slices, with a manifest that says who is in which slice.

Every volume is turned to the canonical frame (first axis to the patient's right, second to the front, third
up), whatever order its file stores, and shown in the neurological convention: the patient's left is on the
left of axial and coronal slices, the front is up in axial and on the right in sagittal ones, and the top of
the head is up in coronal and sagittal ones. Pixels are square: voxel sizes are honoured.
"""

import gzip
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from alzgan.errors import UserError
from alzgan.files import new_folder, write_table
from alzgan.people.splits import MANIFEST
from alzgan.text import counted, printable

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}  # the axis of the canonical frame that a plane cuts
FLAT_CLASS = "all"  # the class of volumes that lie in no class folder
PERCENTILES = (0.5, 99.5)  # of the foreground: become 0 and 255
SUFFIXES = (".nii", ".nii.gz")
MAX_VOXELS = 512**3  # 0.5 GiB as float32; a whole head at 0.4 mm has 1e8
MAX_SIDE = 4096  # pixels of a slice


class BadVolume(UserError):
    """A file that is no scan, or one too small for what is asked: `reason` is the line's reason alone."""

    def __init__(self, path: Path, reason: str, advice: str = "mend or remove it"):
        super().__init__(f"cannot use the volume {printable(path)}: {reason}; {advice}")
        self.reason = reason


@dataclass(frozen=True)
class VolumeFile:
    """A volume on disk, its class, its person, and the name that its slices begin with."""

    path: Path
    label: str
    subject: str
    name: str


@dataclass(frozen=True)
class Volume:
    """A scan in the canonical frame."""

    voxels: np.ndarray  # float32 (right, front, up)
    spacing: np.ndarray  # (3,) mm from voxel to voxel
    window: tuple[float, float]  # the intensities that become 0 and 255
    background: float  # the intensity outside of the head, shown as 0

    def slice(self, plane: str, index: int) -> np.ndarray:
        """One slice, uint8 (H, W), as it is to be looked at."""
        axis = PLANES[plane]
        # Of the two axes left, the first runs to the right of the image and the second up.
        values = np.moveaxis(self.voxels, axis, 0)[index].T[::-1]
        shown = np.isfinite(values) & (values != self.background)
        grey = np.where(shown, np.interp(values, self.window, (0, 255)), 0)
        image = Image.fromarray(np.rint(grey).astype(np.uint8))
        across, up = np.delete(self.spacing, axis)
        finer = min(across, up)  # the coarser axis is interpolated: no detail is lost, nothing can alias
        size = round(image.width * across / finer), round(image.height * up / finer)
        return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def find_volumes(root: Path | str) -> list[VolumeFile]:
    """The .nii and .nii.gz files of a folder, by class folder, sorted by path.

    Without class folders, the volumes in `root` are all of the class "all". Volumes that lie together in a
    folder inside a class folder (`AD/p7/scan1.nii`), or whose names begin with the same `sub-...`, are of one
    person; any other volume is a person of its own, with the file's name.

    Raises:
        UserError: no volumes; some in class folders and some beside them; folders that are people instead of
            classes (BIDS); two volumes whose slices would have the same names.
    """
    root = Path(root)
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise UserError(
            f"cannot list {printable(root)} ({error.strerror}): give a folder of volumes"
        ) from None
    folders = [folder for folder in entries if folder.is_dir() and folder.name[0] != "."]
    flat = volumes_among(entries, root, FLAT_CLASS)
    nested = [file for folder in folders for file in volumes_among(folder.rglob("*"), folder, folder.name)]
    if not flat and not nested:
        raise UserError(f"{printable(root)} holds no .nii or .nii.gz file: give a folder of NIfTI volumes")
    if flat and nested:
        raise UserError(
            f"{printable(root)} has volumes in class folders and {printable(flat[0].path.name)} beside them: "
            "move it into a class folder"
        )
    if nested and all(volume.label.startswith("sub-") for volume in nested):
        raise UserError(
            f"the folders of {printable(root)} are people (BIDS), not classes: move them into class folders"
        )
    seen: dict[tuple[str, str], Path] = {}
    for volume in flat or nested:
        twin = seen.setdefault((volume.label, volume.name), volume.path)
        if twin != volume.path:
            raise UserError(
                f"slices of {printable(twin)} and {printable(volume.path)} would have the same names: "
                "rename or remove one"
            )
    return flat or nested


def volumes_among(paths: Iterable[Path], folder: Path, label: str) -> list[VolumeFile]:
    found = []
    for path in sorted(paths):
        # Names that begin with a dot are what file managers leave behind ("._scan.nii.gz"), not scans.
        if path.name.lower().endswith(SUFFIXES) and path.name[0] != "." and path.is_file():
            *folders, name = path.relative_to(folder).parts
            parts = [*folders, name[: name.lower().rindex(".nii")]]
            subject = parts[0].partition("_")[0] if parts[0].startswith("sub-") else parts[0]
            found.append(VolumeFile(path, label, subject, "_".join(parts)))
    return found


def slices(
    path: Path | str,
    *,
    plane: str = "axial",
    between: tuple[float, float] = (0.0, 1.0),
    central: int | None = None,
) -> np.ndarray:
    """Neighbouring slices of one volume, as they are to be looked at.

    The 0.5th and 99.5th percentile of the whole volume's foreground become 0 and 255. Foreground is what is
    finite and differs from the value that most corners of the volume have; the rest becomes 0. The coarser
    of the two in-plane spacings is interpolated (bicubic) to the finer one.

    Args:
        path: a .nii or .nii.gz file.
        plane: "axial" (from the lowest up), "coronal" (from the back) or "sagittal" (from the left).
        between: the part of the volume to take slices from, as fractions of its extent across the plane.
        central: how many slices to take, from the middle of that part; None takes all of it.

    Returns:
        uint8 (K, H, W).

    Raises:
        UserError: nibabel is missing; there is no such plane or part.
        BadVolume: the file is truncated or damaged, too large, not one 3-D scan of real numbers, without
            orientation, empty or constant, or has fewer slices than asked for.
    """
    check_choice(plane, between, central)
    return cut(Path(path), plane, between, central)[1]


def write_slices(
    root: Path | str,
    destination: Path | str,
    *,
    plane: str = "axial",
    between: tuple[float, float] = (0.0, 1.0),
    central: int | None = None,
    bad_files: str = "error",
    progress: bool = True,
) -> list[tuple[str, str]]:
    """Turn a folder of volumes (see `find_volumes`) into an image folder of their slices (see `slices`).

    Writes `<class>/<volume>_slice-<index>.png`, 8-bit grey, where index counts from the volume's lowest,
    rearmost or leftmost slice, and `manifest.csv` with the columns file, class, subject, slice and split
    (left empty). The folder, new or empty before, is there whole or not at all. A volume that cannot be used
    is an error, or is left out where `bad_files` is "skip".

    Returns:
        The volumes left out: (path relative to `root`, reason).

    Raises:
        UserError: as `find_volumes` and `slices`; `destination` is there already or cannot be written; no
            volume can be used.
    """
    import_nibabel()
    check_choice(plane, between, central)
    volumes, skipped, rows = find_volumes(root), [], []
    with new_folder(Path(destination).absolute()) as folder:
        for file in tqdm(volumes, "slicing", unit=" volumes", disable=not progress):
            try:
                indices, images = cut(file.path, plane, between, central)
            except BadVolume as error:
                if bad_files == "error":
                    raise
                skipped.append((file.path.relative_to(root).as_posix(), error.reason))
                continue
            (folder / file.label).mkdir(exist_ok=True)
            for index, image in zip(indices, images, strict=True):
                path = f"{file.label}/{file.name}_slice-{index:03d}.png"
                Image.fromarray(image).save(folder / path)
                rows.append([path, file.label, file.subject, index, ""])
        if not rows:
            raise BadVolume(volumes[0].path, f"{skipped[0][1]}, nor can any other one in {printable(root)}")
        write_table(folder / "manifest.csv", MANIFEST, rows)
    return skipped


def check_choice(plane: str, between: tuple[float, float], central: int | None) -> None:
    if plane not in PLANES:
        raise UserError(f"volumes.plane={printable(plane)}: choose axial, coronal or sagittal")
    if len(between) != 2 or not 0 <= between[0] < between[1] <= 1:
        raise UserError(f"volumes.between={list(between)}: give two fractions with 0 <= low < high <= 1")
    if central is not None and central < 1:
        raise UserError(f"volumes.central={central}: give 1 or more, or null for all")


def cut(
    path: Path, plane: str, between: tuple[float, float], central: int | None
) -> tuple[range, np.ndarray]:
    """The chosen slices, uint8 (K, H, W), and where they lie along the canonical axis."""
    volume = load_volume(path)
    depth = volume.voxels.shape[PLANES[plane]]
    indices = range(round(between[0] * depth), round(between[1] * depth))
    if not indices:
        reason = f"none of its {depth} {plane} slices lies in volumes.between={list(between)}"
        raise BadVolume(path, reason, "give a wider part")
    if central is not None:
        if central > len(indices):
            reason = f"volumes.central={central}, but it has {counted(len(indices), f'{plane} slice')}"
            raise BadVolume(path, f"{reason} in volumes.between={list(between)}", "give fewer")
        start = (len(indices) - central) // 2
        indices = indices[start : start + central]
    return indices, np.stack([volume.slice(plane, index) for index in indices])


def import_nibabel() -> ModuleType:
    try:
        import nibabel
    except ImportError:
        raise UserError("NIfTI volumes need nibabel: run pip install 'alzgan[nifti]'") from None
    return nibabel


def load_volume(path: Path) -> Volume:
    """Read a volume into the canonical frame, slope and intercept applied."""
    nibabel = import_nibabel()
    no_nifti = nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold becomes infinite
            image = nibabel.load(path, mmap=False)
            check_header(path, image)
            check_compression(path)
            canonical = nibabel.as_closest_canonical(image)
            voxels = canonical.get_fdata(dtype=np.float32).reshape(canonical.shape[:3])
    except (OSError, EOFError, ValueError, OverflowError, zlib.error, *no_nifti) as error:
        reason = printable(" ".join(str(error).split()))
        raise BadVolume(path, f"damaged or no NIfTI ({reason})") from None
    spacing = nibabel.affines.voxel_sizes(canonical.affine)
    return Volume(voxels, spacing, *window_of(path, voxels))


def check_header(path: Path, image: Any) -> None:
    """Refuse what the header already shows to be unusable, before a voxel is read."""
    shape, affine, kind = image.shape, image.affine, image.get_data_dtype()
    if len(shape) < 3 or min(shape) < 1 or math.prod(shape[3:]) != 1:
        raise BadVolume(path, f"not one 3-D scan but of shape {shape}")
    if math.prod(shape) > MAX_VOXELS:
        raise BadVolume(path, f"shape {shape}, more than the limit of {MAX_VOXELS} voxels")
    if kind.kind not in "iuf":
        raise BadVolume(path, f"{kind} voxels, not one real number each")
    if image.header["sform_code"] == image.header["qform_code"] == 0:
        raise BadVolume(path, "it does not say how the head lies (sform_code = qform_code = 0)")
    if not np.isfinite(affine).all() or np.linalg.det(affine) == 0:
        raise BadVolume(path, "its affine maps the voxels to no place")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if (shape[:3] * spacing).max() / spacing.min() > MAX_SIDE:
        raise BadVolume(path, f"voxels of {spacing} mm would make slices of more than {MAX_SIDE} pixels")


def check_compression(path: Path) -> None:
    """Read a .gz to its end, in blocks: only there stands the checksum of all the voxels."""
    if path.suffix.lower() != ".gz":
        return
    limit = 16 * MAX_VOXELS  # the widest voxels have 16 bytes
    with gzip.open(path) as stream:
        while stream.read(2**20):
            if stream.tell() > limit:
                raise BadVolume(path, f"it unpacks to more than the limit of {limit} bytes")


def window_of(path: Path, voxels: np.ndarray) -> tuple[tuple[float, float], float]:
    """The intensities to show as 0 and 255, and the background's."""
    # Background is 0 in most scans but not in all, and where intensities are z-scores 0 lies in the brain.
    values, counts = np.unique(voxels[np.ix_([0, -1], [0, -1], [0, -1])], return_counts=True)
    background = float(values[counts.argmax()])
    foreground = voxels[np.isfinite(voxels) & (voxels != background)]
    low, high = np.percentile(foreground, PERCENTILES) if foreground.size else (0.0, 0.0)
    if low == high:
        raise BadVolume(path, "empty or constant")
    return (float(low), float(high)), background
