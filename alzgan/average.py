"""Averages of the generator's weights over its training, which sample better than any one moment's."""

import torch
from torch import Tensor, nn

from alzgan.errors import SettingError, at_least
from alzgan.schedules import Schedule


class ExponentialMovingAverage(nn.Module):
    """`generator_average` follows `generator`, with a half-life in images (Karras et al. 2018).

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
    def follow(self, gan: nn.Module, said: dict[str, Tensor]) -> None:
        """Move `gan.generator_average` towards `gan.generator` by one step of `gan.images_a_step` images."""
        self.images += gan.images_a_step
        longest = torch.inf if self.ramp_up is None else self.ramp_up
        step = 1 - 0.5 ** (gan.images_a_step / (longest * self.images).clamp(max=self.half_life))
        averages = gan.generator_average.state_dict().values()
        for average, value in zip(averages, gan.generator.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(value, step.to(average.dtype))
            else:
                average.copy_(value)
