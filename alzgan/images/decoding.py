"""Reading one image file, which may be damaged or hostile, and bringing it to the network's size.

Only plain raster formats are opened, whatever the suffix: for an EPS file Pillow would start Ghostscript.
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
MAX_PIXELS = 2**25  # 5792 x 5792; more is no slice but a decompression bomb
MAX_BYTES = 8 * MAX_PIXELS
DEEP = ("I", "F")  # how Pillow's modes of more than 8 bits begin
SYNTHETIC, OURS = "Synthetic", "made by alzgan"  # what the metadata of a generated PNG says
SCALED = "I;16 of alzgan"  # such a one of 16 bits
PERCENTILES = (0.5, 99.5)  # of a scan's foreground: become 0 and 255
Item, Result = TypeVar("Item"), TypeVar("Result")
SAMPLES_16 = re.compile(";16[BLN]")  # in Pillow's name of the raw layout; BMP's "BGR;16" is 5 + 6 + 5 bits


class BadImage(UserError):
    """A file that cannot be read as one image: the line names it and the reason, `reason` is that alone."""

    def __init__(self, path: Path | str, reason: str):
        super().__init__(f"cannot read the image {printable(path)}: {reason}; mend or remove it")
        self.reason = reason


def read_image(path: Path | str) -> np.ndarray:
    """Read an image file as a viewer shows it: uint8, (H, W) for grey or (H, W, 3) for RGB.

    EXIF orientation is applied; palette, CMYK, 1-bit and YCbCr become grey or RGB; transparency is
    composited on black. Grey of more than 8 bits (16-bit, 32-bit, float) is shown through the window of its
    foreground (`window_of`), so that one hot pixel does not blacken the rest; what is not finite becomes 0.
    What `alzgan.generate` wrote with 16 bits has its window: 0 is black, 65,535 is white.

    Raises:
        BadImage: no regular file, no permission, no image by content, truncated or damaged, several frames
            (an animation or a stack: which slice is meant cannot be known), more than `MAX_PIXELS` pixels
            or `MAX_BYTES` bytes, or PNG or TIFF of 16 bits a colour channel (Pillow would drop the lower 8).
    """
    with quiet():
        return decode_image(read_bytes(path), path).pixels


def quiet() -> warnings.catch_warnings:
    """Silence Pillow: what matters of its warnings is an error here.

    It changes the whole process's filters, so a pool of threads is wrapped in one, not each thread.
    """
    return warnings.catch_warnings(action="ignore")


def read_bytes(path: Path | str) -> bytes:
    """The content of a regular file of at most `MAX_BYTES`; BadImage otherwise."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a device never ends
            raise BadImage(path, "not a regular file")
        if status.st_size > MAX_BYTES:
            raise BadImage(path, f"{status.st_size} bytes, more than the limit of {MAX_BYTES}")
        return Path(path).read_bytes()
    except OSError as error:
        raise BadImage(path, error.strerror or str(error)) from None


class Picture(NamedTuple):
    """An image, and Pillow's name of how its pixels were stored."""

    pixels: np.ndarray  # uint8 (H, W) or (H, W, 3)
    mode: str

    @property
    def is_deep(self) -> bool:
        """Whether it had grey of more than 8 bits."""
        return self.mode.startswith(DEEP)


