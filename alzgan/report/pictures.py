"""Pictures of a report, which its page contains."""

import base64
import io
from typing import NamedTuple

import numpy as np
from PIL import Image


class Picture(NamedTuple):
    """A picture of an evaluation.

    Attributes:
        candidate: index of the candidate that it shows.
        kind: "real", "samples", "pairs" or "anatomy".
        title: what it shows.
        caption: how to read it.
        image: uint8 (H, W) or (H, W, 3).
    """

    candidate: int
    kind: str
    title: str
    caption: str
    image: np.ndarray

    @property
    def source(self) -> str:
        """The picture as a `data:` address of a PNG."""
        content = io.BytesIO()
        Image.fromarray(self.image).save(content, format="PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
