"""Verbs in processes of their own that start at once: forked from one that has loaded the libraries."""

import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["processes", "alzgan.benchmarks.loops", "alzgan.sources.audit"])


def run_verb(
    verb: str, arguments: tuple[str, ...], cwd: Path, environment: Mapping[str, str], timeout: float
) -> CompletedProcess[str]:
    """Run `python -m alzgan.<verb>`, all but the loading of torch and Lightning."""
    with tempfile.TemporaryDirectory() as folder:
        files = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        process = PROCESSES.Process(target=work, args=(verb, arguments, cwd, dict(environment), files))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise TimeoutExpired(verb, timeout)
        output, errors = (Path(file).read_text() for file in files)
        return CompletedProcess(arguments, process.exitcode, output, errors)


def work(
    verb: str, arguments: tuple[str, ...], cwd: Path, environment: dict[str, str], files: list[str]
) -> None:
    """In the process: what the interpreter does before it runs a module."""
    for stream, file in zip((sys.stdout, sys.stderr), files, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream.fileno())
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [str(cwd), *environment.get("PYTHONPATH", "").split(os.pathsep)]
    sys.argv = [verb, *arguments]
    runpy.run_module(f"alzgan.{verb}", run_name="__main__", alter_sys=True)
