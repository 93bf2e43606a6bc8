"""Features of images, computed once: what is known of an image's pixels is kept in the cache."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from alzgan.device.pixels import viewable
from alzgan.files import cache_path, cached
from alzgan.metrics.features import FeatureExtractor

CHUNK = 256  # images whose features are one file: what an interrupted evaluation loses
FEATURES = 1  # version; an extractor that computes otherwise has another name
BATCH = 16  # images at a time: larger ones leave a processor's cache


def features_of(
    images: Tensor,
    extractor: FeatureExtractor,
    cache: Path,
    device: torch.device,
    progress: str | None = None,
) -> Tensor:
    """The features (N, F) of images, on the CPU, from the cache or computed and put there.

    What is kept depends on the pixels and the extractor's name alone, not on whose images they are. The last
    bits are those of the processor that computed it first.

    Args:
        images: uint8 (N, C, H, W); of neighbouring slices as channels the one in the middle is taken.
        extractor: on the device.
        cache: the folder.
        device: of the computation.
        progress: what a bar on stderr says; None: there is none.
    """
    found = []
    bar = tqdm(total=len(images), desc=progress, unit=" images", disable=progress is None, leave=False)
    with bar:
        for chunk in viewable(images).split(CHUNK):
            found.append(features_of_chunk(chunk, extractor, cache, device))
            bar.update(len(chunk))
    return torch.cat(found)


def features_of_chunk(
    images: Tensor, extractor: FeatureExtractor, cache: Path, device: torch.device
) -> Tensor:
    """The features of as many images as one file keeps."""

    def compute() -> dict[str, np.ndarray]:
        found = [extractor(batch.to(device)).cpu() for batch in images.split(BATCH)]
        return {"features": torch.cat(found).numpy()}

    def read(kept: dict[str, np.ndarray]) -> Tensor:
        return torch.from_numpy(kept["features"].reshape(len(images), extractor.num_features))

    return cached(cache_path(cache, "features.npz", FEATURES, extractor.name, images), compute, read)
