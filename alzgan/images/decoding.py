"""Read one image file, which may be damaged or hostile, and resize it for the network.

Only plain raster formats are opened, whatever the suffix: Pillow would start Ghostscript for an EPS file.
"""

import io
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from alzgan.errors import UserError
from alzgan.text import printable

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", "GIF", "WEBP", "PPM", "TGA", "JPEG2000", "AVIF")
MAX_PIXELS = 2**25  # 5792 x 5792; a larger image is a decompression bomb
MAX_BYTES = 8 * MAX_PIXELS
DEEP = ("I", "F")  # first letters of Pillow's modes of more than 8 bits
SYNTHETIC, MADE_BY = "Synthetic", "made by alzgan"  # key and value in the metadata of a generated PNG
SCALED = "I;16 of alzgan"  # the mode of a generated PNG of 16 bits
PERCENTILES = (0.5, 99.5)  # of a scan's foreground; they become 0 and 255
Item = TypeVar("Item")
Result = TypeVar("Result")
SAMPLES_16 = re.compile(";16[BLN]")  # in Pillow's name of the raw layout; BMP's "BGR;16" is 5 + 6 + 5 bits


class BadImage(UserError):
    """A file that cannot be read as one image; `reason` is the reason alone."""

    def __init__(self, path: Path | str, reason: str):
        super().__init__(f"cannot read the image {printable(path)}: {reason}; mend or remove it")
        self.reason = reason


def read_image(path: Path | str) -> np.ndarray:
    """Read an image file as a viewer shows it: uint8, (H, W) for grey or (H, W, 3) for RGB.

    EXIF orientation is applied; palette, CMYK, 1-bit and YCbCr become grey or RGB; transparency is
    composited on black. Grey of more than 8 bits (16-bit, 32-bit, float) is shown through the window of its
    foreground (`window_of`), so that one hot pixel does not darken the rest; values that are not finite
    become 0. In 16-bit images of `alzgan.generate` 0 is black and 65,535 is white.

    Raises:
        BadImage: not a regular file, no permission, not an image, truncated or damaged, several frames (which
            slice is meant cannot be known), more than `MAX_PIXELS` pixels or `MAX_BYTES` bytes, or PNG or
            TIFF of 16 bits a colour channel (Pillow would drop the lower 8).
    """
    with quiet():
        return decode_image(read_bytes(path), path).pixels


def quiet() -> warnings.catch_warnings:
    """Silence Pillow's warnings; those that matter are errors here.

    The filters belong to the whole process, so wrap a pool of threads in one call, not each thread.
    """
    return warnings.catch_warnings(action="ignore")


def read_bytes(path: Path | str) -> bytes:
    """The content of a regular file of at most `MAX_BYTES`; BadImage otherwise."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device may never end
            raise BadImage(path, "not a regular file")
        if status.st_size > MAX_BYTES:
            raise BadImage(path, f"{status.st_size} bytes, more than the limit of {MAX_BYTES}")
        return Path(path).read_bytes()
    except OSError as error:
        raise BadImage(path, error.strerror or str(error)) from None


class Picture(NamedTuple):
    """An image, and Pillow's name of its stored mode; one in `DEEP` had grey of more than 8 bits."""

    pixels: np.ndarray  # uint8 (H, W) or (H, W, 3)
    mode: str


