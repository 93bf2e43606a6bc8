"""Precisions of tensors and of the hardware, and copies to a device without waiting."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CPU_INFO = Path("/proc/cpuinfo")
# Names that Linux gives the bfloat16 instructions of x86 and Arm processors.
NATIVE_BFLOAT16 = {"amx_bf16", "avx512_bf16", "bf16"}


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to the device; the copy waits in the device's queue, not in Python."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # a copy from pageable memory would wait
    return tensor.to(device, non_blocking=True)


def wide(values: Tensor) -> Tensor:
    """Values in float32, or in their own precision if it is higher."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def native_precision(accelerator: str) -> str:
    """Lightning's name of the fastest precision that the accelerator computes natively.

    bfloat16 has float32's range, so the loss needs no scaling. Weights and optimizers stay float32. Hardware
    without native bfloat16 emulates it more slowly than it computes float32.

    Args:
        accelerator: see `lightning.Trainer`.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = accelerator in ("auto", "cpu") and cpu_has_bfloat16()
    return "bf16-mixed" if native else "32-true"


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16, according to Linux; False on other systems."""
    return CPU_INFO.is_file() and not NATIVE_BFLOAT16.isdisjoint(CPU_INFO.read_text().split())
