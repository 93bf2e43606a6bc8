"""Communication between the processes of a run."""

import contextlib
from collections.abc import Iterator

import torch.distributed as dist
from torch import Tensor

from alzgan.errors import UserError


def mean_of_ranks(values: Tensor) -> Tensor:
    """The mean over all processes, so that a state that follows it is the same in each."""
    if (count := count_of_ranks()) > 1:
        dist.all_reduce(values)  # gloo knows sums only
        values = values / count
    return values


def count_of_ranks() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextlib.contextmanager
def reporting_lost_ranks(then: str) -> Iterator[None]:
    """Report a broken connection in one line: another process has ended.

    Args:
        then: what the line tells the user to do.

    Raises:
        UserError: a connection between processes has failed.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo/transport" not in str(error):
            raise
        raise UserError(
            f"another process of this run has ended, or cannot be reached: what it printed says why; {then}"
        ) from None
