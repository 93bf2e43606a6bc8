"""Start a run from another run: from the weights that fit, or from its whole state."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor, nn

from alzgan.data.datamodule import MRIDataModule
from alzgan.errors import UserError
from alzgan.files import read_table
from alzgan.game import AVERAGE
from alzgan.gan import GAN
from alzgan.people.names import spelling_key
from alzgan.people.subjects import NUMBERING
from alzgan.runs.checkpoints import load_checkpoint, optimizer_fits
from alzgan.runs.config import checkpoint_file
from alzgan.runs.resume import Previous
from alzgan.schedules import OptimizerFactory, make_optimizer
from alzgan.text import counted, printable, shell_override

PLAYERS = ("generator", "discriminator")  # their optimizers are in the reverse order
MOST_NAMED = 3  # new tensors to name in the log

log = logging.getLogger(__name__)


def start_from(gan: GAN, source: str, players: Sequence[str] = PLAYERS) -> dict[str, Any]:
    """Take a checkpoint's weights where names and shapes fit, and log the names of the others.

    Only tensors are used, not the checkpoint's config. Optimizers, penalties and augmentations start anew.

    Args:
        gan: gets the weights.
        source: a run's folder or a checkpoint.
        players: the networks whose weights are taken.

    Returns:
        The origin, for the run's record.

    Raises:
        UserError: there is no such checkpoint, or nothing in it fits.
    """
    players = [players] if isinstance(players, str) else list(players or PLAYERS)
    if unknown := [player for player in players if player not in PLAYERS]:
        raise UserError(f"model.start_with={unknown[0]} must be one or both of {', '.join(PLAYERS)}")
    path = checkpoint_file(source, "model.start_from")
    checkpoint = load_checkpoint(path)
    wanted = [name for name in gan.state_dict() if of_players(name, players)]
    taken = fitting(gan, checkpoint["state_dict"], wanted)
    if not any(value.dim() > 1 for value in taken.values()):  # counters fit any model
        raise UserError(
            f"model.start_from={printable(str(path))}: none of its weights fits this model; choose its "
            "networks and widths"
        )
    gan.load_state_dict(taken, strict=False)
    new = [name for name in wanted if name not in taken]
    log.info(f"Started from {path}: {counted(len(taken), 'tensor')} of {len(wanted)}{named(new)}")
    return {**origin(path, checkpoint), "taken": len(taken), "new": new}


def start_whole(gan: GAN, source: Previous) -> tuple[dict[str, Any], Callback]:
    """Take both networks and all other state that fits: averages, penalties and augmentations.

    Args:
        gan: gets the weights.
        source: the run to start from.

    Returns:
        The origin, for the run's record, and a callback that restores the optimizers' state.

    Raises:
        UserError: the networks are not those of the source.
    """
    theirs, ours = source.checkpoint["state_dict"], gan.state_dict()
    taken = fitting(gan, theirs, list(ours))
    new = [name for name in ours if name not in taken]
    # A scalar is a schedule's value, and may differ.
    if unfit := next((name for name in new if of_players(name, PLAYERS) and ours[name].dim()), None):
        raise UserError(
            f"{source.path} does not fit the model: its {unfit} differs; to take only the weights that fit, "
            f"give model.start_from={source.path} instead of ckpt_path"
        )
    gan.load_state_dict(taken, strict=False)
    states = source.checkpoint["optimizer_states"]
    optimizers = zip(PLAYERS[::-1], gan.optimizer_factories, states, strict=False)
    kept = {
        player: state for player, factory, state in optimizers if goes_on(factory, gan.player(player), state)
    }
    for player in PLAYERS:
        if player not in kept:
            log.info(f"model.{player}_optimizer differs from that of {source.path}, so its state is not used")
    if gan.schedules:
        log.info("The schedules of this run start from the beginning")
    record = {**origin(source.path, source.checkpoint), "taken": len(taken), "new": new}
    return {**record, "optimizers": list(kept)}, restoring(kept)


def restoring(states: Mapping[str, dict[str, Any]]) -> Callback:
    """A callback that gives the players' optimizers another run's state before the first step.

    Args:
        states: by player, see `torch.optim.Optimizer.state_dict`; their options are not taken.
    """

    def restore(trainer: Trainer, _: LightningModule) -> None:
        for player, optimizer in zip(PLAYERS[::-1], trainer.optimizers, strict=True):
            if player in states:
                groups = optimizer.state_dict()["param_groups"]
                optimizer.load_state_dict({"state": states[player]["state"], "param_groups": groups})

    return LambdaCallback(on_fit_start=restore)


def goes_on(factory: OptimizerFactory, network: nn.Module, state: Any) -> bool:
    """Whether an optimizer of this kind can continue from the state."""
    if not optimizer_fits(make_optimizer(factory, network.parameters()), state):
        return False
    weight = nn.Parameter(torch.zeros(1, 1))
    weight.grad = torch.zeros(1, 1)
    optimizer = make_optimizer(factory, [weight])
    optimizer.step()
    return all(set(values) == set(optimizer.state[weight]) for values in state["state"].values())


def origin(path: Path, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The run of a checkpoint, for the record of a run that starts from it."""
    made = checkpoint["alzgan"]["provenance"]
    data = made.get("data")
    known = data if isinstance(data, dict) else {}
    return {
        "path": str(path),
        "step": checkpoint.get("global_step"),
        "root": known.get("root"),
        "fingerprint": known.get("fingerprint"),
        "subject_rule": known.get("subject_rule"),
        "trained_features": features_behind(made),
        "started_from": made.get("started_from"),
    }


