"""What the tests share: small folders of images, small runs, real processes."""

import importlib
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra._internal.hydra import Hydra
from omegaconf import DictConfig
from PIL import Image
from processes import run_verb

from alzgan.runs import cli
from alzgan.runs.config import compose_config

REPOSITORY = Path(__file__).resolve().parent.parent

# Small enough for a CPU: 32 x 32 grey images, 8 base channels, 8 images in a batch.
SMALL = [
    "data.image_size=32",
    "data.channels=1",
    "data.batch_size=8",
    "model.generator.width=8",
    "model.discriminator.width=8",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=2",
    "callbacks.samples.count=16",
    "callbacks.quality.n_samples=32",
    "callbacks.quality.download=false",
]


def pytest_report_header() -> str:
    """What the last bits of sums depend on."""
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, threads: {threads}"


@pytest.fixture(autouse=True, scope="session")
def same_threads() -> None:
    """CPU sums depend on the number of threads: one, or OMP_NUM_THREADS, here and in all processes."""
    threads = os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["MKL_NUM_THREADS"] = threads  # which torch prefers
    torch.set_num_threads(int(threads))


def use_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let everything be kept in this folder."""
    monkeypatch.setenv("ALZGAN_CACHE", str(cache))
    monkeypatch.setenv("TORCH_HOME", str(cache / "torch"))
    return cache


@pytest.fixture(autouse=True, scope="session")
def cache_of_fixtures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No fixture reads or writes the user's cache, whose features may be of another processor."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_cache(tmp_path_factory.mktemp("cache"), monkeypatch)
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nor does a test, and it knows nothing of another one's."""
    return use_cache(tmp_path_factory.mktemp("cache"), monkeypatch)


@pytest.fixture(scope="session")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 grey 36 x 44 PNG images: two classes of ten people with two slices each."""
    root = tmp_path_factory.mktemp("slices")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:44j, -1:1:36j]
    for index in range(40):
        folder = root / ("Healthy" if index % 2 else "Demented")
        folder.mkdir(exist_ok=True)
        radius, shift = rng.uniform(0.5, 0.9), rng.uniform(-0.2, 0.2, 2)
        disc = np.hypot(x - shift[0], y - shift[1]) < radius
        noise = rng.normal(0, 12, disc.shape)
        Image.fromarray((disc * (150 + noise)).clip(0, 255).astype("uint8")).save(
            folder / f"sub-{index % 20:02}_slice-{index // 20}.png"
        )
    return root


def settings(*overrides: str) -> DictConfig:
    """`conf/train.yaml` composed with the overrides, as the command line would."""
    return compose_config("train", overrides)


def small_settings(root: Path, run_dir: Path, *overrides: str) -> DictConfig:
    """The settings of a small run on a folder of images."""
    return settings("data=mri", f"data.root={root}", f"run_dir={run_dir}", *SMALL, *overrides)


@pytest.fixture
def error_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Iterator[Callable[..., str]]:
    """The one line that a verb ends with, run in this process; beside it only a bar may be shown."""

    def error_line(*arguments: str, verb: str = "train") -> str:
        task = importlib.import_module(f"alzgan.{verb}")
        monkeypatch.setattr(sys, "argv", [f"alzgan.{verb}", *arguments])
        # Hydra would compose all settings once more to find that none sets hydra.mode.
        monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: None)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.run(getattr(task, verb), verb)
        line = end.value.code
        assert isinstance(line, str), line  # which Python prints, with exit code 1
        assert line.startswith("alzgan: ")
        assert "\n" not in line
        shown = re.sub(
            r"\r?(decoding|reading|looking for copies|slicing|samples|training|features [\w-]+"
            r"|comparing in [^:]+):[^\n\r]*",
            "",
            capsys.readouterr().err,
        )
        assert not shown.strip(), shown
        return line

    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    loggers = [each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    disabled = [each.disabled for each in loggers]
    yield error_line
    # Hydra sets up logging for the process, which is the tests' here.
    for handler in set(root.handlers).difference(handlers):
        handler.close()
    root.handlers[:], root.level = handlers, level
    for each, before in zip(loggers, disabled, strict=True):
        each.disabled = before


def alzgan(
    *arguments: str, verb: str = "train", timeout: float = 120, cwd: Path = REPOSITORY, fresh: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run `python -m alzgan.<verb>` in a process of its own, a `fresh` one where it is about its start."""
    if not fresh:
        return run_verb(verb, arguments, cwd, os.environ, timeout)
    command = [sys.executable, "-m", f"alzgan.{verb}", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)
