"""Default folders: each call has its own, its processes share it, and a refused call leaves none."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY, SMALL, alzgan
from lightning import Callback
from omegaconf import OmegaConf
from processes import PROCESSES
from torch.distributed import TCPStore

from alzgan.errors import UserError
from alzgan.runs.config import compose_config, new_folder
from alzgan.runs.resume import run_folder
from alzgan.sources.phantom import write_phantom

VERBS = {"train": "", "evaluate": "evaluate_", "prepare": "prepare_", "generate": "generate_"}
VERBS["benchmark"] = "benchmark_"
# One second for all processes, whenever they start.
FROZEN = """
import runpy, sys
import hydra.core.utils
from datetime import datetime

class Frozen(datetime):
    now = classmethod(lambda cls: cls(2026, 1, 1, 10))

hydra.core.utils.datetime = Frozen
verb, *sys.argv[1:] = sys.argv[1:]
runpy.run_module(f"alzgan.{verb}", run_name="__main__", alter_sys=True)
"""


class Refusing(Callback):
    """Refuses a run when all its objects are made and its record is written."""

    def on_train_start(self, *args):
        raise UserError("refused at the start")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder in (Path(__file__).parent, REPOSITORY):  # of processes that start here
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    return tmp_path


def folders() -> list[str]:
    return sorted(os.listdir("outputs"))


@pytest.mark.parametrize("verb", VERBS)
def test_two_calls_of_one_second_have_two_folders_and_each_call_has_one(verb: str):
    one, two = (compose_config(verb, []) for _ in range(2))
    OmegaConf.register_new_resolver("now", lambda pattern: "then", replace=True)
    names = [f"outputs/{VERBS[verb]}then", f"outputs/{VERBS[verb]}then_2"]
    assert [one.run_dir, two.run_dir] == names
    assert one.run_dir == one.get("out", one.run_dir) == names[0]
    assert folders() == [Path(name).name for name in names]


def test_processes_that_ask_for_one_name_at_once_are_given_different_folders():
    with PROCESSES.Pool(4) as pool:
        given = pool.map(new_folder, ["outputs/then"] * 40, chunksize=1)
    assert sorted(given) == sorted({"outputs/then", *(f"outputs/then_{n}" for n in range(2, 41))})
    assert sorted(Path(name).name for name in given) == folders()


@pytest.mark.slow
def test_two_preparations_of_one_second_both_keep_their_results(here: Path):
    roots = [here / "one", here / "two"]
    for root, people in zip(roots, (12, 14), strict=True):
        write_phantom(root, people=people, slices=2, size=64)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", FROZEN, "prepare", f"data.root={root}"], stdout=subprocess.PIPE, text=True
        )
        for root in roots
    ]
    said = [process.communicate(timeout=120)[0] for process in started]
    names = ["prepare_2026-01-01_10-00-00", "prepare_2026-01-01_10-00-00_2"]
    assert folders() == names
    for name in names:
        (root,) = (root for root, text in zip(roots, said, strict=True) if f"/{name}:" in text)
        assert f'"root": "{root}"' in Path("outputs", name, "report.json").read_text()


def ask_as_rank(rank: int, environment: dict[str, str]) -> str:
    os.environ.update(environment, RANK=str(rank))
    return run_folder(None, f"outputs/of_rank_{rank}")


def test_the_processes_of_torchrun_share_the_first_ones_folder():
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    environment |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    with PROCESSES.Pool(2) as pool:
        asked = [(rank, environment) for rank in (1, 0)]
        assert pool.starmap(ask_as_rank, asked, chunksize=1) == ["outputs/of_rank_0"] * 2
    assert folders() == ["of_rank_0"]


def test_the_jobs_of_a_sweep_share_one_folder(here: Path):
    result = alzgan("-m", "seed=1,2", "data.batch_size=0", cwd=here)
    assert "2 of 2 jobs failed" in result.stderr
    (name,) = folders()
    assert {path.name for path in Path("outputs", name).iterdir()} >= {"job_0", "job_1", "sweep.csv"}


@pytest.mark.long
def test_the_jobs_of_a_launcher_share_one_folder(here: Path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="pip install -e '.[joblib]'")
    result = alzgan("-m", "launcher=joblib", "seed=1,2", "data.batch_size=0", cwd=here, fresh=True)
    assert "2 of 2 jobs failed" in result.stderr
    assert len(folders()) == 1


@pytest.mark.long
def test_the_processes_of_lightning_share_one_folder(here: Path, slices: Path):
    run = ["data=mri", f"data.root={slices}", *SMALL, "callbacks.quality=null", "trainer.max_steps=1"]
    result = alzgan(*run, "trainer=ddp", "trainer.devices=2", cwd=here, fresh=True)
    assert result.returncode == 0, result.stderr
    (name,) = folders()
    assert f"outputs/{name}/train.log" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data.batch_size=0"], "data.batch_size=0 must be at least 1"),
        (["data.root=/nowhere"], "there is no folder /nowhere"),
        (["-m", "model.nothing=1,2"], "there is no setting model.nothing"),
        ([f"+callbacks.refusing._target_={__name__}.Refusing"], "refused at the start"),
    ],
)
def test_a_refused_training_leaves_no_folder_but_the_users(
    arguments: list[str], expected: str, error_line: Callable, slices: Path
):
    run = ["data=mri", f"data.root={slices}", *SMALL, "callbacks.quality=null", *arguments]
    assert expected in error_line(*run)
    assert folders() == []
    assert expected in error_line(*run, "run_dir=outputs/mine")
    assert folders() == ["mine"]


def test_a_number_is_a_folder(error_line: Callable):
    assert "/nowhere" in error_line("data.root=/nowhere", "run_dir=2024", verb="prepare")
    assert Path("2024").is_dir()


@pytest.mark.parametrize(
    ("verb", "arguments"), [("prepare", []), ("evaluate", ["samples=/nowhere"]), ("benchmark", ["data=mri"])]
)
def test_another_verb_that_is_refused_leaves_no_folder(verb: str, arguments: list[str], error_line: Callable):
    assert "/nowhere" in error_line("data.root=/nowhere", *arguments, verb=verb)
    assert folders() == []
