"""Rebuild a run's data from its settings, to continue, evaluate or check it for copies."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from alzgan.data.datamodule import MRIDataModule
from alzgan.errors import UserError
from alzgan.people.splits import DRAW
from alzgan.runs.build import build
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.resume import Previous, refuse
from alzgan.text import printable


def run_and_data(path: Path, settings: DictConfig, overrides: Sequence[str]) -> tuple[Previous, DictConfig]:
    """The run of a checkpoint, and the settings of its data with the command line's changes.

    Raises:
        UserError: the checkpoint does not describe its data, or an override would change the data.
    """
    checkpoint = load_checkpoint(path)
    if not isinstance(checkpoint["alzgan"]["provenance"].get("data"), dict):
        raise UserError(f"{printable(path)} has no record of its training data: give samples=FOLDER instead")
    of_data = [override for override in overrides if override.lstrip("+~").startswith("data.")]
    # The record is enough, and a sweep would need too much memory for all weights.
    previous = Previous(path, {"alzgan": checkpoint["alzgan"]}).given(settings, of_data)
    refuse(previous.departures)
    return previous, previous.settings.data


def data_of_run(previous: Previous, node: DictConfig) -> MRIDataModule:
    """Read the data that a run was trained on, with the run's own split.

    Raises:
        UserError: the images are missing or have changed.
    """
    data, path = build("data", node), printable(previous.path)
    refuse_older_split(previous)
    try:
        data.read()
    except UserError as error:
        raise UserError(
            f"{error}. {path} was trained on these images. Without them, it can make samples (alzgan.load), "
            "but nothing can be compared with them: give the images' new folder with data.root=DIR"
        ) from None
    if previous.provenance["data"].get("fingerprint") != data.fingerprint:
        raise UserError(
            f"the images in {printable(data.root)} are not those that {path} was trained on: give the "
            "folder of those with data.root=DIR, or a folder of its samples with samples=FOLDER"
        )
    return data


def refuse_older_split(previous: Previous) -> None:
    """Raise UserError for a run whose held-out people an older version drew in another way."""
    if previous.provenance["data"].get("draw") != DRAW:
        version = printable(str(previous.provenance.get("alzgan")))
        raise UserError(
            f"{printable(previous.path)}: alzgan {version} drew its held-out people in another way: use that "
            "version, or start a new run"
        )
