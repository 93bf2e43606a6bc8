"""A laboratory for small-data medical image GANs.

``alzgan.load(RUN)`` gives a trained generator back; ``alzgan.metrics`` has what samples are judged by.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

# Loaded where they are asked for, so that ``import alzgan`` loads nothing heavy.
LAZY = {"load": ("alzgan.runs.load", "load"), "metrics": ("alzgan.metrics", None)}


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module 'alzgan' has no attribute {name!r}")
    module, attribute = LAZY[name]
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found
