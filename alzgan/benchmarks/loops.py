"""The loops that are timed: the textbook's, the game without a Trainer, and alzgan's training.

Each takes a composed and resolved `conf/train.yaml` and runs until its `Pace` ends it.
"""

import itertools
from collections.abc import Iterable
from functools import partial

import torch
from lightning import Callback
from lightning.pytorch.callbacks import LambdaCallback
from omegaconf import DictConfig
from torch import Tensor, nn

from alzgan.benchmarks import textbook as tutorial
from alzgan.benchmarks.contest import Pace
from alzgan.device.graphs import CapturedStep, Step
from alzgan.device.overhead import tune_process
from alzgan.device.pixels import to_float
from alzgan.game import Look, Turn
from alzgan.runs.build import build_data, build_model, build_trainer, conditioned
from alzgan.upstream.lightning import quiet

RESIDENT = 1024  # images of noise on the device
SELDOM = 1_000_000


def device_of(training: DictConfig) -> torch.device:
    """The device that a Trainer would choose."""
    cpu = training.trainer.accelerator == "cpu" or not torch.cuda.is_available()
    return torch.device("cpu" if cpu else "cuda")


def textbook(pace: Pace, training: DictConfig, batches: Iterable[Tensor] | None = None) -> None:
    """The DCGAN loop of the tutorials, which decodes all images again and prints the losses of each step.

    `batches` (N, C, H, W) in [-1, 1] replace those of the data.
    """
    data, device = training.data, device_of(training)
    batches = batches or tutorial.batches(data.root, data.image_size, data.channels, data.batch_size)
    gan = build_model(training).to(device)
    players = gan.generator, nn.Sequential(gan.discriminator, nn.Sigmoid())
    # In PyTorch's default layout, as in the tutorials.
    game = tutorial.TextbookGame(*(each.to(memory_format=torch.contiguous_format) for each in players))
    pace.wait()
    for step, real in enumerate(batches):
        latents = torch.randn(len(real), gan.latent_dim, device=device)
        print(step, *game.step(real.to(device), latents), flush=True)
        pace.step_done()


def bare(pace: Pace, training: DictConfig) -> None:
    """Alzgan's game without a Trainer, on noise that is on the device; on CUDA with a graph."""
    tune_process()
    game = BareGame(training)
    if game.device.type == "cuda":
        game.play = CapturedStep(game.play, game.optimizers)
    pace.wait()
    for step in itertools.count():
        game.step(step)
        pace.step_done()


class BareGame:
    """A game, its optimizers and its data, without a Trainer."""

    def __init__(self, training: DictConfig):
        data, self.device = training.data, device_of(training)
        self.gan = build_model(training).to(self.device)
        self.optimizers = self.gan.configure_optimizers()
        self.play: Step = partial(self.gan.step, optimizers=self.optimizers)
        self.batch_size = data.batch_size
        noise = torch.randint(
            256, (RESIDENT, data.image_size, data.image_size, data.channels), dtype=torch.uint8
        )
        self.images = noise.to(self.device).permute(0, 3, 1, 2)  # channels last
        self.low = training.trainer.precision == "bf16-mixed"

    def step(self, number: int) -> dict[str, Tensor]:
        """One step on a random batch."""
        # As in Lightning, no cache of cast weights, because a later turn needs the updated weights.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.low, cache_enabled=False):
            return self.play(self.draw_turns(), self.gan.due(number))

    def draw_turns(self) -> list[Turn]:
        """The turns of a step, drawn on the device."""
        return [self.draw_turn() for _ in range(self.gan.turns_a_step)]

    def draw_turn(self) -> Turn:
        """One turn of the discriminator."""
        gan, count = self.gan, self.batch_size // self.gan.turns_a_step
        labels: Tensor | None = None
        draws: Tensor | None = None
        chosen = torch.randint(len(self.images), (count,), device=self.device)
        if gan.conditional:
            labels = torch.randint(max(1, gan.classes), (count,), device=self.device)
            if gan.numbers:
                numbers = torch.rand(count, gan.numbers, device=self.device) * 2 - 1
                labels = torch.cat([labels[:, None], numbers], 1)
        if gan.augment is not None:
            draws = torch.rand(len(Look), count, gan.augment.uniforms, device=self.device)
        latents = torch.randn(count, gan.latent_dim, device=self.device)
        return Turn(to_float(self.images[chosen]), labels, latents, labels, draws)


def trainer(pace: Pace, training: DictConfig) -> None:
    """Alzgan's training with its callbacks and its logger.

    What happens only once in several epochs is left out, because it would fall into some of the rounds.
    """
    for name in ("quality", "samples"):
        if training.callbacks.get(name) is not None:
            training.callbacks[name].every_n_epochs = SELDOM
    clock = {"on_train_start": lambda *_: pace.wait(), "on_train_batch_end": lambda *_: pace.step_done()}
    train(training, LambdaCallback(**clock))


def train(training: DictConfig, *probes: Callback) -> None:
    """Train as `alzgan.runs.session.run` does, with `probes` after all other callbacks."""
    tune_process()
    with quiet():
        data = build_data(training)
        training = conditioned(training, data)
        gan, fit = build_model(training), build_trainer(training, {}, None)
        data.setup()
        fit.callbacks.extend(probes)  # type: ignore[attr-defined]  # Lightning does not declare it
        fit.fit(gan, datamodule=data)
