"""Averages of the generator's weights over its training, which sample better than any one moment's."""

import torch
from torch import Tensor, nn

from alzgan.errors import at_least
from alzgan.schedules import Schedule


class ExponentialMovingAverage(nn.Module):
    """`generator_average` follows `generator`, with a half-life in images (Karras et al. 2018).

    Early in the run the half-life is a share of the images seen, so that the first weights are soon forgotten
    (StyleGAN2-ADA's ramp-up). The statistics of batch norm are averaged as the weights are, since those of
    one moment belong to that moment's weights; counters are copied.

    Args:
        half_life: training images until what was has half its weight; a schedule lets it change over the run.
        ramp_up: the half-life is at most this share of the images seen so far.

    Raises:
        SettingError: a value is out of its range.
    """

    images: Tensor

    def __init__(self, half_life: float | Schedule = 5000, ramp_up: float = 0.05):
        super().__init__()
        if not isinstance(half_life, Schedule):
            at_least(1, half_life=half_life)
        at_least(0, ramp_up=ramp_up)
        self.half_life = half_life
        self.ramp_up = ramp_up
        # On the device, and in checkpoints: a step that is replayed as a graph counts on.
        self.register_buffer("images", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def follow(self, gan: nn.Module, said: dict[str, Tensor]) -> None:
        """Move `gan.generator_average` towards `gan.generator` by one step of `gan.images_a_step` images."""
        self.images += gan.images_a_step
        half_life = (self.ramp_up * self.images).clamp(max=self.half_life)
        step = 1 - 0.5 ** (gan.images_a_step / half_life)
        averages = gan.generator_average.state_dict().values()
        for average, value in zip(averages, gan.generator.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(value, step.to(average.dtype))
            else:
                average.copy_(value)
