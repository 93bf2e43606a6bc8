"""What the processes of a run tell each other in a step."""

import torch.distributed as dist
from torch import Tensor


def mean_of_ranks(values: Tensor) -> Tensor:
    """The mean over all processes, the same one in each, so that what follows it stays the same in each.

    On one process nothing is done.
    """
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(values)  # gloo knows sums only
        values = values / dist.get_world_size()
    return values
