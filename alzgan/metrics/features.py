"""Feature extractors: uint8 images (N, 1 or 3, H, W) to features (N, F).

Each has a `name` that every number computed from it carries, and a `distance`, what the Fréchet distance
between its features is called. Only the Inception of 2015 may call it FID.
"""

import contextlib
import hashlib
import logging
import socket
from pathlib import Path
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.upstream.torchmetrics import INCEPTION_URL, inception

INCEPTION_FILE = INCEPTION_URL.rsplit("/", 1)[-1]
INCEPTION_SHA256 = INCEPTION_FILE.removesuffix(".pth").rsplit("-", 1)[-1]  # its first 8 digits

log = logging.getLogger(__name__)


class InceptionFeatures(nn.Module):
    """The 2048 pooled features of the Inception network of 5 December 2015, as FID is defined on.

    Heusel et al. 2017, "GANs trained by a two time-scale update rule converge to a local Nash
    equilibrium". Images are resized to 299 x 299 bilinearly without antialiasing, as the original
    TensorFlow graph did; grey images are repeated to three channels.

    Raises:
        UserError: the file is missing or is not the 2015 network.
    """

    name = "inception-2015-12-05"
    distance = "fid"
    resize = "bilinear 299 x 299, not antialiased (TensorFlow 1)"
    num_features = 2048

    def __init__(self, weights: Path):
        super().__init__()
        check_inception_weights(weights)
        self.network = inception(weights)

    def train(self, mode: bool = True) -> "InceptionFeatures":
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 2048)."""
        return self.network(images.expand(-1, 3, -1, -1)).flatten(1)


class RandomConvFeatures(nn.Module):
    """Features of a fixed random convolution network: a stand-in where Inception's weights are missing.

    Random networks separate gross differences of texture and contrast, which is enough to see a run
    improve and to rank the runs of one sweep. The numbers compare with nothing else.
    """

    name = "random-conv-v1"
    distance = "frechet_random_conv"
    resize = "none"
    widths = (32, 64, 128)
    num_features = 2 * sum(widths)

    def __init__(self):
        super().__init__()
        inputs = 3
        for stage, width in enumerate(self.widths):
            draws = stream(0, self.name, stage).standard_normal((width, inputs, 3, 3), dtype="float32")
            self.register_buffer(f"weight_{stage}", torch.from_numpy(draws) * (2 / (9 * inputs)) ** 0.5)
            inputs = width

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 448): mean and standard deviation of every channel after every stage."""
        maps = images.expand(-1, 3, -1, -1).float() / 127.5 - 1
        features = []
        for stage in range(len(self.widths)):
            maps = F.leaky_relu(F.conv2d(maps, getattr(self, f"weight_{stage}"), stride=2, padding=1), 0.2)
            features += [maps.mean((2, 3)), maps.std((2, 3))]
        return torch.cat(features, 1)


def default_extractor(weights: str | None, download: bool) -> nn.Module:
    """Inception where its weights are given, found or can be fetched; else the stand-in, said in one line.

    Args:
        weights: path of the weights; None: where torchmetrics keeps them.
        download: whether to try the network where they are missing.

    Raises:
        UserError: `weights` is given but is not that file.
    """
    if weights is not None:
        return InceptionFeatures(Path(weights).expanduser())
    usual = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    if not usual.is_file() and download:
        fetch(usual)
    if usual.is_file():
        return InceptionFeatures(usual)
    log.info(
        f"No Inception weights: put {INCEPTION_FILE} into {usual.parent} (or set "
        "callbacks.quality.weights=FILE) to get FID; until then quality is "
        f"{RandomConvFeatures.distance}, which compares only with itself"
    )
    return RandomConvFeatures()


def fetch(path: Path) -> None:
    """Try to download Inception's weights to `path`; leave nothing there where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)  # torch.hub sets none: a silent firewall would hold the run for minutes
    try:
        with contextlib.suppress(URLError, OSError):
            torch.hub.download_url_to_file(INCEPTION_URL, str(path), hash_prefix=INCEPTION_SHA256)
    finally:
        socket.setdefaulttimeout(timeout)


def check_inception_weights(path: Path) -> None:
    """Make sure that the file is the network that FID is defined on.

    Raises:
        UserError: it is missing, unreadable or another file.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"Inception weights {path}: {error.strerror}; give callbacks.quality.weights=FILE"
        ) from None
    if not digest.startswith(INCEPTION_SHA256):
        raise UserError(
            f"{path} is not {INCEPTION_FILE}: its SHA-256 begins with {digest[:8]}, not {INCEPTION_SHA256}"
        )
