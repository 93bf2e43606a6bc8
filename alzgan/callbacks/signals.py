"""Save and exit after the current step on SIGTERM, SIGHUP or Ctrl-C, so that the run can continue."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from alzgan.callbacks import callback_of
from alzgan.callbacks.checkpoint import RunCheckpoint
from alzgan.callbacks.schedule import run_is_over
from alzgan.text import shell_override
from alzgan.upstream.lightning import kill_other_ranks, requeue_signal

log = logging.getLogger(__name__)

# 128 + the signal's number, as in shells. Windows has no SIGHUP.
EXIT_CODES = {
    getattr(signal, name): 128 + getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP")
    if hasattr(signal, name)
}


class Stopped(SystemExit):
    """A signal has stopped the run, whose state is saved.

    Args:
        number: the signal's number.
        code: the process's exit code; 0 on all ranks but the first, whose launcher would kill the others.
    """

    def __init__(self, number: int, code: int):
        super().__init__(code)
        self.signal = signal.Signals(number)


class StopOnSignal(Checkpoint):
    """On SIGTERM, SIGHUP (a closed terminal) or Ctrl-C, save `last.ckpt` after the step and exit.

    A second Ctrl-C exits at once. After the last step of an epoch the run first finishes the epoch's
    callbacks. After the last step of the run it ends as usual. Slurm's requeue signal, which Lightning would
    handle in the middle of a step, also waits for the end of the step.

    This is a `Checkpoint` because Lightning calls those after all other callbacks have logged and written.

    Raises:
        Stopped: with exit code 143 (SIGTERM), 129 (SIGHUP) or 130 (Ctrl-C).
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's signal handlers. Lightning restores the old ones when the run ends."""
        self.received = int(signal.SIGTERM) if trainer.received_sigterm else 0
        self.requeue: Callable[[], None] | None = None
        # A group on the CPU: one on the GPUs would wait for them at every step.
        self.hosts: Any = dist.new_group(backend="gloo") if trainer.world_size > 1 else None
        if threading.current_thread() is not threading.main_thread():
            return  # Python allows no signal handlers here
        for number in EXIT_CODES:
            if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, self.remember)
        if (number := requeue_signal(trainer)) is not None:
            self.defer(number)

    def remember(self, number: int, frame: FrameType | None) -> None:
        """Note the signal. A second Ctrl-C exits at once, which cannot damage a checkpoint."""
        if number == self.received == signal.SIGINT:
            os._exit(EXIT_CODES[signal.SIGINT])
        self.received = number

    def defer(self, number: int) -> None:
        """Call the installed handler of a signal after the step."""
        handler = signal.getsignal(number)
        if callable(handler):
            signal.signal(number, lambda *arguments: setattr(self, "requeue", lambda: handler(*arguments)))

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop after the step, unless the epoch ends with it."""
        if trainer.global_step % trainer.num_training_batches != 0:
            self.stop_if_told(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after the epoch."""
        self.stop_if_told(trainer)

    def stop_if_told(self, trainer: Trainer) -> None:
        """Save and exit if a signal has arrived, on all ranks at the same step."""
        if run_is_over(trainer):
            return
        if self.requeue is not None:
            requeue, self.requeue = self.requeue, None
            requeue()
        number = self.received
        if self.hosts is not None:
            of_any = torch.tensor(number)
            dist.all_reduce(of_any, dist.ReduceOp.MAX, self.hosts)
            number = int(of_any)
        if number == 0:
            return
        if (checkpoint := callback_of(trainer, RunCheckpoint)) is not None:
            checkpoint.save_last(trainer)
        raise Stopped(number, EXIT_CODES[number] if trainer.is_global_zero else 0)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Say how to continue. After a failure, end the other ranks, whose errors would bury its cause."""
        if isinstance(exception, Stopped):
            log.info(
                f"Stopped by {exception.signal.name} after step {trainer.global_step}; continue with: "
                f"python -m alzgan.train {shell_override('ckpt_path', trainer.default_root_dir)}"
            )
        elif isinstance(exception, KeyboardInterrupt):
            log.info("Interrupted before the first step: there is nothing to continue")
            raise SystemExit(EXIT_CODES[signal.SIGINT])
        elif not trainer.is_global_zero:
            time.sleep(5)  # a first rank with the same failure reports it and ends this rank meanwhile
        else:
            kill_other_ranks(trainer)
