"""What the hardware at hand does natively, and how arrays get to it without anybody waiting."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CPU_INFO = Path("/proc/cpuinfo")
# As x86 and Arm processors name their bfloat16 products.
NATIVE_BFLOAT16 = {"amx_bf16", "avx512_bf16", "bf16"}


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """The array on the device; the copy is queued there, behind what the device still has to do."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # from pageable memory the copy would wait
    return tensor.to(device, non_blocking=True)


def native_precision(accelerator: str) -> str:
    """Lightning's name of the fastest precision that the accelerator computes natively.

    bfloat16 keeps float32's range, so no loss is scaled; weights and optimizers stay float32. Where it is
    not native it is emulated, slower than float32.

    Args:
        accelerator: as of `lightning.Trainer`.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = accelerator in ("auto", "cpu") and cpu_has_bfloat16()
    return "bf16-mixed" if native else "32-true"


def cpu_has_bfloat16() -> bool:
    """Whether the system says that the processor multiplies bfloat16; no where it says nothing."""
    return CPU_INFO.is_file() and not NATIVE_BFLOAT16.isdisjoint(CPU_INFO.read_text().split())
