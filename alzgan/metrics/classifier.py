"""A small classifier. Two trainings with the same seed differ in nothing but their images.

The initial weights, the classes in each batch and the augmentation depend on the seed alone.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from alzgan.augment import TranslateFlip
from alzgan.device.generators import torch_stream
from alzgan.device.pixels import to_float
from alzgan.device.streams import stream

WIDTHS = (16, 32, 64, 128)  # channels of the stages
GROUPS = 8  # of group norm; batch norm would mix the statistics of real and synthetic images
RATE = 1e-3  # learning rate at the start; it falls linearly to 0
MOVE = TranslateFlip(shift=1 / 16)
CONTRAST = 0.2  # largest change of contrast about the mean of each image
BRIGHTNESS = 0.1  # largest change of brightness, for images in [-1, 1]
CLASSIFIER_BLOCK = 512  # images that are classified at a time


def classifier(channels: int, classes: int, seed: int = 0) -> nn.Sequential:
    """A network from images (N, C, H, W) in [-1, 1] to logits (N, K); the seed decides its weights.

    Four 3 x 3 convolutions of stride 2, the last three with group norm (Wu and He 2018, "Group
    normalization"), global average pooling and one linear layer: 98,000 weights.
    """
    stage = partial(Conv2dNormActivation, kernel_size=3, stride=2)
    normalization = partial(nn.GroupNorm, GROUPS)
    with torch_stream(torch.device("cpu"), seed, "classifier/weights"):
        return nn.Sequential(
            # No norm here: one on the largest maps would take a sixth of the time.
            stage(channels, WIDTHS[0], norm_layer=None),
            *(stage(*widths, norm_layer=normalization) for widths in pairwise(WIDTHS)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(WIDTHS[-1], classes),
        )


def trained(
    images: Tensor,
    rows: Sequence[np.ndarray],
    updates: int,
    batch_size: int,
    seed: int = 0,
    augmented: bool = False,
) -> nn.Sequential:
    """Train a classifier by cross-entropy with AdamW. All classes are shown equally often.

    Args:
        images: uint8 (N, C, H, W), on the device for the training.
        rows: the training images of each of the K classes.
        updates: the number of batches.
        batch_size: images in a batch.
        seed: the seed of weights, batches and augmentation.
        augmented: whether training images go through `augment`.
    """
    # Convolutions are faster in this memory format.
    model = classifier(images.shape[1], len(rows), seed).to(images.device)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, updates)
    for step in range(updates):
        chosen, labels = draw_batch(rows, batch_size, stream(seed, "classifier/batches", step))
        shown = to_float(images[chosen.to(images.device)])
        if augmented:
            shown = augment(shown, stream(seed, "classifier/augmentation", step))
        optimizer.zero_grad()
        F.cross_entropy(model(shown), labels.to(images.device)).backward()
        optimizer.step()
        schedule.step()
    return model


def draw_batch(rows: Sequence[np.ndarray], count: int, noise: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Rows (count,) and labels (count,): for each a random class, then a random row of that class."""
    labels, places = noise.integers(len(rows), size=count), noise.random(count)
    chosen = [rows[label][int(place * len(rows[label]))] for label, place in zip(labels, places, strict=True)]
    return torch.tensor(chosen), torch.from_numpy(labels)


def augment(images: Tensor, noise: np.random.Generator) -> Tensor:
    """Shift images by up to 1/16 of the side, mirror half of them, and change contrast and brightness.

    Args:
        images: (N, C, H, W) in [-1, 1].
        noise: the source of the random draws.
    """
    uniforms = MOVE.draw(noise, len(images)), noise.uniform(-1, 1, (2, len(images), 1, 1, 1))
    moves, (contrast, brightness) = (torch.from_numpy(each).to(images) for each in uniforms)
    moved = MOVE(images, moves)
    mean = moved.mean((1, 2, 3), keepdim=True)
    changed = mean + (1 + CONTRAST * contrast) * (moved - mean) + BRIGHTNESS * brightness
    return changed.clamp(-1, 1)


@torch.inference_mode()
def predicted(model: nn.Module, images: Tensor) -> Tensor:
    """The class probabilities (N, K) of images uint8 (N, C, H, W), on the CPU, in float64."""
    return torch.cat(
        [model(to_float(block)).double().softmax(1).cpu() for block in images.split(CLASSIFIER_BLOCK)]
    )
