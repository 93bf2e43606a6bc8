"""The Inception network of 2015, which defines FID, and the download of its weights."""

import contextlib
import hashlib
import logging
import pickle
import socket
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from alzgan.errors import UserError
from alzgan.metrics.features import FeatureExtractor
from alzgan.upstream.torchmetrics import INCEPTION_URL, inception, inception_logits

INCEPTION_FILE = INCEPTION_URL.rsplit("/", 1)[-1]
INCEPTION_SHA256 = INCEPTION_FILE.removesuffix(".pth").rsplit("-", 1)[-1]  # its first 8 digits

log = logging.getLogger(__name__)


class InceptionFeatures(FeatureExtractor):
    """The 2048 pooled features of the Inception network of 5 December 2015, which define FID.

    Heusel et al. 2017, "GANs trained by a two time-scale update rule converge to a local Nash
    equilibrium". Images are resized to 299 x 299 bilinearly without antialiasing, as the original
    TensorFlow graph did; grey images are repeated to three channels.

    Args:
        weights: the file; None: the place where torchmetrics keeps it.

    Raises:
        UserError: the file is missing or is not the 2015 network.
    """

    name = "inception-2015-12-05"
    space = "inception"
    method = "Inception of 2015, trained on ImageNet; bilinear 299 x 299, not antialiased (TensorFlow 1)"
    num_features = 2048

    def __init__(self, weights: Path | None = None):
        super().__init__()
        weights = weights or usual_place()
        check_inception_weights(weights)
        self.network = inception(weights)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 2048)."""
        return self.network(images.expand(-1, 3, -1, -1)).flatten(1)

    def probabilities(self, features: Tensor) -> Tensor:
        """Class probabilities (N, 1008) without the bias, from which the Inception Score is computed."""
        return inception_logits(self.network, features).softmax(1)


def usual_place() -> Path:
    """The place where torchmetrics keeps the weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE


def is_at_hand(download: bool) -> bool:
    """Whether the weights are in their usual place; with `download`, missing weights are fetched first."""
    if not usual_place().is_file() and download:
        fetch(usual_place())
    return usual_place().is_file()


def fetch(path: Path) -> None:
    """Try to download the weights to `path`. A failed download leaves no file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)  # torch.hub sets none, and a silent firewall can block it for minutes
    try:
        with contextlib.suppress(URLError, OSError):
            torch.hub.download_url_to_file(INCEPTION_URL, str(path), hash_prefix=INCEPTION_SHA256)
    finally:
        socket.setdefaulttimeout(timeout)


def check_inception_weights(path: Path) -> None:
    """Check that the file is the network of 2015.

    Raises:
        UserError: the file is missing, unreadable or another one.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"Inception weights {path}: {error.strerror}; put {INCEPTION_FILE} there, or give its place "
            "(features=[inception:FILE], or callbacks.quality.extractor=inception:FILE in training)"
        ) from None
    if not digest.startswith(INCEPTION_SHA256):
        raise UserError(
            f"{path} is not {INCEPTION_FILE}: its SHA-256 begins with {digest[:8]}, not {INCEPTION_SHA256}"
        )
    try:  # torch-fidelity would run code that the file names, and a file with these 8 digits can be forged
        torch.load(path, map_location="meta", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        raise UserError(f"{path} has more than weights in it and was not used; download it again") from None
