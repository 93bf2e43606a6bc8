"""Averages of the generator's weights over its training, which sample better than any one moment's."""

import copy
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from alzgan.errors import SettingError, at_least
from alzgan.schedules import Schedule


class Average(nn.Module, ABC):
    """A network of its own, `network`, that follows the generator of a game."""

    @abstractmethod
    def follow(self, game: nn.Module, said: dict[str, Tensor]) -> None:
        """Move the network towards `game.generator`, after a step that said these named scalars."""

    def start(self, generator: nn.Module) -> None:
        """Let the network begin as a copy of the generator."""
        self.network = copy.deepcopy(generator).requires_grad_(False)


class ExponentialMovingAverage(Average):
    """An average with a half-life in images (Karras et al. 2018).

    Early in the run the half-life is a share of the images seen, so that the first weights are soon forgotten
    (StyleGAN2-ADA's ramp-up). The statistics of batch norm are averaged as the weights are, since those of
    one moment belong to that moment's weights; counters are copied.

    Args:
        half_life: training images until what was has half its weight; a schedule lets it change over the run.
        ramp_up: the half-life is at most this share of the images seen so far; None: it is always whole.

    Raises:
        SettingError: a value is out of its range.
    """

    images: Tensor

    def __init__(self, half_life: float | Schedule = 5000, ramp_up: float | None = 0.05):
        super().__init__()
        if not isinstance(half_life, Schedule):
            at_least(1, half_life=half_life)
        if ramp_up is not None and not ramp_up > 0:  # the average would be the generator
            raise SettingError(f"ramp_up={ramp_up} must be above 0; null is no ramp-up")
        self.half_life = half_life
        self.ramp_up = ramp_up
        # On the device, and in checkpoints: a step that is replayed as a graph counts on.
        self.register_buffer("images", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def follow(self, game: nn.Module, said: dict[str, Tensor]) -> None:
        """Move the network towards `game.generator` by one step of `game.images_a_step` images."""
        self.images += game.images_a_step
        longest = torch.inf if self.ramp_up is None else self.ramp_up
        step = 1 - 0.5 ** (game.images_a_step / (longest * self.images).clamp(max=self.half_life))
        averages = self.network.state_dict().values()
        for average, value in zip(averages, game.generator.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(value, step.to(average.dtype))
            else:
                average.copy_(value)
