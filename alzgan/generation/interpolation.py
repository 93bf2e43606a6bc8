"""Interpolate between latents, as a strip of images and an animation."""

import itertools
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from alzgan.device.pixels import to_uint8
from alzgan.errors import UserError
from alzgan.files import new_folder
from alzgan.generation.order import Order

MILLISECONDS = 80  # of a frame


def interpolate(order: Order, steps: int, out: Path) -> list[str]:
    """Write `strip.png` and `steps.gif`, from image to image of an order; returns lines on the result.

    Latents move along the great circle (White 2016, "Sampling generative networks"), because on a straight
    line they would become shorter than drawn ones. All images have the label of the first. A row of the strip
    begins with an image and ends with the next one.

    Args:
        order: at least two images.
        steps: number of steps from one image to the next.
        out: a new folder.

    Raises:
        UserError: there are fewer than two images or steps, or the folder exists.
    """
    items = order.items()
    if steps < 2 or len(items) < 2:
        raise UserError("interpolate needs at least 2 steps and at least 2 images: set n=2")
    shares = torch.linspace(0, 1, steps + 1)
    rows = []
    first = order.labels_of(items[:1])
    for start, end in itertools.pairwise(items):
        one, two = order.batch([start, end]).latents
        latents = between(one, two, shares)
        labels = None if first is None else first.expand(len(latents), *first.shape[1:])
        rows.append(to_uint8(order.generator.shown(order.generator.floats(latents, labels))))
    frames = torch.cat([rows[0], *(row[1:] for row in rows[1:])])  # a row begins where the last one ends
    pictures = [Image.fromarray(make_grid(each, padding=0).permute(1, 2, 0).numpy()) for each in frames]
    with new_folder(out) as part:
        grid = make_grid(torch.cat(rows), nrow=steps + 1, padding=2)
        Image.fromarray(grid.permute(1, 2, 0).numpy()).save(part / "strip.png")
        pictures[0].save(
            part / "steps.gif", save_all=True, append_images=pictures[1:], duration=MILLISECONDS, loop=0
        )
    return [
        f"{len(rows) * steps} steps between {len(items)} images: {out / 'strip.png'}, {out / 'steps.gif'}"
    ]


def between(one: Tensor, two: Tensor, shares: Tensor) -> Tensor:
    """Latents (S, latent_dim) between two latents (latent_dim,), at S shares of the way."""
    angle = torch.arccos(torch.cosine_similarity(one, two, dim=0).clamp(-1, 1))
    if angle < 1e-4:
        return torch.lerp(one, two, shares[:, None])
    weights = torch.stack([torch.sin((1 - shares) * angle), torch.sin(shares * angle)], 1) / angle.sin()
    return weights @ torch.stack([one, two])
