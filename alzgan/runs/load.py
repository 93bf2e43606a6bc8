"""Load a trained generator from its checkpoint alone."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from alzgan.device.pixels import middle, to_uint8
from alzgan.device.precision import to_device
from alzgan.device.streams import stream
from alzgan.errors import UserError, one_of, seed_of_streams
from alzgan.gan import GAN
from alzgan.images.arrays import Preprocessing
from alzgan.runs.build import build_model
from alzgan.runs.checkpoints import check_weights, load_with_digest, naming_the_file
from alzgan.runs.config import checkpoint_file
from alzgan.runs.stored import check_stored
from alzgan.text import printable

SAMPLES_AT_ONCE = 32  # images generated at a time; fixed, because the last bits of an image depend on it


class TrainedGenerator:
    """A generator with its checkpoint's record.

    Attributes:
        classes: names of the classes; empty if the generator is not conditional on them.
        conditions: the other conditions, each with its quantiles over the training images, in rising order.
        conditions_of_classes: the same within each class, but over all images for a class of fewer than
            `FEW_PEOPLE` people; empty without classes.
        image_size: height and width of an image.
        channels: of an image.
        people: number of training people of each class, by its name; empty if unknown.
        people_in_train: number of training people, each counted once; 0 if unknown.
        settings: of the network.
        slices_as_channels: whether the channels are neighbouring slices.
        info: the run's provenance, its precision and step, the SHA-256 of the file, and the weights in use
            ("raw" if there is no average).

    Args:
        gan: the model, with the checkpoint's weights.
        checkpoint: see `alzgan.runs.checkpoints.load_checkpoint`.
        digest: the SHA-256 of its file.
        weights: "average" or "raw".
        device: where to generate.
        dtype: of the generation; float32 or bfloat16.
    """

    def __init__(
        self,
        gan: GAN,
        checkpoint: dict[str, Any],
        digest: str,
        weights: str,
        device: torch.device,
        dtype: torch.dtype,
    ):
        data = checkpoint["alzgan"]["config"]["data"]
        self.network = gan.sampler if weights == "average" else gan.generator
        self.network.eval().requires_grad_(False).to(device, dtype)
        self.device, self.dtype = device, dtype
        self.latent_dim = gan.latent_dim
        known = checkpoint["alzgan"]["provenance"].get("data") or {}
        counts = known.get("classes", {})
        self.classes = list(counts)[: gan.classes]
        self.image_size = data.get("image_size", Preprocessing.image_size)
        self.channels = data.get("channels", Preprocessing.channels)
        # How often each class was shown; older checkpoints have only the number of images.
        self.class_shares = list(known.get("shares", counts.values()))[: gan.classes]
        self.conditions: dict[str, list[float]] = dict(
            list(known.get("conditions", {}).items())[: gan.numbers]
        )
        by_class = known.get("conditions_of_classes") or []  # older checkpoints have none
        self.conditions_of_classes: list[dict[str, list[float]]] = by_class[: gan.classes]
        self.settings: dict[str, Any] = checkpoint["alzgan"]["config"]["model"]["generator"]
        self.people: dict[str, int] = known.get("people", {})
        self.people_in_train: int = known.get("people_in_train", 0)
        self.slices_as_channels = bool(data.get("slices_as_channels"))
        self.info = {
            **checkpoint["alzgan"]["provenance"],
            "precision": checkpoint["alzgan"]["config"].get("trainer", {}).get("precision"),
            "step": checkpoint.get("global_step"),
            "weights": "raw" if gan.average is None else weights,
            "sha256": digest,
        }

    def latents(self, count: int, seed: int = 0, first: int = 0) -> Tensor:
        """Latents (count, latent_dim) from N(0, I) of the images numbered from `first`."""
        streams = streams_of("latents", seed, first, count)
        draws = [each.standard_normal(self.latent_dim, dtype=np.float32) for each in streams]
        return torch.from_numpy(np.array(draws, np.float32).reshape(count, self.latent_dim))

    def labels(
        self,
        count: int,
        label: str | int | Sequence[str | int] | None = None,
        seed: int = 0,
        first: int = 0,
        conditions: Mapping[str, float | Sequence[float]] | None = None,
    ) -> Tensor | None:
        """Labels of the images numbered from `first`, see `alzgan.networks.conditioning`.

        Args:
            count: number of images.
            label: name or index of a class, for all images or one for each; None: classes are drawn, with the
                frequencies of training.
            seed: of the draws.
            first: number of the first image.
            conditions: by name, a number in the unit of the data, for all images or one for each. Missing
                conditions are drawn independently, from the distribution of the class's training images.

        Returns:
            (count,) class indices, or (count, 1 + m) with m conditions; None if it is unconditional.

        Raises:
            UserError: there is no such class or condition, or a number is outside the training range.
        """
        class_indices = self.class_indices(count, label, seed, first)
        if unknown := set(conditions or {}) - set(self.conditions):
            known = ", ".join(map(printable, self.conditions)) or "none"
            raise UserError(f"there is no condition {printable(min(unknown))}, only {known}")
        if not self.conditions:
            return class_indices
        streams = streams_of("conditions", seed, first, count)
        draws = [each.random(len(self.conditions)) for each in streams]
        columns = [torch.zeros(count) if class_indices is None else class_indices.float()]
        for (name, quantiles), drawn in zip(self.conditions.items(), np.transpose(draws), strict=True):
            given = (conditions or {}).get(name)
            if given is None:
                table = [each[name] for each in self.conditions_of_classes] or [quantiles]
                steps = np.linspace(0, 1, len(quantiles))
                rows = columns[0].long() % len(table)
                pairs = zip(drawn, rows, strict=True)
                values = np.array([np.interp(x, steps, table[row]) for x, row in pairs])
            else:
                values = one_for_each(given, count, name)
            low, high = quantiles[0], quantiles[-1]
            if not all(low <= value <= high for value in values):
                raise UserError(
                    f"{printable(name)} goes from {low:g} to {high:g} in the training images: stay in this "
                    "range"
                )
            columns.append(torch.from_numpy(2 * (values - low) / (high - low) - 1).float())
        return torch.stack(columns, 1)

    def in_units(self, numbers: Tensor) -> dict[str, float]:
        """The numbers (m,) of a label by name, in the units of the data."""
        return {
            name: round(quantiles[0] + (float(number) + 1) / 2 * (quantiles[-1] - quantiles[0]), 4)
            for (name, quantiles), number in zip(self.conditions.items(), numbers, strict=True)
        }

    def class_indices(
        self, count: int, label: str | int | Sequence[str | int] | None, seed: int, first: int
    ) -> Tensor | None:
        """Class indices (count,), see `labels`."""
        if not self.classes:
            if label is not None:
                raise UserError("this generator is not conditional on classes: leave the label out")
            return None
        if label is None:
            edges = np.cumsum(self.class_shares) / np.sum(self.class_shares)
            draws = [each.random() for each in streams_of("labels", seed, first, count)]
            return torch.from_numpy(np.searchsorted(edges, draws, side="right"))
        each = [label] * count if isinstance(label, str | int) else list(label)
        if len(each) != count:
            raise UserError(f"{len(each)} labels for {count} images: give one for each, or one for all")
        return torch.tensor([self.index_of(name) for name in each])

    def index_of(self, label: str | int) -> int:
        """The index of a class."""
        if label in self.classes:
            return self.classes.index(label)
        if isinstance(label, int) and 0 <= label < len(self.classes):
            return label
        raise UserError(f"there is no class {printable(str(label))}, only {', '.join(self.classes)}")

    def sample(
        self,
        count: int,
        label: str | int | Sequence[str | int] | None = None,
        seed: int = 0,
        first: int = 0,
        truncation: float = 1.0,
        conditions: Mapping[str, float | Sequence[float]] | None = None,
    ) -> Tensor:
        """Images (count, C, H, W), uint8, numbered from `first`; none depends on the others.

        Args:
            count: number of images.
            label: see `labels`.
            seed: of the latents, from 0.
            first: number of the first image.
            truncation: factor of the latents; below 1, images become more typical and less diverse.
            conditions: see `labels`.

        Raises:
            UserError: see `labels`.
        """
        seed_of_streams(count=count, seed=seed, first=first)
        latents = truncation * self.latents(count, seed, first)
        labels = self.labels(count, label, seed, first, conditions)
        return to_uint8(self.floats(latents, labels, first % SAMPLES_AT_ONCE + np.arange(count)))

    def shown(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) as they are shown and judged: of neighbouring slices the middle one."""
        return middle(images) if self.slices_as_channels else images

    def generate(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (N, C, H, W), uint8, on the CPU, of latents (N, latent_dim) and `labels`."""
        return to_uint8(self.floats(latents, labels))

    @torch.inference_mode()
    def floats(
        self,
        latents: Tensor,
        labels: Tensor | None = None,
        numbers: Sequence[int] | np.ndarray | None = None,
    ) -> Tensor:
        """Images (N, C, H, W), float32 in [-1, 1], on the CPU.

        Every sample of a generator is made here. The last bits of an image depend on its place in the batch,
        so image number i is always in place i % SAMPLES_AT_ONCE of a block.

        Args:
            latents: (N, latent_dim).
            labels: (N,) or (N, 1 + m), see `labels`.
            numbers: N different image numbers; None: 0 to N - 1.
        """
        blocks, places = np.divmod(
            np.arange(len(latents)) if numbers is None else np.array(numbers), SAMPLES_AT_ONCE
        )
        found = torch.empty(len(latents), self.channels, *[self.image_size] * 2)
        for block in np.unique(blocks):
            rows = np.flatnonzero(blocks == block)
            inputs = to_device(spread(latents[rows], places[rows]), self.device).to(self.dtype)
            given = None if labels is None else to_device(spread(labels[rows], places[rows]), self.device)
            found[rows] = self.network(inputs, given).float().cpu()[places[rows]]
        return found


def streams_of(purpose: str, seed: int, first: int, count: int) -> Iterator[np.random.Generator]:
    """The random streams of the images numbered from `first`, for one purpose."""
    return (stream(seed, f"generate/{purpose}", number) for number in range(first, first + count))


def spread(rows: Tensor, places: np.ndarray) -> np.ndarray:
    """A block with the rows (N, ...) at the given places, and zeros elsewhere."""
    block = rows.new_zeros(SAMPLES_AT_ONCE, *rows.shape[1:])
    block[places] = rows
    return block.numpy()


def one_for_each(given: float | Sequence[float], count: int, name: str) -> np.ndarray:
    """A number for each of `count` images, as float64."""
    numbers = np.asarray(given, dtype=float)
    if numbers.shape not in ((), (count,)):
        raise UserError(
            f"{numbers.size} numbers {printable(name)} for {count} images: give one for each, or one for all"
        )
    return np.broadcast_to(numbers, (count,))


def load(
    path: str | Path,
    weights: str = "average",
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    allow: Collection[str] = (),
) -> TrainedGenerator:
    """A trained generator from a run's folder or a checkpoint. Its data is not needed.

    Only alzgan's own classes and those in `allow` are used, whatever the file names.

    Args:
        path: the folder of a run (its `checkpoints/last.ckpt` is loaded) or a file.
        weights: "average", the moving average of the weights if there is one, or "raw".
        device: None: a CUDA device if there is one, else the CPU.
        dtype: float32 or bfloat16.
        allow: dotted names of your own classes that the checkpoint may use.

    Raises:
        UserError: there is no such file, it is not a checkpoint of alzgan, it could run code, or it does not
            fit this version.
    """
    one_of(("average", "raw"), weights=weights)
    path = checkpoint_file(str(path))
    checkpoint, digest = load_with_digest(path)
    config, provenance = (checkpoint["alzgan"][name] for name in ("config", "provenance"))
    check_stored(config, path, allow)
    with naming_the_file(path, checkpoint):
        gan = build_model(OmegaConf.create(config))
    check_weights(gan, checkpoint, path)
    check_known(provenance.get("data"), path)
    gan.load_state_dict(checkpoint["state_dict"])
    return TrainedGenerator(gan, checkpoint, digest, weights, chosen_device(device), dtype)


def chosen_device(name: torch.device | str | None) -> torch.device:
    """The named device; for None a CUDA device if there is one, else the CPU.

    Raises:
        UserError: this machine has no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name}: {str(error).splitlines()[0]}") from None
    return device


