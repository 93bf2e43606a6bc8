"""A laboratory for small-data medical image GANs.

``alzgan.load(RUN)`` gives a trained generator back; ``alzgan.metrics`` has what samples are judged by.

The words of this project:
    person: one patient or volunteer, with all images. Settings and tables that users type say ``subject``.
    held out: a person of the validation or test part, on whom nothing is trained.
    unseen: a real person who stands in the samples' place in a comparison, and was not trained on either.
    sample: a generated image. A stack is all slices of one person, real or generated.
    copy: an image that shows the same slice as another one, whatever happened to it in between.
    stage: a part of an evaluation: fidelity, copies, anatomy, utility, reading.
    metric: one number of a stage. Several decide a verdict.
    space: features in which images are compared.
    part: a network of a discriminator that has several. Its view is what it sees of an image.
    step: one update of the generator, after the discriminator's turns.
    cell: a recipe with its settings in the study.
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