def decode_image(content: bytes, path: Path | str) -> Picture:
    """The image in a file's content, as of `read_image`; `path` is for the error only."""
    if not content:
        raise BadImage(path, "the file is empty")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            refuse_by_header(image, path)
            image.load()  # whole: JPEG's faster draft decoding moves pixels of a slice by up to 26 of 255
            # Where 0 is white, Pillow itself inverts images of up to 8 bits alone.
            white_is_zero = tiff_tag(image, TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
            if image.mode.startswith(DEEP) and image.info.get(SYNTHETIC) == OURS:
                return Picture(np.rint(np.asarray(image) / 257).astype(np.uint8), SCALED)
            return Picture(as_uint8(ImageOps.exif_transpose(image), white_is_zero), image.mode)
    except BadImage:
        raise
    except Image.UnidentifiedImageError:
        raise BadImage(path, "its content is no image of a known format") from None
    except Image.DecompressionBombError:
        raise BadImage(path, f"more pixels than the limit of {MAX_PIXELS}") from None
    except Exception as error:  # on damaged content Pillow raises almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImage(path, f"damaged ({printable(reason)})") from None


def in_threads(read: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Results in the order of the items, read in threads, a few ahead of what was taken.

    Threads, because Pillow decodes and resizes without the interpreter's lock, and processes would run a
    user's script a second time where it has no ``if __name__ == "__main__"``.
    """
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(items), 8 * workers):
            yield from pool.map(read, items[start : start + 8 * workers])


def resize(image: np.ndarray, size: int, channels: int, fit: str) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) to (size, size, channels), antialiased (Lanczos over 3 lobes), not squashed.

    1 channel of colour is its ITU-R BT.601 luma, 3 of grey repeat it. `fit` "crop" scales the shorter side to
    `size` and keeps the centre; "pad" scales the longer side and centres it on black.
    """
    picture = Image.fromarray(image)
    if channels == 1:
        picture = picture.convert("L")
    square = np.asarray(FITS[fit](picture, size)).reshape(size, size, -1)
    return np.repeat(square, channels // square.shape[2], axis=2)


def few_values(pixels: np.ndarray) -> int | None:
    """1 for an image of one value, 2 for one of two, a mask say; None for more."""
    lowest, highest = pixels.min(), pixels.max()
    if lowest == highest:
        return 1
    return 2 if ((pixels == lowest) | (pixels == highest)).all() else None


def refuse_by_header(image: Image.Image, path: Path | str) -> None:
    """Judge by the header alone, before any pixel is decoded."""
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise BadImage(path, f"{image.width} x {image.height} pixels, more than the limit of {MAX_PIXELS}")
    if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: a photo with its preview
        raise BadImage(path, "several frames in one file (save each as an image of its own)")
    if image.mode == "L" and tiff_tag(image, TiffImagePlugin.SAMPLEFORMAT) == (2,):
        raise BadImage(path, "signed 8-bit pixels (save it as 16-bit or unsigned)")  # Pillow takes -1 for 255
    if len(image.getbands()) > 1 and SAMPLES_16.search(str(image.tile)):
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
    """What of a scan's intensities is shown: `low` becomes 0 and `high` 255."""

    low: float
    high: float
    background: float  # the intensity outside of the head

    def show(self, values: np.ndarray) -> np.ndarray:
        """Intensities of any shape as float64 in 0..255; background and what is not finite become 0."""
        dark = ~np.isfinite(values)
        if self.background < self.high:  # else a light background, of an inverted image
            dark |= values == self.background
        return np.where(dark, 0, np.interp(values, (self.low, self.high), (0, 255)))


def window_of(values: np.ndarray) -> Window | None:
    """The window of a scan, a slice or a volume: percentiles 0.5 and 99.5 of its foreground become 0 and 255.

    Foreground is what is finite and differs from the value that most corners have: 0 in most scans but not in
    all, and where intensities are z-scores 0 lies in the brain. None: the foreground has no contrast.
    """
    corners, counts = np.unique(values[np.ix_(*[[0, -1]] * values.ndim)], return_counts=True)
    background = float(corners[counts.argmax()])
    foreground = values[np.isfinite(values) & (values != background)]
    low, high = np.percentile(foreground, PERCENTILES) if foreground.size else (0.0, 0.0)
    return Window(float(low), float(high), background) if low < high else None


def windowed(values: np.ndarray) -> np.ndarray:
    """Intensities (H, W) as uint8, through their window or, of two values say, from lowest to highest."""
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
    inside = tuple(max(1, round(side * scale)) for side in picture.size)
    square = Image.new(picture.mode, (size, size))
    corner = ((size - inside[0]) // 2, (size - inside[1]) // 2)
    square.paste(picture.resize(inside, Image.Resampling.LANCZOS), corner)
    return square


FITS = {"crop": crop, "pad": pad}
