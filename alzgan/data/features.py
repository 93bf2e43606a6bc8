"""Features of images, computed once and kept in the cache."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from alzgan.files import cache_path, cached
from alzgan.metrics.features import FeatureExtractor

CHUNK = 256  # images in one cache file; an interrupted evaluation loses at most one file
FEATURES = 1  # version of the cached files; a changed extractor takes a new name instead
BATCH = 16  # images at a time; larger batches overflow a processor's cache


def features_of(
    images: Tensor,
    extractor: FeatureExtractor,
    cache: Path,
    device: torch.device,
    progress: str | None = None,
) -> Tensor:
    """The features (N, F) of images, on the CPU, from the cache or computed and stored there.

    The cache key is the pixels and the extractor's name. The last bits come from the processor that computed
    the features first.

    Args:
        images: uint8 (N, C, H, W), grey or RGB.
        extractor: on the device.
        cache: the folder.
        device: where to compute.
        progress: the text of a progress bar on stderr; None: no bar.
    """
    found = []
    bar = tqdm(total=len(images), desc=progress, unit=" images", disable=progress is None, leave=False)
    with bar:
        for chunk in images.split(CHUNK):
            found.append(features_of_chunk(chunk, extractor, cache, device))
            bar.update(len(chunk))
    return torch.cat(found)


def features_of_chunk(
    images: Tensor, extractor: FeatureExtractor, cache: Path, device: torch.device
) -> Tensor:
    """The features of the images of one cache file."""

    def compute() -> dict[str, np.ndarray]:
        found = [extractor(batch.to(device)).cpu() for batch in images.split(BATCH)]
        return {"features": torch.cat(found).numpy()}

    def read(kept: dict[str, np.ndarray]) -> Tensor:
        return torch.from_numpy(kept["features"].reshape(len(images), extractor.num_features))

    return cached(cache_path(cache, "features.npz", FEATURES, extractor.name, images), compute, read)
