import os
import platform
import resource

import pytest
import torch
from benchmarks.costs import apart

from alzgan.device.overhead import Unprofiled, ask_the_runtime_for_devices, keep_freed_memory


def page_faults(keep: bool) -> int:
    """Of eight tensors of 64 MiB, one after the other, once there have been some."""
    if keep:
        keep_freed_memory()
    for _ in range(3):
        torch.ones(2**24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_freed_memory_is_kept_and_not_made_anew():
    made_anew = apart(page_faults, False)
    assert made_anew >= 8 * 64 / 2  # new pages, of at most 2 MiB, for each tensor
    assert apart(page_faults, True) < made_anew / 4  # a block may not fit into the last one's place, once


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
