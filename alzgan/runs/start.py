"""Another run's weights as the start of this one: transfer learning, and FreezeD with `model.freeze`."""

import csv
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from alzgan.data.datamodule import MRIDataModule
from alzgan.errors import UserError
from alzgan.gan import GAN
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.config import checkpoint_file
from alzgan.text import counted, printable, shell_override

PLAYERS = ("generator", "discriminator")
AVERAGE = "generator_average"
MOST_NAMED = 3  # tensors that are new, in the line that says so

log = logging.getLogger(__name__)


def start_from(gan: GAN, source: str, players: Sequence[str] = PLAYERS) -> dict[str, Any]:
    """Take a checkpoint's weights where names and shapes fit; the rest stays as it is, and is named.

    Only tensors are read: whatever config the checkpoint has is not used. Optimizers, penalties and
    augmentations start anew.

    Args:
        gan: whose weights are replaced.
        source: a run's folder or a checkpoint.
        players: whose weights are taken.

    Returns:
        What the run's record says of it.

    Raises:
        UserError: there is no such checkpoint, or nothing in it fits.
    """
    players = [players] if isinstance(players, str) else list(players or PLAYERS)
    if unknown := [player for player in players if player not in PLAYERS]:
        raise UserError(f"model.start_with={unknown[0]} must be one or both of {', '.join(PLAYERS)}")
    try:
        path = checkpoint_file(source)
    except UserError as error:
        raise UserError(str(error).replace("ckpt_path=", "model.start_from=", 1)) from None
    checkpoint = load_checkpoint(path)
    taken = fitting(gan, checkpoint["state_dict"], players)
    wanted = [name for name in gan.state_dict() if of_players(name, players)]
    if not any(value.dim() > 1 for value in taken.values()):  # counters fit all models
        raise UserError(
            f"model.start_from={printable(str(path))}: none of its weights fits this model; choose the same "
            "networks and widths as there"
        )
    gan.load_state_dict(taken, strict=False)
    if gan.average is not None and any(name.startswith(f"{AVERAGE}.") for name in taken):
        # Otherwise its half-life would begin at a few images, which forget what it has taken.
        gan.average.images.copy_(checkpoint["state_dict"].get("average.images", 0))
    new = [name for name in wanted if name not in taken]
    log.info(f"Started from {path}: {counted(len(taken), 'tensor')} of {len(wanted)}{named(new)}")
    data = checkpoint["alzgan"]["provenance"].get("data")
    return {
        "path": str(path),
        "step": checkpoint.get("global_step"),
        "root": data.get("root") if isinstance(data, dict) else None,
        "fingerprint": data.get("fingerprint") if isinstance(data, dict) else None,
        "taken": len(taken),
        "new": new,
    }


def check_held_out(started: dict[str, Any], data: MRIDataModule) -> None:
    """Check that nobody who is held out here was trained on there, as far as anybody can know.

    Raises:
        UserError: somebody was: all that is measured on unseen people would be false.
    """
    if started["fingerprint"] == data.fingerprint:
        return
    table = Path(started["path"]).parent.parent / "split.csv"
    seen = {row["file"] for row in read_rows(table) if row.get("split") == "train"}
    parts = zip(data.files, data.subjects.subject, data.split.parts, strict=True)
    leaked = {who for file, who, part in parts if part != "train" and file.path in seen}
    if leaked and started["root"] and os.path.realpath(started["root"]) == os.path.realpath(data.root):
        raise UserError(
            f"model.start_from: {counted(len(leaked), 'person', 'people')} held out here were trained on "
            f"there, {printable(min(leaked))} for one; hold out the same people with "
            f"{shell_override('data.subjects', f'csv:{table}')}"
        )
    if leaked or not seen:
        log.warning(
            f"{started['path']} may have been trained on people who are held out here: if it was, what is "
            "measured on them flatters"
        )


def read_rows(table: Path) -> list[dict[str, str]]:
    """The rows of a run's table of its split; none where there is none."""
    try:
        with table.open(newline="", encoding="utf-8", errors="surrogateescape") as handle:
            return list(csv.DictReader(handle))
    except OSError:
        return []


def fitting(gan: GAN, theirs: dict[str, Tensor], players: Sequence[str]) -> dict[str, Tensor]:
    """Those of a checkpoint's tensors that have the name and the shape of one of the model's.

    An average that the checkpoint lacks starts at its generator.
    """
    taken = {}
    for name, ours in gan.state_dict().items():
        if not of_players(name, players):
            continue
        value = theirs.get(name)
        if value is None and name.startswith(f"{AVERAGE}."):
            value = theirs.get(name.replace(AVERAGE, "generator", 1))
        if value is not None and value.shape == ours.shape:
            taken[name] = value
    return taken


def of_players(name: str, players: Sequence[str]) -> bool:
    """Whether a tensor is of one of the players, whose average is the generator's."""
    player = name.partition(".")[0]
    return ("generator" if player == AVERAGE else player) in players


def named(new: Sequence[str]) -> str:
    """What did not fit, in words."""
    if not new:
        return ""
    more = f" and {len(new) - MOST_NAMED} more" if len(new) > MOST_NAMED else ""
    return f"; new are {', '.join(new[:MOST_NAMED])}{more}"
