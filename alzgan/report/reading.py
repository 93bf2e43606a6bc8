"""The page on which readers say which images are real."""

import base64

import numpy as np

from alzgan.report.page import templates


def reading_page(name: str, mode: str, pixels: np.ndarray) -> str:
    """The page as text, which depends on nothing else, so that it holds no hint of what is real.

    Args:
        name: the id of the page, under which the browser keeps answers.
        mode: "one" image at a time, or "three" of which one is synthetic.
        pixels: uint8 (items, images of an item, C, H, W). All take the same space, whatever they show.
    """
    channels, height, width = pixels.shape[2:]
    items = [base64.b64encode(item.tobytes()).decode() for item in np.moveaxis(pixels, 2, -1)]
    return (
        templates()
        .get_template("reading.html.jinja")
        .render(
            study={
                "page": name,
                "mode": mode,
                "width": width,
                "height": height,
                "channels": channels,
                "images": pixels.shape[1],
                "items": items,
            }
        )
    )
