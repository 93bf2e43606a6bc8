"""The pictures of the report: real and synthetic images, closest pairs, and outlines of the brain."""

import numpy as np
import torch
from torch import Tensor
from torchvision.utils import make_grid

from alzgan.device.streams import stream
from alzgan.evaluation.copies import FoundCopies
from alzgan.evaluation.reference import Images, Reference
from alzgan.metrics.anatomy import outlined
from alzgan.report.pictures import Picture

GRID, COLUMNS, OUTLINED = 64, 8, 12


def grids(index: int, samples: Images, reference: Reference, seed: int) -> list[Picture]:
    """A grid of random images of held-out people, and one of samples."""
    real = reference.held_out
    rows = stream(seed, "evaluate/grid").choice(len(real), min(GRID, len(real)), replace=False)
    sides = {
        "real": ("Real, of held-out people", real.pixels[torch.from_numpy(np.sort(rows))]),
        "samples": ("Synthetic", samples.pixels[:GRID]),
    }
    return [
        Picture(index, kind, title, f"{len(pixels)} at random", picture(pixels, COLUMNS))
        for kind, (title, pixels) in sides.items()
    ]


def pairs(index: int, samples: Images, reference: Reference, found: FoundCopies) -> Picture:
    """The samples nearest to a training image, each above that image."""
    rows = torch.from_numpy(found.rows)
    both = torch.cat([samples.pixels[rows], reference.train.pixels[found.copies.nearest.index[rows]]])
    caption = "Above: samples, the nearest first. Below each: its nearest training image"
    return Picture(index, "pairs", "Closest pairs", caption, picture(both, len(rows)))


def measured(index: int, samples: Images, reference: Reference) -> Picture:
    """The outlines of the brain and of the ventricles, on real images above synthetic ones."""
    real = reference.held_out
    rows = torch.linspace(0, len(real) - 1, OUTLINED).long()
    both = torch.cat([outlined(real.pixels[rows]), outlined(samples.pixels[:OUTLINED])])
    caption = "Above: real. Below: synthetic. The outlines are those of the brain and of the ventricles"
    return Picture(index, "anatomy", "Outlines", caption, picture(both, OUTLINED))


def picture(images: Tensor, columns: int) -> np.ndarray:
    """Images (N, C, H, W) as one grid (H, W, 3)."""
    return make_grid(images, nrow=columns, padding=2).permute(1, 2, 0).numpy()
