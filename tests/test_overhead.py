import os
import platform
import subprocess
import sys

import pytest

from alzgan.device.overhead import Unprofiled, ask_the_runtime_for_devices

FAULTS = """
import resource, torch
from alzgan.device.overhead import keep_freed_memory
if {keep}: keep_freed_memory()
for _ in range(3): torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8): torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep: bool) -> int:
    """Of eight tensors of 64 MiB, one after the other, once there have been some."""
    command = [sys.executable, "-c", FAULTS.format(keep=keep)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(result.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_freed_memory_is_kept_and_not_made_anew():
    made_anew = page_faults(keep=False)
    assert made_anew >= 8 * 64 / 2  # new pages, of at most 2 MiB, for each tensor
    assert page_faults(keep=True) < made_anew / 4  # a block may not fit into the last one's place, once


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
