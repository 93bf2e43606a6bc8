"""What makes the same step of the game faster on the hardware found."""

import logging

import torch
from lightning import Callback, Trainer

from alzgan.device.graphs import CapturedStep
from alzgan.gan import GAN
from alzgan.upstream.lightning import scales_losses

log = logging.getLogger(__name__)


class Acceleration(Callback):
    """Train by one CUDA graph a step, and by compiled networks if asked; on a CPU nothing is captured.

    Args:
        cuda_graph: replay the whole step as one graph, on one CUDA device, with fused optimizers and
            without float16's loss scaling; there is one for each set of penalties that are due together.
        compile: both networks by torch.compile, which needs a C++ compiler and no penalty on a
            gradient. That a run which was stopped then goes on to the bit has not been shown.
    """

    def __init__(self, cuda_graph: bool = True, compile: bool = False):
        self.cuda_graph = cuda_graph
        self.compile = compile
        self.before: tuple[str, bool] | None = None

    def setup(self, trainer: Trainer, pl_module: GAN, stage: str) -> None:
        """Choose the faster arithmetic where a float32 product is left on CUDA: TensorFloat-32."""
        self.before = (
            torch.get_float32_matmul_precision(),
            torch.utils.deterministic.fill_uninitialized_memory,
        )
        if trainer.strategy.root_device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        # `trainer.deterministic` would fill each new tensor, to show reads of what was never written.
        torch.utils.deterministic.fill_uninitialized_memory = False

    def on_train_start(self, trainer: Trainer, pl_module: GAN) -> None:
        """Compile the networks and capture the step, where that is possible."""
        if self.compile:
            pl_module.generator.compile()
            pl_module.discriminator.compile()
        if self.captures(trainer, pl_module):
            scheduled = [list(options) for options in pl_module.schedules.of_optimizers]
            pl_module.captured = CapturedStep(pl_module.play, trainer.optimizers, scheduled)
        elif self.cuda_graph and pl_module.device.type == "cuda":
            log.info(
                "Steps are not captured as a CUDA graph: it takes one process, no float16, fused optimizers "
                "and no schedule of theirs but a learning rate's"
            )

    def captures(self, trainer: Trainer, gan: GAN) -> bool:
        """Whether the step becomes a graph: asked for, and the same work every time."""
        # float16's loss scale leaves steps out; several processes talk to each other in a step; an optimizer
        # that is not fused counts its steps on the CPU, and only a learning rate can be read from a tensor.
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        same = trainer.world_size == 1 and not scales_losses(trainer) and all(g.get("fused") for g in groups)
        read = all(set(options) <= {"lr"} for options in gan.schedules.of_optimizers)
        return self.cuda_graph and gan.device.type == "cuda" and same and read

    def teardown(self, trainer: Trainer, pl_module: GAN, stage: str) -> None:
        """Give the system the graph's memory back, and torch its settings."""
        pl_module.captured = None
        if self.before is not None:  # a run may fail before it is set up
            precision, torch.utils.deterministic.fill_uninitialized_memory = self.before
            torch.set_float32_matmul_precision(precision)

    def on_exception(self, trainer: Trainer, pl_module: GAN, exception: BaseException) -> None:
        """Do so too where a run fails: the next one of a sweep may be in this process."""
        self.teardown(trainer, pl_module, "fit")
