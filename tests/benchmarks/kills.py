"""Kill training with SIGKILL at random moments, resume it until done, and compare with the undisturbed run.

python tests/benchmarks/kills.py [FILE.json]      everything, about 7 minutes
python tests/benchmarks/kills.py --short [FILE]   one run with 3 kills, and the negative control; of another
                                                  recipe by its options behind the file: model=aided

The processes are real; they are forked from this one, which has loaded torch and Lightning already, so that
a kill costs a second and not ten. What is random here need not be repeatable: any moment must do.
"""

import argparse
import contextlib
import errno
import hashlib
import json
import logging
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from alzgan import gan
from alzgan.callbacks.record import RunRecord
from alzgan.errors import UserError
from alzgan.runs import session
from alzgan.runs.checkpoints import AtomicCheckpointIO, load_checkpoint
from alzgan.runs.config import CONF, compose_config
from alzgan.runs.resume import run_to_continue

TINY = [
    "data=mri",
    "data.image_size=32",
    "data.channels=1",
    "data.batch_size=4",
    "data.subjects=none",
    "data.fractions=[1,0,0]",
    "model.generator.width=4",
    "model.discriminator.width=4",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "callbacks.samples.count=4",
    "callbacks.samples.every_n_epochs=3",
    "callbacks.quality.n_samples=8",
    "callbacks.quality.every_n_epochs=2",
    "callbacks.quality.download=false",
    "callbacks.health.every_n_train_steps=5",
    "callbacks.checkpoint.every_n_train_steps=1",  # so that kills fall into saves too
]
STATEFUL = [  # every piece that has a state of its own
    "model=cdcgan",
    "loss=relativistic",
    "penalty=[r1,r2,lecam]",
    "augment=ada",
    "average=ema",
    "model.discriminator.normalization=spectral",
]
IGNORED = ("alzgan", "pytorch-lightning_version")  # provenance names the sessions, and must differ
START_LIMIT = 120  # seconds to the first step
SIZE = 2 << 20  # of the floats in a checkpoint whose saving is killed: 8 MB


@dataclass
class Outcome:
    """One run that was killed again and again."""

    name: str
    kills: int = 0
    in_a_save: int = 0
    sessions: int = 0
    unloadable: int = 0
    differences: int = 0
    first_difference: str | None = None
    doubled_steps: int = 0
    tensors: int = 0


def write_images(root: Path) -> None:
    """Forty grey images of noise on a gradient, in two classes."""
    rng = np.random.default_rng(0)
    for index in range(40):
        folder = root / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.linspace(0, 120, 32)[:, None] + rng.integers(0, 100, (32, 32))
        Image.fromarray(pixels.astype("uint8")).save(folder / f"{index:02}.png")


def train(run_dir: Path, overrides: list[str]) -> None:
    """One session: a new run, or the rest of the one in the folder."""
    if (run_dir / "checkpoints" / "last.ckpt").is_file():
        overrides = [*overrides, f"ckpt_path={run_dir}"]
    settings = compose_config("train", overrides)
    previous = run_to_continue(settings, run_dir, overrides)
    if previous is not None:
        settings = previous.to_train()
    settings.run_dir = str(run_dir)
    session.run(settings, overrides, previous)


