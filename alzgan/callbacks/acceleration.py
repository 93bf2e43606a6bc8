"""Faster steps of the same game on the hardware at hand."""

import logging
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from alzgan.callbacks import gan_of
from alzgan.device.graphs import CapturedStep
from alzgan.gan import GAN
from alzgan.upstream.lightning import scales_losses

log = logging.getLogger(__name__)

DETERMINISM: Any = torch.utils.deterministic  # torch does not declare this module's setting


class Acceleration(Callback):
    """Replay each step as one CUDA graph, and compile the networks if asked. On a CPU nothing is captured.

    Args:
        cuda_graph: replay the whole step as one graph, on one CUDA device, with fused optimizers and
            without float16's loss scaling. Each set of penalties that are due together has a graph.
        compile: compile both networks by torch.compile, which needs a C++ compiler and no penalty on a
            gradient. Nobody has tested whether a resumed run is then the same to the bit.
    """

    def __init__(self, cuda_graph: bool = True, compile: bool = False):
        self.cuda_graph = cuda_graph
        self.compile = compile
        self.before: tuple[str, bool] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compute the remaining float32 products on CUDA in TensorFloat-32, which is faster."""
        self.before = torch.get_float32_matmul_precision(), DETERMINISM.fill_uninitialized_memory
        if trainer.strategy.root_device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        # `trainer.deterministic` would fill each new tensor to expose reads of uninitialized memory.
        DETERMINISM.fill_uninitialized_memory = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile the networks and capture the step, where that is possible."""
        gan = gan_of(pl_module)
        if self.compile:
            gan.generator.compile()
            gan.discriminator.compile()
        if self.captures(trainer, gan):
            scheduled = [list(options) for options in gan.schedules.of_optimizers]
            gan.captured = CapturedStep(gan.play, trainer.optimizers, scheduled)
        elif self.cuda_graph and gan.device.type == "cuda":
            log.info(
                "Steps are not captured as a CUDA graph, which needs one process, no float16, fused "
                "optimizers, and no schedule of an optimizer but its learning rate's"
            )

    def captures(self, trainer: Trainer, gan: GAN) -> bool:
        """Whether the step becomes a graph: the user wants one, and each step does the same work."""
        # float16's loss scale skips steps. Several processes communicate within a step. An optimizer that is
        # not fused counts its steps on the CPU. Only a learning rate can be read from a tensor.
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        same = trainer.world_size == 1 and not scales_losses(trainer) and all(g.get("fused") for g in groups)
        read = all(set(options) <= {"lr"} for options in gan.schedules.of_optimizers)
        return self.cuda_graph and gan.device.type == "cuda" and same and read

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Free the graph's memory, and restore torch's settings."""
        gan_of(pl_module).captured = None
        if self.before is not None:  # a run may fail before `setup`
            precision, DETERMINISM.fill_uninitialized_memory = self.before
            torch.set_float32_matmul_precision(precision)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Clean up after a failed run too: the next run of a sweep may use this process."""
        self.teardown(trainer, pl_module, "fit")
