"""Averages of the generator's weights over its training, which sample better than any one moment's."""

import copy
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from alzgan.errors import SettingError, at_least
from alzgan.schedules import Played, Schedule


class Average(nn.Module, ABC):
    """A second network, `network`, that follows the generator of a game."""

    network: nn.Module

    @abstractmethod
    def follow(self, game: Played, said: dict[str, Tensor]) -> None:
        """Move the network towards `game.generator` after a step; `said` holds the step's named scalars."""

    def start(self, generator: nn.Module) -> None:
        """Copy the generator into the network."""
        self.network = copy.deepcopy(generator).requires_grad_(False)


class ExponentialMovingAverage(Average):
    """An average with a half-life in images (Karras et al. 2018).

    Early in the run the half-life is a share of the images seen, so that the average soon forgets the first
    weights (StyleGAN2-ADA's ramp-up). The statistics of batch norm are averaged like the weights, because
    they belong to these weights. Counters are copied.

    Args:
        half_life: training images after which old weights count half; or a schedule of it.
        ramp_up: the half-life is at most this share of the images seen so far; None sets no such limit.

    Raises:
        SettingError: a value is out of its range.
    """

    images: Tensor

    def __init__(self, half_life: float | Schedule = 5000, ramp_up: float | None = 0.05):
        super().__init__()
        at_least(1, half_life=half_life)
        if ramp_up is not None and not ramp_up > 0:  # the average would be the generator
            raise SettingError(f"ramp_up={ramp_up} must be above 0; null is no ramp-up")
        self.half_life: Any = half_life  # a number, or a tensor that follows a schedule
        self.ramp_up = ramp_up
        # A buffer, so that CUDA graphs update it in place and checkpoints keep it.
        self.register_buffer("images", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def follow(self, game: Played, said: dict[str, Tensor]) -> None:
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