def fork(task: Callable[[], Any], log: Path, **environment: str) -> int:
    """Run the task in a process of its own; exit code 0, or 1 if it raised."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ.update(environment)
        # Lightning read it when it was imported, which is before the fork.
        rank_zero_only.rank = int(environment.get("LOCAL_RANK", 0))
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        task()
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def announced(task: Callable[[], Any], pipe: int) -> None:
    """Run the task; tell through the pipe when training starts."""
    original = RunRecord.on_train_start

    def on_train_start(*arguments: Any) -> None:
        os.write(pipe, b".")
        original(*arguments)

    RunRecord.on_train_start = on_train_start
    task()


def start_session(task: Callable[[], Any], log: Path, processes: int) -> tuple[list[int], int]:
    """Start all ranks of a session; returns their process ids and a pipe that tells of the first step."""
    reader, writer = os.pipe()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    several = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "NODE_RANK": "0",
        "WORLD_SIZE": str(processes),
    }
    pids = []
    for rank in range(processes):
        environment = {**several, "LOCAL_RANK": str(rank)} if processes > 1 else {}
        pids.append(fork(partial(announced, task, writer), log, **environment))
    os.close(writer)
    return pids, reader


def run_session(task: Callable[[], Any], log: Path, processes: int, kill_after: float | None) -> bool:
    """Run a session, killed so many seconds after training has started; returns whether it was killed."""
    pids, pipe = start_session(task, log, processes)
    started = select.select([pipe], [], [], START_LIMIT)[0] and os.read(pipe, 1)
    os.close(pipe)
    if started and kill_after is not None:
        time.sleep(kill_after)
        killed = os.waitpid(pids[0], os.WNOHANG)[0] == 0
    else:
        killed = not started or os.waitpid(pids[0], 0)[1] != 0
    for pid in pids if killed else pids[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    if killed and (kill_after is None or not started):
        raise RuntimeError(log.read_text())
    return killed


def killed_run(
    name: str, reference: Path, folder: Path, overrides: list[str], processes: int, kills: int, span: float
) -> Outcome:
    """Kill a run so often, up to `span` seconds into each session, then let it end; compare."""
    outcome, run_dir, log = Outcome(name), folder / name, folder / f"{name}.log"
    last = run_dir / "checkpoints" / "last.ckpt"
    task = partial(train, run_dir, overrides)
    # A kill may also come between the last checkpoint and the end of the process.
    while outcome.kills < kills and not (last.is_file() and finished(last, reference)):
        outcome.sessions += 1
        if not run_session(task, log, processes, random.uniform(0, span)):
            break
        outcome.kills += 1
        outcome.in_a_save += any(run_dir.rglob("checkpoints/*.part"))
        outcome.unloadable += last.is_file() and not loads(last)
    if not (last.is_file() and finished(last, reference)):
        outcome.sessions += 1
        run_session(task, log, processes, None)
    compare(outcome, reference, run_dir)
    return outcome


def finished(last: Path, reference: Path) -> bool:
    steps = [load_checkpoint(path)["global_step"] for path in (last, reference / "checkpoints" / "last.ckpt")]
    return steps[0] == steps[1]


def loads(path: Path) -> bool:
    try:
        return bool(load_checkpoint(path))
    except UserError:
        return False


def compare(outcome: Outcome, reference: Path, run_dir: Path) -> None:
    """Count what differs in both checkpoints, and the steps that TensorBoard has twice."""
    for name in ("last.ckpt", "best.ckpt"):
        one, two = (load_checkpoint(folder / "checkpoints" / name) for folder in (reference, run_dir))
        outcome.tensors += sum(value.startswith("tensor") for value in digests(one).values())
        different = [f"{name}{key}" for key in differing(one, two)]
        outcome.differences += len(different)
        outcome.first_difference = outcome.first_difference or next(iter(different), None)
    outcome.doubled_steps = doubled_steps(reference, run_dir)


def differing(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    """The places at which two checkpoints do not hold the same."""
    one, two = digests(one), digests(two)
    return [key for key in sorted({*one, *two}) if one.get(key) != two.get(key)]


def digests(checkpoint: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of every tensor, and every other value, by its place in the file."""
    kept = {key: value for key, value in checkpoint.items() if key not in IGNORED}
    return dict(leaves(kept, ""))


