"""Time loops side by side: each has a process of its own, and they take turns in rounds.

So slow changes of the machine (clock, other programs, cache) affect all loops alike, and the peak memory of
each loop can be measured.
"""

import contextlib
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
WARM_UP_STEPS = 5  # the first steps choose kernels, fill caches and capture graphs


class Finished(Exception):
    """Ends a loop when all is measured."""


class Pace:
    """A loop's connection to the measuring process, which asks for a number of steps at a time."""

    def __init__(self, line: Connection):
        self.line = line

    def wait(self) -> None:
        """Wait for a turn."""
        self.steps_left = self.line.recv()
        if self.steps_left == 0:
            raise Finished
        synchronize()
        self.start = time.perf_counter()

    def step_done(self) -> None:
        """Count a step; at the end of a turn, send its seconds and wait for the next one."""
        self.steps_left -= 1
        if self.steps_left == 0:
            synchronize()
            self.line.send(time.perf_counter() - self.start)
            self.wait()


Loop = Callable[[Pace, Any], None]  # calls `Pace.wait` once, then `Pace.step_done` after each step, for ever
Run = Callable[[int], Any]  # seconds that so many steps of a loop take; 0 ends it and returns its peak memory


@contextlib.contextmanager
def contest(loops: Mapping[str, tuple[Loop, Any]], folder: Path) -> Iterator[dict[str, Run]]:
    """Run loops, each in a process whose output goes to `NAME.log`; the processes end with the block."""
    spawn, processes = get_context("spawn"), []
    runs: dict[str, Run] = {}
    try:
        for name, (loop, settings) in loops.items():
            line, other = spawn.Pipe()
            processes.append(
                spawn.Process(target=serve, args=(loop, settings, other, folder / f"{name}.log"))
            )
            processes[-1].start()
            other.close()
            runs[name] = partial(run, name, line)
        yield runs
    finally:
        for process in processes:
            process.kill()


def serve(loop: Loop, settings: Any, line: Connection, log: Path) -> None:
    """Run a loop in this process with its output in a file."""
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    with contextlib.suppress(Finished):
        loop(Pace(line), settings)
    line.send(peak_memory())


def run(name: str, line: Connection, steps: int) -> Any:
    """Let the loop at the other end of the line run some steps, and return its answer."""
    try:
        line.send(steps)
        return line.recv()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise RuntimeError(f"the loop {name} has ended with an error: see its log in run_dir") from None


def interleave(loops: Mapping[str, Run], rounds: int, seconds: float) -> dict[str, list[float]]:
    """The seconds a step of each loop in each round, where each loop has a turn of about `seconds`."""
    steps = {name: steps_that_take(seconds, loop) for name, loop in loops.items()}
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            times[name].append(loop(steps[name]) / steps[name])
    return times


def steps_that_take(seconds: float, loop: Run) -> int:
    """The number of steps of a loop in a turn, at least two, measured after a warm-up."""
    loop(WARM_UP_STEPS)
    steps = 1
    # The first steps are too fast: a loader has prepared their batches.
    while (taken := loop(steps)) < seconds / 2:
        steps *= 2
    taken = min(taken, loop(steps))  # the first time may include a set-up, such as compilation
    return max(2, round(steps * seconds / taken))


def quartiles(values: list[float]) -> list[float]:
    """The lower quartile, the median and the upper quartile; a single value is all three."""
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def peak_memory() -> dict[str, float]:
    """This process's peak memory in MiB, and that of CUDA if it used any."""
    # On Linux, the value of `getrusage` includes the process that has started this one.
    if STATUS.is_file():
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        peak = int(lines["VmHWM"].split()[0]) / 2**10  # kB
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak /= 2**20 if sys.platform == "darwin" else 2**10
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {"peak_mebibytes": peak}
    return {"peak_mebibytes": peak, "peak_cuda_mebibytes": torch.cuda.max_memory_allocated() / 2**20}


def synchronize() -> None:
    """Wait for the device, if this process uses one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
