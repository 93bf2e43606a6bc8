import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY, SMALL

from alzgan.callbacks.signals import StopOnSignal
from alzgan.runtime.checkpoints import load_checkpoint

SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130}


@pytest.fixture(scope="module")
def started(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, tuple]]:
    """A training process for each signal, with loader workers, that has taken its first steps."""
    runs = {}
    for number in SIGNALS:
        run_dir = tmp_path_factory.mktemp("run")
        arguments = ["data=mri", f"data.root={slices}", f"run_dir={run_dir}", "data.num_workers=1", *SMALL]
        command = [sys.executable, "-m", "alzgan.train", *arguments, "trainer.max_epochs=100000"]
        process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        runs[number] = process, run_dir
    for process, run_dir in runs.values():
        while not (run_dir / "samples/step_0000000.png").is_file():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
    time.sleep(0.5)
    yield runs
    for process, _ in runs.values():
        process.kill()


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
