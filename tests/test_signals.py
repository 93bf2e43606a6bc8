import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import REPOSITORY, SMALL, small_settings

from alzgan.callbacks.signals import StopOnSignal, Stopped
from alzgan.runs import session
from alzgan.runs.checkpoints import load_checkpoint

SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}


@pytest.fixture(scope="module", autouse=True)
def heard() -> Iterator[None]:
    """Under nohup the tests, and the processes that they start, would ignore SIGHUP."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous)


def start(slices: Path, run_dir: Path, *options: str, within: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A training process with loader workers."""
    arguments = ["data=mri", f"data.root={slices}", f"run_dir={run_dir}", "data.num_workers=1", *SMALL]
    command = [sys.executable, "-m", "alzgan.train", *arguments, "trainer.max_epochs=100000", *options]
    return subprocess.Popen(
        [*within, *command], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def started(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, tuple]]:
    """A training process for each signal that has taken its first steps."""
    runs = {}
    for number in SIGNALS:
        run_dir = tmp_path_factory.mktemp("run")
        runs[number] = start(slices, run_dir), run_dir
    for process, run_dir in runs.values():
        while not (run_dir / "samples/step_0000000.png").is_file():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
    time.sleep(0.5)
    yield runs
    for process, _ in runs.values():
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_saves_between_steps_says_so_and_exits(started: dict[int, tuple], number: int):
    process, run_dir = started[number]
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == SIGNALS[number], errors
    assert "Traceback" not in errors
    checkpoint = load_checkpoint(run_dir / "checkpoints/last.ckpt")
    step = checkpoint["global_step"]
    assert step > 0
    name = signal.Signals(number).name
    line = f"Stopped by {name} after step {step}; continue with: python -m alzgan.train ckpt_path={run_dir}"
    assert output.count(line) == output.count("Stopped") == 1
    assert line in (run_dir / "train.log").read_text()
    # Neither player is a step ahead of the other.
    for state in checkpoint["optimizer_states"]:
        assert {int(values["step"]) for values in state["state"].values()} == {step}


def with_shared_memory(size: str) -> list[str]:
    """What to put in front of a command that is to find so much of it."""
    mount = f'mount -t tmpfs -o size={size} none /dev/shm && exec "$@"'
    within = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    try:
        subprocess.run([*within, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root of Linux may mount a small /dev/shm")
    return within


@pytest.mark.slow
def test_a_run_whose_batches_are_larger_than_shared_memory_trains_and_ends_at_one_signal(
    slices: Path, tmp_path: Path
):
    larger = ("data.image_size=64", "data.channels=3", "data.batch_size=32")  # 384 kB a batch
    each_step = "callbacks.checkpoint.every_n_train_steps=1"
    process = start(slices, tmp_path, *larger, each_step, within=with_shared_memory("256k"))
    first_steps = tmp_path / "checkpoints/last.ckpt"
    try:
        for _ in range(1200):  # it could wait for ever for its first batch
            if first_steps.is_file() or process.poll() is not None:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143, errors
    assert load_checkpoint(first_steps)["global_step"] > 0


@pytest.mark.slow
def test_full_shared_memory_is_told_of_in_a_line(slices: Path, tmp_path: Path):
    process = start(slices, tmp_path, within=with_shared_memory("4k"))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("alzgan: data.num_workers=1 cannot be started: No space left")
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_second_interrupt_stops_at_once():
    program = (
        "import os, signal\n"
        "from alzgan.callbacks.signals import StopOnSignal\n"
        "stop = StopOnSignal(); stop.received = 0\n"
        "signal.signal(signal.SIGINT, stop.remember)\n"
        "os.kill(os.getpid(), signal.SIGINT); print('training', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGINT); print('still training', flush=True)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (130, "training\n")


def test_slurms_requeue_waits_for_the_end_of_the_step():
    stop, seen = StopOnSignal(), []
    stop.requeue = None
    previous = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        stop.defer(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)
        assert seen == []
        stop.requeue()
        assert seen == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, previous)


@pytest.fixture
def hangup_ignored() -> Iterator[None]:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, previous)


def hang_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the run's first step receive SIGHUP."""
    step = session.GAN.training_step

    def interrupted(model: session.GAN, *args: object) -> object:
        signal.raise_signal(signal.SIGHUP)
        return step(model, *args)

    monkeypatch.setattr(session.GAN, "training_step", interrupted)


def test_a_signal_in_the_last_step_lets_the_run_end(
    slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hang_up(monkeypatch)
    session.run(small_settings(slices, tmp_path, "trainer.max_steps=1"))
    assert json.loads((tmp_path / "metrics.json").read_text())["steps"] == 1
    assert load_checkpoint(tmp_path / "checkpoints/last.ckpt")["global_step"] == 1


def test_a_run_under_nohup_goes_on(
    slices: Path, tmp_path: Path, hangup_ignored: None, monkeypatch: pytest.MonkeyPatch
):
    hang_up(monkeypatch)
    session.run(small_settings(slices, tmp_path, "trainer.max_steps=2"))
    assert load_checkpoint(tmp_path / "checkpoints/last.ckpt")["global_step"] == 2


def test_a_closed_terminal_does_not_keep_the_run_from_saving(
    slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept = os.dup(2)
    screen, terminal = pty.openpty()
    os.dup2(terminal, 2)
    os.close(terminal)
    try:
        hang_up(monkeypatch)
        monkeypatch.setattr(sys, "stderr", os.fdopen(2, "w", closefd=False))
        # Closing the master's end hangs up the terminal: each further write there is an error.
        start = StopOnSignal.on_train_start
        monkeypatch.setattr(
            StopOnSignal, "on_train_start", lambda self, *args: (start(self, *args), os.close(screen))
        )
        with pytest.raises(Stopped) as stopped:
            session.run(
                small_settings(slices, tmp_path, "trainer.max_steps=9", "trainer.log_every_n_steps=1")
            )
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert stopped.value.code == 129
    assert load_checkpoint(tmp_path / "checkpoints/last.ckpt")["global_step"] == 1


def test_an_interrupt_while_modules_load_leaves_one_line(tmp_path: Path):
    program = (
        "import sys\n"
        "from alzgan.runs import cli\n"
        "def task(settings):\n"
        "    import torch._subclasses.fake_tensor\n"
        "    import logging; logging.getLogger('torch').setLevel(logging.NOTSET)\n"
        "    raise KeyboardInterrupt\n"
        "sys.argv = ['train', 'hydra.run.dir=' + sys.argv[1]]\n"
        "cli.run(task, 'train')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "alzgan: interrupted\n")
