"""A run's data, built anew from its settings: for its next session, for a judge, for a search for copies."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from alzgan.data.datamodule import MRIDataModule
from alzgan.errors import UserError
from alzgan.people.splits import DRAW
from alzgan.runs.build import build
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.resume import Previous
from alzgan.text import printable


def run_and_data(path: Path, settings: DictConfig, overrides: Sequence[str]) -> tuple[Previous, DictConfig]:
    """The run of a checkpoint, and the settings of its data, which may lie elsewhere now.

    Raises:
        UserError: the checkpoint says nothing of its data, or an override would make it other data.
    """
    checkpoint = load_checkpoint(path)
    if not isinstance(checkpoint["alzgan"]["provenance"].get("data"), dict):
        raise UserError(
            f"{printable(path)} does not say by what data it was trained: give samples=FOLDER instead"
        )
    of_data = [override for override in overrides if override.lstrip("+~").startswith("data.")]
    # Its record is enough: of a sweep's runs not all weights are kept.
    previous = Previous(path, {"alzgan": checkpoint["alzgan"]})
    return previous, previous.data_settings(settings, of_data)


def data_of_run(previous: Previous, node: DictConfig) -> MRIDataModule:
    """The data that a run was trained on, read, in the run's own split.

    Raises:
        UserError: the images are gone, or are others.
    """
    data, path = build("data", node), printable(previous.path)
    keep_older_split(previous, data, previous.path.parent.parent)
    try:
        data.read()
    except UserError as error:
        raise UserError(
            f"{error}. {path} was trained on these images; without them its samples can be drawn "
            "(alzgan.load) but not compared: give data.root=DIR where they are now"
        ) from None
    if previous.provenance["data"].get("fingerprint") != data.fingerprint:
        raise UserError(
            f"the training images in {printable(data.root)} are not those that {path} was trained on: give "
            "data.root=DIR with those, or samples=FOLDER of images drawn from it"
        )
    return data


def keep_older_split(previous: Previous, data: MRIDataModule, run_dir: Path) -> None:
    """Let a run whose people an older version drew, in another way, go on with those."""
    if previous.provenance["data"].get("draw") == DRAW:
        return
    folders = (previous.path.parent.parent, run_dir)
    table = next((folder / "split.csv" for folder in folders if (folder / "split.csv").is_file()), None)
    if table is None:
        raise UserError(
            f"{previous.path}: an older version drew who is held out, and split.csv, which says it, is not "
            f"in {folders[0]}: put it back, or start a new run"
        )
    data.kept_split = table