def decode_image(content: bytes, path: Path | str) -> Picture:
    """Decode a file's content, see `read_image`; `path` is for the error only."""
    if not content:
        raise BadImage(path, "the file is empty")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            refuse_by_header(image, path)
            image.load()  # in full: JPEG's draft mode would change pixels of a slice by up to 26 of 255
            # If 0 is white, Pillow inverts images of up to 8 bits only.
            white_is_zero = tiff_tag(image, TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
            if image.mode.startswith(DEEP) and image.info.get(SYNTHETIC) == MADE_BY:
                return Picture(np.rint(np.asarray(image) / 257).astype(np.uint8), SCALED)
            return Picture(as_uint8(ImageOps.exif_transpose(image), white_is_zero), image.mode)
    except BadImage:
        raise
    except Image.UnidentifiedImageError:
        raise BadImage(path, "its content is not an image of a known format") from None
    except Image.DecompressionBombError:
        raise BadImage(path, f"more pixels than the limit of {MAX_PIXELS}") from None
    except Exception as error:  # Pillow raises almost anything on damaged content
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImage(path, f"damaged ({printable(reason)})") from None


def in_threads(read: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Results in the order of the items, computed in threads, a few ahead of the consumer.

    Pillow decodes and resizes without the interpreter's lock, so threads are enough. Processes would run a
    user's script again if it has no ``if __name__ == "__main__"``.
    """
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(items), 8 * workers):
            yield from pool.map(read, items[start : start + 8 * workers])


def resize(image: np.ndarray, size: int, channels: int, fit: str) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) to (size, size, channels), antialiased (Lanczos over 3 lobes), not squashed.

    Colour becomes grey by its ITU-R BT.601 luma; grey is repeated for 3 channels. `fit` "crop" scales the
    shorter side to `size` and keeps the centre; "pad" scales the longer side and centres it on black.
    """
    picture = Image.fromarray(image)
    if channels == 1:
        picture = picture.convert("L")
    square = np.asarray(FITS[fit](picture, size)).reshape(size, size, -1)
    return np.repeat(square, channels // square.shape[2], axis=2)


def few_values(pixels: np.ndarray) -> int | None:
    """The number of different values: 1 (constant), 2 (a mask); None for more."""
    lowest, highest = pixels.min(), pixels.max()
    if lowest == highest:
        return 1
    return 2 if ((pixels == lowest) | (pixels == highest)).all() else None


def refuse_by_header(image: Image.Image, path: Path | str) -> None:
    """Refuse by the header alone, before any pixel is decoded."""
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise BadImage(path, f"{image.width} x {image.height} pixels, more than the limit of {MAX_PIXELS}")
    if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: a photo with its preview
        raise BadImage(path, "several frames in one file (save each as an image of its own)")
    if image.mode == "L" and tiff_tag(image, TiffImagePlugin.SAMPLEFORMAT) == (2,):
        raise BadImage(path, "signed 8-bit pixels (save it as 16-bit or unsigned)")  # Pillow takes -1 for 255
    if len(image.getbands()) > 1 and SAMPLES_16.search(str(getattr(image, "tile", ""))):
        raise BadImage(path, "16 bits a colour channel (save it as 8-bit colour or as 16-bit grey)")


def tiff_tag(image: Image.Image, tag: int) -> Any:
    return getattr(image, "tag_v2", {}).get(tag)


def as_uint8(image: Image.Image, white_is_zero: bool = False) -> np.ndarray:
    """Grey (H, W) or RGB (H, W, 3): deep grey through its window, transparency on black."""
    if image.mode.startswith(DEEP):
        values = np.array(image, dtype=np.float64)
        return windowed(-values if white_is_zero else values)
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, "black")
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return np.asarray(image.convert(mode))


@dataclass(frozen=True)
class Window:
    """The range of intensities to show: `low` becomes 0 and `high` 255."""

    low: float
    high: float
    background: float  # the intensity outside of the head

    def show(self, values: np.ndarray) -> np.ndarray:
        """Intensities of any shape as float64 in 0..255; background and not finite values become 0."""
        dark = ~np.isfinite(values)
        if self.background < self.high:  # else the image is inverted, with a light background
            dark |= values == self.background
        return np.where(dark, 0, np.interp(values, (self.low, self.high), (0, 255)))


def window_of(values: np.ndarray) -> Window | None:
    """The window of a slice or a volume: percentiles 0.5 and 99.5 of its foreground become 0 and 255.

    Background is the value that most corners have. It is often 0, but not always: 0 lies in the brain if
    intensities are z-scores. Foreground is every other finite value. None: the foreground has no contrast.
    """
    corners, counts = np.unique(values[np.ix_(*[[0, -1]] * values.ndim)], return_counts=True)
    background = float(corners[counts.argmax()])
    foreground = values[np.isfinite(values) & (values != background)]
    low, high = np.percentile(foreground, PERCENTILES) if foreground.size else (0.0, 0.0)
    return Window(float(low), float(high), background) if low < high else None


def windowed(values: np.ndarray) -> np.ndarray:
    """Intensities (H, W) as uint8, through their window, or from lowest to highest if they have none."""
    window = window_of(values)
    if window is None:
        finite = values[np.isfinite(values)]
        if not finite.size or finite.min() == finite.max():
            return np.zeros(values.shape, np.uint8)
        window = Window(float(finite.min()), float(finite.max()), float(finite.min()))
    return np.rint(window.show(values)).astype(np.uint8)


def crop(picture: Image.Image, size: int) -> Image.Image:
    return ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)


def pad(picture: Image.Image, size: int) -> Image.Image:
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    square = Image.new(picture.mode, (size, size))
    inside = picture.resize((width, height), Image.Resampling.LANCZOS)
    square.paste(inside, ((size - width) // 2, (size - height) // 2))
    return square


FITS = {"crop": crop, "pad": pad}
