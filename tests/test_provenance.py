import os
import subprocess
from pathlib import Path

import pytest

import alzgan
from alzgan.runs import provenance


@pytest.fixture(autouse=True)
def plain_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git without the user's signatures and hooks, and without the repository whose hook runs the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)


def commit(folder: Path) -> str:
    """Make the folder a repository with one commit."""
    identity = ("-c", "user.name=x", "-c", "user.email=x@x")
    for arguments in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return provenance.git("rev-parse", "HEAD", cwd=folder)


@pytest.mark.parametrize("place", ["alzgan", "lib/alzgan"])
def test_an_enclosing_repositorys_commit_is_not_taken_for_ours(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = tmp_path / place
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    head = commit(tmp_path)
    monkeypatch.setattr(alzgan, "__file__", str(package / "__init__.py"))
    state = provenance.git_state()
    assert state == ({"commit": head, "dirty": False} if place == "alzgan" else None)


def test_a_package_outside_of_any_repository_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(alzgan, "__file__", str(tmp_path / "alzgan/__init__.py"))
    (tmp_path / "alzgan").mkdir()
    assert provenance.git_state() is None
