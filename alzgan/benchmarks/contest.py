"""Loops that are timed side by side: each in a process of its own, a round at a time, one after the other.

So slow drifts of the machine (clock, neighbours, cache) hit all of them alike, and each one's peak memory is
its own.
"""

import contextlib
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
WARM_UP_STEPS = 5  # the first steps choose kernels, fill caches and capture graphs


class Finished(Exception):
    """Ends a loop that has been measured."""


class Pace:
    """The loop's end of the line: it runs as many steps as it is told, then waits.

    Args:
        line: to the process that measures.
    """

    def __init__(self, line: Connection):
        self.line = line
        self.facts: dict[str, Any] = {}  # what the loop itself has to say

    def wait(self) -> None:
        """Wait for a round."""
        self.steps_left = self.line.recv()
        if self.steps_left == 0:
            raise Finished
        synchronize()
        self.start = time.perf_counter()

    def step_done(self) -> None:
        """Count a step; at the end of a round, tell its time."""
        self.steps_left -= 1
        if self.steps_left == 0:
            synchronize()
            self.line.send(time.perf_counter() - self.start)
            self.wait()


class Contestant:
    """The measurer's end of the line to one loop in a process of its own.

    Args:
        name: of the loop; its output goes to `NAME.log`.
        loop: calls `Pace.wait` once and `Pace.step_done` after each step, for ever.
        settings: given to the loop.
        folder: of the log.
    """

    def __init__(self, name: str, loop: Callable[[Pace, Any], None], settings: Any, folder: Path):
        self.name = name
        self.line, other = get_context("spawn").Pipe()
        self.process = get_context("spawn").Process(
            target=serve, args=(loop, settings, other, folder / f"{name}.log"), daemon=False
        )
        self.process.start()
        other.close()

    def run(self, steps: int) -> float:
        """Seconds that a number of steps take."""
        return self.answer(steps)

    def finish(self) -> dict[str, Any]:
        """End the loop; returns its facts, `peak_mebibytes` among them."""
        facts = self.answer(0)
        self.process.join()
        return facts

    def answer(self, steps: int) -> Any:
        """What the loop says to a number of steps."""
        try:
            self.line.send(steps)
            return self.line.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise RuntimeError(f"the loop {self.name} has died: see its log in the run's folder") from None


def serve(loop: Callable[[Pace, Any], None], settings: Any, line: Connection, log: Path) -> None:
    """Run a loop in this process, its output in a file."""
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    pace = Pace(line)
    with contextlib.suppress(Finished):
        loop(pace, settings)
    line.send({"peak_mebibytes": peak_mebibytes(), **gpu_peak(), **pace.facts})


@contextlib.contextmanager
def contest(
    loops: Mapping[str, tuple[Callable[[Pace, Any], None], Any]], folder: Path
) -> Iterator[list[Contestant]]:
    """Start the loops; none survives the block."""
    contestants: list[Contestant] = []
    try:
        for name, (loop, settings) in loops.items():
            contestants.append(Contestant(name, loop, settings, folder))
        yield contestants
    finally:
        for contestant in contestants:
            contestant.process.kill()


def interleave(contestants: list[Contestant], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds a step of each loop in each round; the loops take turns within a round.

    Args:
        contestants: the loops.
        rounds: how often each has its turn.
        seconds: of a turn; at least two steps.
    """
    steps = {loop.name: steps_that_take(seconds, loop) for loop in contestants}
    times: dict[str, list[float]] = {loop.name: [] for loop in contestants}
    for _ in range(rounds):
        for loop in contestants:
            times[loop.name].append(loop.run(steps[loop.name]) / steps[loop.name])
    return times


def steps_that_take(seconds: float, loop: Contestant) -> int:
    """How many steps a loop takes in a turn, after a warm-up; at least two."""
    loop.run(WARM_UP_STEPS)
    steps = 1
    # Doubled, since batches that a loader has made ahead are no measure.
    while (taken := loop.run(steps)) < seconds / 2:
        steps *= 2
    taken = min(taken, loop.run(steps))  # something may have been set up just then, a compiled network say
    return max(2, round(steps * seconds / taken))


def ratios(times: list[float], reference: list[float]) -> dict[str, float]:
    """How many times faster than the reference in the same round: median and quartiles over the rounds."""
    low, ratio, high = quartiles([theirs / ours for ours, theirs in zip(times, reference, strict=True)])
    return {"ratio": ratio, "low": low, "high": high}


def quartiles(values: list[float]) -> list[float]:
    """The lower quartile, the median and the upper one; of a single value, three times that."""
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def peak_mebibytes() -> float:
    """The most memory this process ever had, in MiB.

    Linux tells it in /proc; what `getrusage` says there includes the process that started this one.
    """
    if STATUS.is_file():
        return int(status()["VmHWM"].split()[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def status() -> dict[str, str]:
    """What Linux says of this process, sizes as "N kB"."""
    return dict(line.split(":", 1) for line in STATUS.read_text().splitlines())


def gpu_peak() -> dict[str, float]:
    """The most CUDA memory this process ever had, where it used any."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {"peak_cuda_mebibytes": torch.cuda.max_memory_allocated() / 2**20}


def synchronize() -> None:
    """Wait for the device, where this process uses one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