def features_behind(made: Mapping[str, Any]) -> dict[str, str]:
    """The `trained_features` of a run by its record, with those of the run that it started from."""
    before = made.get("started_from") or {}
    return {**(before.get("trained_features") or {}), **(made.get("trained_features") or {})}


def check_held_out(started: dict[str, Any], data: MRIDataModule) -> None:
    """Check that neither the other run nor any before it was trained on people who are held out here.

    It warns if that cannot be known, and if people have the names of some who are held out here.

    Raises:
        UserError: it was trained on them, so measurements on unseen people would be too good.
    """
    for run in lineage(started):
        if run["fingerprint"] == data.fingerprint:
            continue
        table = Path(run["path"]).parent.parent / "split.csv"
        rows = [row for row in read_table(table) if row.get("split") == "train"]
        files = {row["file"] for row in rows}
        names = {spelling_key(row["subject"]) for row in rows} if names_people(run, data) else set()
        people = zip(data.files, data.subjects.subject, data.split.parts, strict=True)
        held_out = [(file.path, who) for file, who, part in people if part != "train"]
        leaked = {who for path, who in held_out if path in files}
        if leaked and run["root"] and os.path.realpath(run["root"]) == os.path.realpath(data.root):
            raise UserError(
                f"{run['path']} was trained on {counted(len(leaked), 'person', 'people')} held out here, for "
                f"example {printable(min(leaked))}; hold out the same people with "
                f"{shell_override('data.subjects', f'csv:{table}')}"
            )
        if leaked or not rows or any(spelling_key(who) in names for _, who in held_out):
            log.warning(
                f"{run['path']} may have been trained on people who are held out here: then measurements on "
                "them are too good"
            )


def lineage(started: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The run that a run started from, the one which that started from, and so on; see `origin`."""
    run: dict[str, Any] | None = started
    while run:
        yield run
        run = run.get("started_from")


def names_people(run: dict[str, Any], data: MRIDataModule) -> bool:
    """Whether equal names of people in a run and in this data can be the same people."""
    rules = run.get("subject_rule") or "none", data.subjects.rule
    return not any(rule in (*NUMBERING, "none") for rule in rules)


def fitting(gan: GAN, theirs: dict[str, Tensor], wanted: Sequence[str]) -> dict[str, Tensor]:
    """The wanted tensors of a checkpoint that have the shape of the model's.

    If the checkpoint has no average, the average starts from its generator.
    """
    taken, state = {}, gan.state_dict()
    for name in wanted:
        value = theirs.get(name)
        if value is None and name.startswith(f"{AVERAGE}."):
            value = theirs.get(name.replace(AVERAGE, "generator", 1))
        if value is not None and value.shape == state[name].shape:
            taken[name] = value
    return taken


def of_players(name: str, players: Sequence[str]) -> bool:
    """Whether a tensor belongs to one of the players; averages and parts belong to theirs."""
    owners = {AVERAGE: "generator", "average": "generator", "parts": "discriminator"}
    first = name.partition(".")[0]
    return owners.get(first, first) in players


def named(new: Sequence[str]) -> str:
    """Words for the tensors that were not taken, for the log."""
    if not new:
        return ""
    more = f" and {len(new) - MOST_NAMED} more" if len(new) > MOST_NAMED else ""
    return f"; new are {', '.join(new[:MOST_NAMED])}{more}"