def leaves(node: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{place}/{key}")
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from leaves(value, f"{place}/{index}")
    elif isinstance(node, Tensor):
        yield place, "tensor " + hashlib.sha256(node.contiguous().numpy().tobytes()).hexdigest()
    else:
        yield place, repr(node)


def doubled_steps(reference: Path, run_dir: Path) -> int:
    """How many of TensorBoard's scalars and grids are not there just once, with the undisturbed values."""
    one, two = (
        EventAccumulator(str(folder), {"scalars": 0, "images": 0}).Reload() for folder in (reference, run_dir)
    )
    wrong = 0
    for tag in one.Tags()["scalars"]:
        expected, found = ([(e.step, e.value) for e in events.Scalars(tag)] for events in (one, two))
        if tag.startswith("speed/"):
            expected, found = ([step for step, _ in values] for values in (expected, found))
        wrong += len(set(expected) ^ set(found)) + len(found) - len(set(found))
    for tag in one.Tags()["images"]:
        expected, found = (
            [(e.step, e.encoded_image_string) for e in events.Images(tag)] for events in (one, two)
        )
        wrong += len(set(expected) ^ set(found)) + len(found) - len(set(found))
    return wrong


def negative_control(reference: Path, folder: Path, overrides: list[str], steps: int) -> int:
    """Resume with another seed of the latents: how many values differ then. 0 would mean a blind check."""
    run_dir, log = folder / "control", folder / "control.log"
    run_session(partial(train, run_dir, [*overrides, f"trainer.max_steps={steps // 2}"]), log, 1, None)

    def other_latents() -> None:
        original = gan.stream
        gan.stream = lambda seed, *counter: original(seed + 1, *counter)
        train(run_dir, [*overrides, f"trainer.max_steps={steps}"])

    run_session(other_latents, log, 1, None)
    outcome = Outcome("control")
    compare(outcome, reference, run_dir)
    return outcome.differences


def save_forever(path: Path, temporary: Path, content: Tensor) -> None:
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
    for version in range(1_000_000):
        AtomicCheckpointIO().save_checkpoint(
            {"state_dict": {"a": content + version, "b": torch.tensor(float(version))}, "alzgan": RECORD},
            path,
        )


RECORD = {"config": {}, "provenance": {}}


def killed_saves(folder: Path, temporary: Path, kills: int) -> dict[str, int]:
    """Kill a process that does nothing but save, as often as it takes to hit so many saves midway."""
    path, content = folder / "saved" / "last.ckpt", torch.zeros(SIZE)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.mkdir(parents=True, exist_ok=True)
    counts = {"kills": 0, "in_a_save": 0, "bad_files": 0}
    while counts["in_a_save"] < kills:
        pid = fork(partial(save_forever, path, temporary, content), folder / "saves.log")
        time.sleep(random.uniform(0.05, 0.15))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        parts = list(path.parent.glob("*.part"))
        counts["kills"] += 1
        counts["in_a_save"] += bool(parts)
        counts["bad_files"] += path.is_file() and not intact(path)
        for part in parts:
            part.unlink()
    return counts


def intact(path: Path) -> bool:
    try:
        state = load_checkpoint(path)["state_dict"]
    except UserError:
        return False
    return bool((state["a"] == state["b"]).all())


def full_disk(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Train on a tmpfs of 3 MB until it is full: what the process says, and whether `last.ckpt` loads."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        return {"skipped": "no right to mount a tmpfs here"}
    try:
        arguments = [*overrides, "trainer.max_steps=100000", "callbacks.samples.every_n_train_steps=2"]
        result = subprocess.run(
            [sys.executable, "-m", "alzgan.train", *arguments, f"run_dir={disk / 'run'}"],
            cwd=CONF.parent,
            capture_output=True,
            text=True,
        )
        lines = [line for line in result.stderr.splitlines() if line.startswith("alzgan: ")]
        return {
            "exit_code": result.returncode,
            "lines": lines,
            "traceback": "Traceback" in result.stderr,
            "no_space": os.strerror(errno.ENOSPC) in "".join(lines),
            "last_loads": loads(disk / "run" / "checkpoints" / "last.ckpt"),
        }
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def main() -> None:
    """Do all of it, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("recipe", nargs="*", metavar="option=value", help="in place of the short form's")
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it says what it purges
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        os.environ["ALZGAN_CACHE"] = str(folder / "cache")
        os.environ["OMP_NUM_THREADS"] = "1"
        os.environ["TORCH_HOME"] = str(folder / "torch")
        write_images(folder / "images")
        results = measure(folder, arguments.short, arguments.recipe)
    print_table(results)
    if arguments.file:
        arguments.file.write_text(json.dumps(results, indent=2) + "\n")


def print_table(results: dict[str, Any]) -> None:
    """The runs in rows, the rest in lines."""
    columns = [key for key in results["runs"][0] if key != "first_difference"]
    print("  ".join(f"{column:>16}" for column in columns))
    for run in results["runs"]:
        print("  ".join(f"{run[column]:>16}" for column in columns))
    for name, value in results.items():
        if name != "runs":
            print(f"{name}: {value}")


def measure(folder: Path, short: bool, recipe: list[str]) -> dict[str, Any]:
    """All figures of the short form, for a recipe, or of the long form."""
    steps = 60 if short else 600
    overrides = [*TINY, *((recipe or STATEFUL) if short else []), f"data.root={folder / 'images'}"]
    limited = [*overrides, f"trainer.max_steps={steps}"]
    reference = folder / "reference"
    run_session(partial(train, reference, limited), folder / "reference.log", 1, None)
    plans = {"workers 0": (["data.num_workers=0"], 1, 3 if short else 12)}
    span = (3.0 if recipe else 0.4) if short else 1.0  # seconds in which a session is killed
    if not short:
        plans["workers 2"] = ["data.num_workers=2"], 1, 12
        plans["workers 0 again"] = [], 1, 12
    runs = [
        killed_run(name, reference, folder, [*limited, *extra], processes, kills, span)
        for name, (extra, processes, kills) in plans.items()
    ]
    if not short:
        stateful = [*limited, *STATEFUL]
        runs.append(killed_otherwise("stateful", folder, stateful, 1, 12, 1.0))
        fast = [*stateful, "trainer=fast", "trainer.precision=bf16-mixed"]
        runs.append(killed_otherwise("fast", folder, fast, 1, 12, 1.0))
        ddp = [*limited, "trainer=ddp", "trainer.devices=2"]
        runs.append(killed_otherwise("DDP on 2", folder, ddp, 2, 8, 2.0))
    results: dict[str, Any] = {"runs": [asdict(run) for run in runs]}
    results["control_differences"] = negative_control(reference, folder, overrides, steps)
    if not short:
        elsewhere = Path(tempfile.mkdtemp(prefix="kills-", dir="/dev/shm"))
        results["saves_tmpdir_same_disk"] = killed_saves(folder, folder / "tmp", 100)
        results["saves_tmpdir_other_disk"] = killed_saves(folder, elsewhere, 100)
        elsewhere.rmdir()
        results["full_disk"] = full_disk(folder, overrides)
    return results


def killed_otherwise(
    name: str, folder: Path, overrides: list[str], processes: int, kills: int, span: float
) -> Outcome:
    """The same with another trainer, beside an undisturbed run of its own."""
    reference = folder / f"{name} undisturbed"
    run_session(partial(train, reference, overrides), folder / f"{name} undisturbed.log", processes, None)
    return killed_run(name, reference, folder, overrides, processes, kills, span)


if __name__ == "__main__":
    main()
