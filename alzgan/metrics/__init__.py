"""Metrics of generated images, as functions of tensors.

Features are tensors (N, F), images uint8 tensors (N, C, H, W). People are one name or number for each image.
A public function is loaded when it is first used::

    from alzgan.metrics import feature_space, kernel_distance
    (extractor,) = feature_space("imagenet-lite0")
    kernel_distance(extractor(real), extractor(fake))
"""

import importlib
from typing import Any

PUBLIC = {
    "distances": ("frechet", "kernel_distance", "mind", "at_infinity"),
    "neighbours": (
        "precision_recall",
        "density_coverage",
        "expected_coverage",
        "alpha_precision",
        "beta_recall",
    ),
    "diversity": ("vendi", "inception_score"),
    "memorisation": ("copies", "authenticity", "train_test_distance", "membership_auc"),
    "anatomy": ("measures",),
    "utility_study": ("utility",),
    "features": ("feature_space",),
}
MODULE_OF = {name: module for module, names in PUBLIC.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in MODULE_OF:
        raise AttributeError(f"module 'alzgan.metrics' has no attribute {name!r}")
    return getattr(importlib.import_module(f"alzgan.metrics.{MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(MODULE_OF)
