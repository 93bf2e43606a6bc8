"""The game as Lightning trains it: a batch becomes turns, and Lightning's strategy runs the optimizers."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from alzgan.device.generators import torch_stream
from alzgan.device.graphs import Step
from alzgan.device.pixels import to_uint8
from alzgan.device.precision import to_device
from alzgan.device.streams import stream
from alzgan.errors import SettingError, at_least, seed_of_streams
from alzgan.game import Game, Look, Turn, align_gradients, parameters_of
from alzgan.losses import AdversarialLoss
from alzgan.schedules import OptimizerFactory, Schedules, make_optimizer
from alzgan.upstream.lightning import count_step


class GAN(Game, LightningModule):
    """A `Game` with optimizers, schedules and a source of randomness, for `lightning.Trainer`.

    Args:
        generator_optimizer: makes the generator's optimizer from its parameters; its options may be
            schedules.
        discriminator_optimizer: makes the discriminator's.
        latent_dim: length of a latent vector, drawn from N(0, I).
        classes: number of classes of the labels; 0: the model is not conditional on a class.
        numbers: count of numbers in each label, besides its class.
        turns: number of the discriminator's turns in a step; they share the batch.
        freeze: number of the discriminator's first convolutions that do not learn, for a model that starts
            from another run (Mo et al. 2020, "Freeze the discriminator").
        gradient_clip: largest norm of a player's gradient; None: no limit.
        seed: of all random draws.
        **pieces: the other arguments of `Game`.

    Raises:
        SettingError: a value is out of its range, or see `Game`.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: AdversarialLoss,
        generator_optimizer: OptimizerFactory,
        discriminator_optimizer: OptimizerFactory,
        latent_dim: int = 100,
        classes: int = 0,
        numbers: int = 0,
        turns: int = 1,
        freeze: int = 0,
        gradient_clip: float | None = None,
        seed: int = 0,
        **pieces: Any,
    ):
        super().__init__(generator, discriminator, loss, **pieces)
        at_least(1, latent_dim=latent_dim, turns=turns)
        at_least(0, classes=classes, numbers=numbers, freeze=freeze)
        if gradient_clip is not None and not 0 < gradient_clip < float("inf"):
            raise SettingError(f"gradient_clip={gradient_clip} must be above 0; null is no limit")
        seed_of_streams(seed=seed)
        self.automatic_optimization = False
        freeze_first_convolutions(discriminator, freeze)
        self.optimizer_factories = (discriminator_optimizer, generator_optimizer)
        self.latent_dim = latent_dim
        self.classes = classes
        self.numbers = numbers
        self.turns_a_step = turns
        self.gradient_clip = gradient_clip
        self.seed = seed
        self.schedules = Schedules(self, self.optimizer_factories)
        self.captured: Step | None = None  # takes the place of `play`: see `alzgan.callbacks.acceleration`

    def configure_optimizers(self) -> tuple[Optimizer, Optimizer]:
        """The discriminator's optimizer, then the generator's: the order in which they play."""
        of_discriminator, of_generator = self.optimizer_factories
        return (
            make_optimizer(of_discriminator, self.player("discriminator").parameters()),
            make_optimizer(of_generator, self.player("generator").parameters()),
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """One step of the game on real images (N, C, H, W) in [-1, 1] with labels, see `Turn`.

        Returns named scalars. Read them only to log them: reading waits for the device.
        """
        if self.schedules:
            done = self.global_step / self.trainer.estimated_stepping_batches
            self.schedules.follow(done, self.trainer.optimizers)
        turns, play = self.draw_turns(*batch), self.captured or self.play
        with torch_stream(self.device, self.seed, "networks", self.global_step, self.global_rank):
            said = play(turns, self.due(self.global_step))
        count_step(self.optimizers()[1])  # type: ignore[index]  # a list, because there are two
        return said

    def play(self, turns: Sequence[Turn], due: Sequence[str]) -> dict[str, Tensor]:
        """One step of the game in Lightning's precision and strategy."""
        return self.step(turns, due, self.trainer.optimizers, self.descend)

    def draw_turns(self, real: Tensor, labels: Tensor) -> list[Turn]:
        """Split the batch into the discriminator's turns, and draw latents and uniforms for each.

        Fakes take the labels of the reals: their classes are then as frequent as those sampled, and each pair
        of a relativistic loss has one class.
        """
        moment = self.global_step, self.global_rank
        latents = self.latents(len(real), "train", *moment)
        count = self.turns_a_step
        given: Sequence[Tensor | None] = labels.chunk(count) if self.conditional else [None] * count
        draws: Sequence[Tensor | None] = [None] * count
        if self.augment is not None:
            drawn = self.augment.draw(stream(self.seed, "augment", *moment), len(Look) * len(real))
            uniforms = to_device(drawn.reshape(len(Look), len(real), -1), self.device)
            # bfloat16 cannot number the pixels of a row.
            draws = uniforms.to(torch.promote_types(latents.dtype, torch.float32)).chunk(count, dim=1)
        return [
            Turn(real, labels, latents, labels, uniforms)
            for real, labels, latents, uniforms in zip(
                real.chunk(count), given, latents.chunk(count), draws, strict=True
            )
        ]

    def descend(self, loss: Tensor, optimizer: Optimizer) -> None:
        """Take one step of a player's optimizer down its loss."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        align_gradients(optimizer)
        if self.gradient_clip is not None:
            # Not Lightning's `clip_gradients`, which refuses fused optimizers in any mixed precision.
            nn.utils.clip_grad_norm_(parameters_of(optimizer), self.gradient_clip)
        # Not LightningOptimizer.step, which would count a step for each player: the game counts one.
        self.trainer.strategy.optimizer_step(optimizer, lambda: None)

    def latents(self, count: int, purpose: str, step: int = 0, rank: int = 0) -> Tensor:
        """Latents (count, latent_dim) from N(0, I): a function of the arguments and the seed."""
        draws = stream(self.seed, f"latents/{purpose}", step, rank).standard_normal(
            (count, self.latent_dim), dtype="float32"
        )
        return to_device(draws, self.device).to(self.dtype)

    @property
    def conditional(self) -> bool:
        """Whether the networks take labels."""
        return self.classes + self.numbers > 0

    @property
    def sampler(self) -> nn.Module:
        """The network that makes samples: the generator's average if there is one, else the generator."""
        return self.generator if self.average is None else self.average.network

    @torch.no_grad()
    def sample(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (N, C, H, W), uint8, for latents (N, latent_dim) and labels, in evaluation mode.

        Conditional models need labels; other models ignore them. Training is not disturbed: batch-norm
        statistics stay as they are, and nothing is drawn.
        """
        network = self.sampler
        training = network.training
        network.eval()
        images = to_uint8(network(latents, labels if self.conditional else None))
        network.train(training)
        return images


def freeze_first_convolutions(discriminator: nn.Module, count: int) -> None:
    """Freeze all parameters before the discriminator's convolution number `count + 1`.

    Raises:
        SettingError: the discriminator has no more than `count` convolutions.
    """
    convolutions = [module for module in discriminator.modules() if isinstance(module, nn.Conv2d)]
    if count and count >= len(convolutions):
        raise SettingError(
            f"freeze={count} must be less than the discriminator's {len(convolutions)} convolutions"
        )
    if count:
        learning = next(convolutions[count].parameters())
        for parameter in itertools.takewhile(lambda each: each is not learning, discriminator.parameters()):
            parameter.requires_grad_(False)
