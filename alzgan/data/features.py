"""Features of images, computed once: what is known of an image's pixels is kept in the cache."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from alzgan.device.pixels import viewable
from alzgan.files import read_arrays, unwritable_cache, write_arrays
from alzgan.metrics.features import FeatureExtractor

CHUNK = 256  # images whose features are one file: what an interrupted evaluation loses
BATCH = 16  # images at a time: larger ones leave a processor's cache


def features_of(
    images: Tensor,
    extractor: FeatureExtractor,
    cache: Path,
    device: torch.device,
    progress: str | None = None,
) -> Tensor:
    """The features (N, F) of images, on the CPU, from the cache or computed and put there.

    A file's name is a digest of the extractor's name and of the pixels, so that it holds whatever data set or
    generator these are of. The last bits are those of the processor that computed it first.

    Args:
        images: uint8 (N, C, H, W); of neighbouring slices as channels the one in the middle is taken.
        extractor: on the device.
        cache: the folder.
        device: of the computation.
        progress: what a bar on stderr says; None: there is none.

    Raises:
        UserError: the cache cannot be written.
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
    path = cache / f"features-{digest_of(images, extractor.name)}.npz"
    stored = read_arrays(path).get("features")
    if stored is not None and stored.shape == (len(images), extractor.num_features):
        return torch.from_numpy(stored)
    features = torch.cat([extractor(batch.to(device)).cpu() for batch in images.split(BATCH)])
    keep(path, features=features.numpy())
    return features


def keep(path: Path, **arrays: np.ndarray) -> None:
    """Put arrays into the cache.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(path, **arrays)
    except OSError as error:
        raise unwritable_cache(path.parent, error) from None


def digest_of(images: Tensor, *words: str) -> str:
    """Digest of uint8 images (N, C, H, W), their shape, and words."""
    digest = hashlib.blake2b(repr((*words, tuple(images.shape))).encode(), digest_size=12)
    digest.update(np.ascontiguousarray(images.numpy()))
    return digest.hexdigest()
