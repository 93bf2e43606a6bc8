"""Where a run comes from: code, packages, machine, data and command line."""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import alzgan
from alzgan.device.precision import CPU_INFO

PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "omegaconf", "torchmetrics", "numpy", "pillow")


def provenance() -> dict[str, Any]:
    """The provenance as plain containers, for a checkpoint and `run.json`."""
    return {
        "alzgan": alzgan.__version__,
        "git": git_state(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else processor(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def processor() -> str:
    """The processor's product name, if the system gives it."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or "cpu")


def git_state() -> dict[str, Any] | None:
    """Commit and whether the checkout differs from it; None for an installed package."""
    folder = Path(alzgan.__file__).resolve().parent
    try:
        if Path(git("rev-parse", "--show-toplevel", cwd=folder)).resolve() != folder.parent:
            return None  # installed inside another repository
        commit = git("rev-parse", "HEAD", cwd=folder)
        return {"commit": commit, "dirty": bool(git("status", "--porcelain", cwd=folder))}
    except (OSError, subprocess.CalledProcessError):
        return None


def git(*arguments: str, cwd: Path) -> str:
    """The output of a git command."""
    return subprocess.run(
        ["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True
    ).stdout.strip()