def check_known(data: Any, path: Path) -> None:
    """Check a checkpoint's record of its data, because the file may come from an untrusted source.

    Raises:
        UserError: the record does not have the form that `MRIDataModule.describe` writes.
    """
    try:
        sound = data is None or is_description(data)
    except (AttributeError, KeyError, TypeError):  # for example lists in place of dictionaries
        sound = False
    if not sound:
        raise UserError(f"the record of the data in {path} is invalid; the file was not used")


def is_description(data: dict[str, Any]) -> bool:
    """Whether names, counts, shares and quantiles are valid."""

    def rising(values: Any, low: float, high: float) -> bool:
        numbers = isinstance(values, list) and all(isinstance(value, int | float) for value in values)
        return numbers and values == sorted(values) and all(low <= value <= high for value in values)

    quantiles, shares = data.get("conditions", {}), data.get("shares", [])
    counts = [*data.get("classes", {}).items(), *data.get("people", {}).items()]
    return (
        all(isinstance(name, str) and isinstance(count, int) for name, count in counts)
        and isinstance(data.get("people_in_train", 0), int)
        and isinstance(shares, list)
        and all(isinstance(share, int | float) and share >= 0 for share in shares)
        and all(
            isinstance(name, str) and len(q) > 1 and rising(q, q[0], q[-1]) and q[0] < q[-1]
            for name, q in quantiles.items()
        )
        and all(each.keys() == quantiles.keys() for each in data.get("conditions_of_classes", []))
        and all(
            rising(each[name], q[0], q[-1]) and len(each[name]) == len(q)
            for each in data.get("conditions_of_classes", [])
            for name, q in quantiles.items()
        )
    )
