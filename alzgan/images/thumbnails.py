"""Small grey versions of images, to find people and copies."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from alzgan.images.decoding import in_threads, read_image
from alzgan.images.folder import ImageFile

THUMBNAIL = (44, 52)  # width, height: a quarter of the Kaggle set's slices
SQUARE = 48  # side in pixels of the thumbnails that may be turned


class Thumbnails(NamedTuple):
    """Grey images shrunk with antialiasing: upright (N, 52, 44) and square (N, 48, 48), uint8.

    All images are stretched to these shapes: slices of one person are stretched alike, and a square remains
    one when it is turned. 100,000 images take 460 MB.
    """

    upright: np.ndarray
    square: np.ndarray

    @classmethod
    def room_for(cls, count: int) -> "Thumbnails":
        """Uninitialised thumbnails of `count` images."""
        return cls(np.empty((count, *THUMBNAIL[::-1]), np.uint8), np.empty((count, SQUARE, SQUARE), np.uint8))

    def put(self, index: int, pair: tuple[np.ndarray, np.ndarray]) -> None:
        """Store both thumbnails of an image."""
        self.upright[index], self.square[index] = pair

    def of(self, rows: np.ndarray | slice) -> "Thumbnails":
        """The thumbnails of some of the images."""
        return Thumbnails(self.upright[rows], self.square[rows])


def thumbnails(root: Path | str, files: Sequence[ImageFile]) -> Thumbnails:
    """Read the images of a folder and shrink them.

    Raises:
        BadImage: a file cannot be read; pass only files that can.
    """
    found = Thumbnails.room_for(len(files))
    pairs = in_threads(lambda file: shrunk(read_image(Path(root) / file.path)), files)
    for index, pair in enumerate(pairs):
        found.put(index, pair)
    return found


def shrunk(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both thumbnails of an image, uint8 (H, W) or (H, W, 3)."""
    picture = Image.fromarray(image).convert("L")
    upright, square = (picture.resize(size, Image.Resampling.BOX) for size in (THUMBNAIL, (SQUARE, SQUARE)))
    return np.asarray(upright), np.asarray(square)
