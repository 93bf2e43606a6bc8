import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from alzgan.device.overhead import Unprofiled, ask_the_runtime_for_devices, keep_freed_memory

STATM = Path("/proc/self/statm")
MIB = 2**20


def kept_memory(keep: bool) -> int:
    """MiB that stay resident of eight tensors of 16 MiB, once they are freed."""

    def resident() -> int:
        return int(STATM.read_text().split()[1]) * resource.getpagesize() // MIB

    if keep:
        keep_freed_memory()
    torch.ones(4 * MIB)  # what torch and glibc do once
    before = resident()
    tensors = [torch.ones(4 * MIB) for _ in range(8)]
    assert resident() - before > 100
    del tensors
    return resident() - before


@pytest.mark.slow
@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not STATM.is_file(), reason="only glibc can be told, Linux asked"
)
def test_freed_memory_is_kept_and_not_given_back():
    def fresh(keep: bool) -> int:
        """In a process that no other test has told to keep its memory, and whose glibc does not adapt."""
        code = f"from test_overhead import kept_memory; print(kept_memory({keep}))"
        command = [sys.executable, "-c", code]
        # Else glibc, once a large block is freed, takes the next ones from a heap that small blocks can pin.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
        return int(subprocess.check_output(command, cwd=Path(__file__).parent, text=True, env=environment))

    assert fresh(False) < 64
    assert fresh(True) > 100


def test_the_profiler_that_measures_nothing_makes_nothing():
    profiler = Unprofiled()
    with profiler.profile("one") as one, profiler.profile("two") as two:
        assert one is two is None
    assert profiler.profile("one") is profiler.profile("two")


def test_the_runtime_is_asked_for_devices(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    ask_the_runtime_for_devices()
    assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in os.environ
    ask_the_runtime_for_devices()
