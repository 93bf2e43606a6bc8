"""Write one synthetic image as PNG of 8 or 16 bits, NumPy array or NIfTI.

The metadata of a PNG file marks it as synthetic and gives its seed.
"""

import gzip
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from alzgan.device.pixels import quantized, to_uint8
from alzgan.errors import UserError, one_of

FORMAT_SUFFIXES = {"png": ".png", "png16": ".png", "npy": ".npy", "nifti": ".nii.gz"}
ZIP_LEVEL = 6


def check_format(name: str, channels: int) -> None:
    """Check that images of `channels` channels can be written in this format.

    Raises:
        UserError: they cannot.
    """
    one_of(FORMAT_SUFFIXES, format=name)
    if name == "nifti" and importlib.util.find_spec("nibabel") is None:
        raise UserError("format=nifti needs nibabel: pip install -e '.[nifti]'")
    if name in ("png16", "nifti") and channels != 1:
        raise UserError(f"format={name} is for grey images, these have {channels} channels: use png or npy")


def writer(name: str) -> Callable[[Path, Tensor, Mapping[str, str]], None]:
    """The function that writes one image (C, H, W) of floats in [-1, 1] with its metadata."""
    return {"png": write_png, "png16": write_png16, "npy": write_npy, "nifti": write_volume}[name]


def write_png(path: Path, image: Tensor, about: Mapping[str, str]) -> None:
    """Grey or RGB, 8 bits."""
    pixels = to_uint8(image).permute(1, 2, 0).numpy()
    save_png(path, Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels), about)


def write_png16(path: Path, image: Tensor, about: Mapping[str, str]) -> None:
    """Grey, 16 bits: from 0 for -1 to 65,535 for 1."""
    pixels = quantized(image[0], 65535).numpy().astype(np.uint16)
    save_png(path, Image.fromarray(pixels), about)


def save_png(path: Path, picture: Image.Image, about: Mapping[str, str]) -> None:
    """Write a PNG file with its metadata."""
    info = PngInfo()
    for key, value in about.items():
        info.add_text(key, value)
    picture.save(path, format="PNG", pnginfo=info, compress_level=ZIP_LEVEL)


def write_npy(path: Path, image: Tensor, about: Mapping[str, str]) -> None:
    """Float32 (C, H, W) in [-1, 1]."""
    with path.open("wb") as file:
        np.save(file, image.float().numpy())


def write_volume(path: Path, stack: Tensor, about: Mapping[str, str]) -> None:
    """Slices (S, H, W), from the lowest to the highest, as a NIfTI volume in RAS+ with voxels of 1 mm.

    The slices are axial, as `alzgan.prepare` cuts them: left is left, and the front is up. The size of a
    voxel is a convention, because the generator knows no millimetres.
    """
    import nibabel  # an extra

    pixels = to_uint8(stack).permute(2, 1, 0).numpy()[:, ::-1]
    volume = nibabel.Nifti1Image(pixels, np.eye(4))
    volume.header["descrip"] = "; ".join(f"{key} {value}" for key, value in about.items())[:79].encode()
    path.write_bytes(gzip.compress(volume.to_bytes(), mtime=0))  # reproducible bytes
