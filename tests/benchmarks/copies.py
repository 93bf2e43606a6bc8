"""Which copies does the search find: training slices that something happened to, beside unseen people.

    python tests/benchmarks/copies.py DIR [N]

DIR is a folder of real slices, of which 30 % of the people are held out. A line for each change that N of
the training slices (800 by default) go through: how many are more alike to a training slice than 99 of 100
slices of one half of the people held out, how many count as certain copies, and for how many the nearest
slice is the right one. The other half of the people says how many are found where there is no copy. With
6,400 slices it takes 10 minutes on a CPU core.
"""

import math
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from alzgan.data.datamodule import MRIDataModule
from alzgan.device.overhead import tune_process
from alzgan.evaluation.reference import Images, images_of
from alzgan.images.likeness import Nearest, Search
from alzgan.metrics.memorisation import Copies, copies_of

Change = Callable[[Tensor], Tensor]


def move(turn: float = 0, scale: float = 1, shift: float = 0) -> Change:
    """Turn by degrees, scale, and shift by a share of the side, to the right and down."""
    cosine, sine = (part(math.radians(turn)) / scale for part in (math.cos, math.sin))
    pose = torch.tensor([[cosine, sine, -2 * shift], [-sine, cosine, -2 * shift]])

    def change(images: Tensor) -> Tensor:
        grid = F.affine_grid(pose.expand(len(images), 2, 3), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, align_corners=False)

    return change


def elastic(images: Tensor, pixels: float = 1.5) -> Tensor:
    """A smooth random warp of at most so many pixels of 64."""
    flow = torch.randn(len(images), 2, 5, 5, generator=torch.Generator().manual_seed(0))
    flow = F.interpolate(flow, images.shape[2:], mode="bicubic", align_corners=True)
    flow = flow * (2 * pixels / 64) / flow.norm(dim=1, keepdim=True).amax((2, 3), keepdim=True)
    still = torch.eye(2, 3).expand(len(images), 2, 3)
    grid = F.affine_grid(still, list(images.shape), align_corners=False) + flow.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, align_corners=False)


def noise(images: Tensor) -> Tensor:
    """Of a standard deviation of 10 grey levels."""
    return images + 10 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


def gamma(power: float) -> Change:
    return lambda images: 255 * (images.clamp(0, 255) / 255) ** power


def crop(images: Tensor, share: float = 0.9) -> Tensor:
    """The middle, as large as the whole."""
    edge = round(images.shape[2] * (1 - share) / 2)
    return F.interpolate(images[:, :, edge:-edge, edge:-edge], images.shape[2:], mode="bilinear")


def mirror(images: Tensor) -> Tensor:
    return images.flip(3)


def then(*changes: Change) -> Change:
    """One after the other."""

    def change(images: Tensor) -> Tensor:
        for each in changes:
            images = each(images)
        return images

    return change


CHANGES: dict[str, Change] = {
    "none": lambda images: images,
    **{f"turned by {turn}": move(turn) for turn in (2, 3, 4, 5, 8, 15, -15)},
    **{f"scaled by {scale}": move(scale=scale) for scale in (0.85, 0.9, 1.05, 1.1, 1.18)},
    **{f"shifted by {shift:.1%} of the side": move(shift=shift) for shift in (0.025, 0.05)},
    "mirrored": mirror,
    **{f"gamma {power}": gamma(power) for power in (0.5, 2)},
    "inverted": lambda images: 255 - images,
    "blurred, sigma 1": lambda images: gaussian_blur(images, 7, 1.0),
    "noise, sigma 10": noise,
    "cropped to 90 %": crop,
    "warped by 1.5 pixels": elastic,
    "turned by 8, scaled by 1.1": move(8, 1.1),
    "turned by 15, scaled by 0.85": move(15, 0.85),
    "turned by 7, scaled by 0.89, shifted": move(7, 0.89, 0.025),
    "turned by 5, gamma 0.5": then(move(5), gamma(0.5)),
    "turned by 8, inverted": then(move(8), lambda images: 255 - images),
    "turned by 8, shifted by 5 %": move(8, 1, 0.05),
    "mirrored, noise": then(mirror, noise),
    "warped, noise": then(elastic, noise),
    "warped, turned by 12": then(elastic, move(12)),
    "scaled by 0.9, noise": then(move(scale=0.9), noise),
}


def changed(pixels: Tensor, change: Change) -> Tensor:
    """uint8 images (N, C, H, W) after a change."""
    return change(pixels.float()).round().clamp(0, 255).byte()


def halves(unseen: Images, found: Nearest) -> list[Nearest]:
    """What is nearest to one half of the people, and to the other."""
    first = torch.from_numpy(np.isin(unseen.people, np.unique(unseen.people)[::2]))
    return [Nearest(found.similarity[rows], found.index[rows]) for rows in (first, ~first)]


def line(name: str, found: Copies, rows: Tensor) -> str:
    """Percent of the images that are found, that are certain, and whose nearest is the right one."""
    right = (found.nearest.index == rows).float().mean()
    shares = found.above / len(rows), found.certain_count / len(rows), float(right)
    lowest = found.nearest.similarity.quantile(0.01)
    return f"{name:38s}" + "".join(f"{100 * share:9.2f}" for share in shares) + f"{lowest:9.3f}"


def main(root: str, count: int = 800) -> None:
    """Print the table."""
    tune_process()
    data = MRIDataModule(root, image_size=64, channels=1, fractions=(0.7, 0.15, 0.15))
    data.read()
    train, unseen = images_of(data, ["train"]), images_of(data, ["validation", "test"])
    start = time.process_time()
    search = Search(train.pixels)
    print(f"{len(train)} training slices: {time.process_time() - start:.1f} s of a core")
    start = time.process_time()
    one, two = halves(unseen, search.nearest(unseen.pixels))
    print(f"{len(unseen)} slices of unseen people: {time.process_time() - start:.1f} s of a core")
    other = copies_of(two, one)
    print(f"threshold {other.threshold:.3f}, certain {other.certain:.3f}")
    print(f"{'in percent':38s}    found  certain    right   1 in 100 is below")
    rows = torch.from_numpy(np.random.default_rng(0).permutation(len(train))[:count])
    for name, change in CHANGES.items():
        found = copies_of(search.nearest(changed(train.pixels[rows], change)), one)
        print(line(name, found, rows), flush=True)
    print(line("the other half of the unseen people", other, torch.full(two.index.shape, -1)))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], *map(int, sys.argv[2:]))
