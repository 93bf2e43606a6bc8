"""What is timed: the tutorials' loop, the game without a Trainer, and alzgan's own training."""

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from lightning import Callback, Trainer
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode

from alzgan.benchmarks import textbook as tutorial
from alzgan.benchmarks.contest import Pace
from alzgan.device.graphs import CapturedStep
from alzgan.device.overhead import tune_process
from alzgan.device.pixels import to_float
from alzgan.gan import GAN, LOOKS, Turn
from alzgan.runs.build import build_data, build_model, build_trainer, conditioned
from alzgan.upstream.lightning import quiet

RESIDENT = 1024  # images of noise that lie on the device
SELDOM = 1_000_000


@dataclass(frozen=True)
class LoopSettings:
    """What a loop needs to know.

    Attributes:
        training: a composed `conf/train.yaml`, resolved.
        folder: of the images; None: uint8 noise, resident on the device.
    """

    training: DictConfig
    folder: str | None = None

    @property
    def device(self) -> torch.device:
        """The one that a Trainer would choose."""
        cpu = self.training.trainer.accelerator == "cpu" or not torch.cuda.is_available()
        return torch.device("cpu" if cpu else "cuda")


def textbook(pace: Pace, settings: LoopSettings) -> None:
    """The DCGAN loop of the tutorials: each image decoded each time, each loss read and printed each step."""
    gan, data = build_model(settings.training).to(settings.device), settings.training.data
    players = gan.generator, nn.Sequential(gan.discriminator, nn.Sigmoid())
    # As the tutorials have them, in PyTorch's default layout.
    game = tutorial.TextbookGame(*(each.to(memory_format=torch.contiguous_format) for each in players))
    if settings.folder is None:
        shape = data.batch_size, data.channels, data.image_size, data.image_size
        batches = itertools.repeat(torch.rand(shape, device=settings.device) * 2 - 1)
    else:
        batches = tutorial.batches(settings.folder, data.image_size, data.channels, data.batch_size)
    pace.wait()
    for step, real in enumerate(batches):
        latents = torch.randn(len(real), gan.latent_dim, device=settings.device)
        print(step, *game.step(real.to(settings.device), latents), flush=True)
        pace.step_done()


def bare(pace: Pace, settings: LoopSettings) -> None:
    """Alzgan's game with nothing around it, on data that lies on the device."""
    tune_process()
    game = BareGame(settings)
    pace.facts["flops_a_step"] = game.flops()
    if settings.device.type == "cuda":
        game.capture()
    pace.wait()
    for step in itertools.count():
        game.step(step)
        pace.step_done()


class BareGame:
    """The two players with all that makes a step, and no Trainer.

    Args:
        settings: see there.
    """

    def __init__(self, settings: LoopSettings):
        data = settings.training.data
        self.gan = build_model(settings.training).to(settings.device)
        self.batch_size, self.device = data.batch_size, settings.device
        self.optimizers = self.gan.configure_optimizers()
        self.gan.optimizers = lambda: self.optimizers
        self.gan.descend = self.descend
        self.gan.images_a_step = self.batch_size
        self.alternation = self.gan.alternation
        noise = torch.randint(
            256, (RESIDENT, data.image_size, data.image_size, data.channels), dtype=torch.uint8
        )
        self.images = noise.to(settings.device).permute(0, 3, 1, 2)  # channels last
        self.low = settings.training.trainer.precision == "bf16-mixed"

    @staticmethod
    def descend(loss: Tensor, optimizer: Optimizer) -> None:
        """One step down a loss."""
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def step(self, number: int) -> dict[str, Tensor]:
        """One alternation on a random batch; what it says is not read."""
        due = tuple(name for name, each in self.gan.penalties.items() if number % each.interval == 0)
        # Without the cache of cast weights, as Lightning has it: a later turn needs them as they are then.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.low, cache_enabled=False):
            return self.alternation(self.turns(), due)

    def turns(self) -> list[Turn]:
        """The discriminator's turns, all that is new drawn on the device."""
        gan, count = self.gan, self.batch_size // self.gan.critic_turns
        turns = []
        for _ in range(gan.critic_turns):
            chosen = torch.randint(len(self.images), (count,), device=self.device)
            labels = None
            if gan.conditional:
                labels = torch.randint(max(1, gan.classes), (count,), device=self.device)
            if gan.numbers:
                numbers = torch.rand(count, gan.numbers, device=self.device) * 2 - 1
                labels = torch.cat([labels[:, None], numbers], 1)
            draws = None
            if gan.augment is not None:
                draws = torch.rand(LOOKS, count, gan.augment.uniforms, device=self.device)
            latents = torch.randn(count, gan.latent_dim, device=self.device)
            turns.append(Turn(to_float(self.images[chosen]), labels, latents, labels, draws))
        return turns

    def flops(self) -> int:
        """Play one alternation without penalties; returns its FLOPs, of which a multiply-add is two."""
        with FlopCounterMode(display=False) as counter:
            self.alternation(self.turns(), ())
        return counter.get_total_flops()

    def capture(self) -> None:
        """Play by CUDA graphs from here on."""
        self.alternation = CapturedStep(self.gan.alternation, self.optimizers)


def trainer(pace: Pace, settings: LoopSettings) -> None:
    """The real Trainer with its callbacks and its logger: all that belongs to a step.

    What comes every few epochs would fall into some rounds and not into others.
    """
    training = settings.training
    for name in ("quality", "samples"):
        if training.callbacks.get(name) is not None:
            training.callbacks[name].every_n_epochs = SELDOM
    train(training, Paced(pace))


def train(settings: DictConfig, *probes: Callback) -> None:
    """Train as `alzgan.runs.session.run` does, with callbacks added behind all others."""
    tune_process()
    with quiet():
        data = build_data(settings)
        settings = conditioned(settings, data)
        gan, fit = build_model(settings), build_trainer(settings, {}, None)
        data.setup()
        fit.callbacks.extend(probes)
        fit.fit(gan, datamodule=data)


class Paced(Callback):
    """Let the Trainer run only when it is told to.

    Args:
        pace: the line to the process that measures.
    """

    def __init__(self, pace: Pace):
        self.pace = pace

    def on_train_start(self, trainer: Trainer, pl_module: GAN) -> None:
        """Wait for the first round."""
        self.pace.wait()

    def on_train_batch_end(self, *args: Any) -> None:
        """Count a step."""
        self.pace.step_done()
