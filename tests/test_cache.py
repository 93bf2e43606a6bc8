"""The cache: a result is computed once for each version and key, and is never worth an error."""

from pathlib import Path

import numpy as np
import pytest
import torch

from alzgan.files import cache_path, cached, digest_of


class Counted:
    """Computes the same result each time, and counts how often."""

    def __init__(self, result: object):
        self.result, self.times = result, 0

    def __call__(self) -> object:
        self.times += 1
        return self.result


def total(kept: dict[str, list[int] | np.ndarray]) -> int:
    return int(np.sum(kept["values"]))


RESULTS = {"kind.json": {"values": [1, 2]}, "kind.npz": {"values": np.arange(3)}}


@pytest.mark.parametrize(("name", "result"), RESULTS.items())
def test_a_result_is_computed_once_for_each_version_and_key(tmp_path: Path, name: str, result: object):
    compute = Counted(result)
    for version, key in ((1, "a"), (1, "a"), (2, "a"), (1, "b"), (1, "a")):
        assert cached(cache_path(tmp_path, name, version, key), compute, total) == 3
    assert compute.times == 3
    assert len(list(tmp_path.glob(f"kind-*{name[4:]}"))) == len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(("name", "result"), RESULTS.items())
@pytest.mark.parametrize("damage", [b"", b"{}", b"[[1]]", b"\xff" * 99])
def test_a_damaged_file_is_computed_anew(tmp_path: Path, name: str, result: object, damage: bytes):
    path, compute = cache_path(tmp_path, name, 1), Counted(result)
    path.write_bytes(damage)
    assert [cached(path, compute, total) for _ in range(2)] == [3, 3]
    assert compute.times == 1


@pytest.mark.parametrize(("name", "result"), RESULTS.items())
def test_what_cannot_be_kept_is_computed_each_time(tmp_path: Path, name: str, result: object):
    (tmp_path / "file").touch()
    path, compute = cache_path(tmp_path / "file", name, 1), Counted(result)
    assert [cached(path, compute, total) for _ in range(2)] == [3, 3]
    assert compute.times == 2


def test_no_two_keys_run_together():
    images = np.arange(12, dtype=np.uint8).reshape(3, 4)
    keys = [
        ("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""),
        (images,), (images.reshape(4, 3),), (images.view(np.int8),), (images.T,), (images.tobytes(),),
    ]  # fmt: skip
    assert len({digest_of(*key) for key in keys}) == len(keys)
    assert digest_of(images) == digest_of(torch.from_numpy(images))
    assert digest_of("ä\udcff") == digest_of("ä\udcff".encode(errors="surrogateescape"))


def test_fingerprints_of_older_runs_still_hold():
    assert digest_of("version 1", b"\0") == "b90a506c08e0398c8cc941ddcc882637"
