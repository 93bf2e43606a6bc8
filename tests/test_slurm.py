"""On a real Slurm of one node: sweeps, jobs that are put back into the queue, and nodes that are lost."""

import shlex
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from benchmarks.kills import digests
from cluster.slurm import Slurm, missing, slurm
from conftest import REPOSITORY, SMALL, alzgan
from lightning.pytorch.callbacks import Callback

from alzgan.runs.checkpoints import load_checkpoint

pytestmark = [pytest.mark.long, pytest.mark.skipif(missing() is not None, reason=f"no Slurm: {missing()}")]

STEPS = 400
LONG = 1500  # with the pause more than a minute: the signal comes after one at the latest
PAUSE = [f"+callbacks.pause._target_={__name__}.Pause"]
OPTIONS = (
    *SMALL,
    "callbacks.quality=null",
    "callbacks.checkpoint.every_n_train_steps=50",
    "trainer.max_epochs=-1",
)


class Pause(Callback):
    """Makes steps long enough to be interrupted, without work for the machine."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def on_train_batch_end(self, *args, **kwargs):
        time.sleep(self.seconds)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def arguments(slices: Path) -> list[str]:
    return ["data=mri", f"data.root={slices}", *OPTIONS]


@pytest.fixture(scope="module")
def reference(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happens to."""
    return trained(arguments, tmp_path_factory.mktemp("reference"), STEPS)


@pytest.fixture(scope="module")
def long_reference(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(arguments, tmp_path_factory.mktemp("long"), LONG)


def trained(arguments: list[str], run_dir: Path, steps: int) -> Path:
    pause = [*PAUSE, "+callbacks.pause.seconds=0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        result = alzgan(*arguments, *pause, f"trainer.max_steps={steps}", f"run_dir={run_dir}")
    assert result.returncode == 0, result.stderr
    return run_dir


def script(folder: Path, arguments: list[str], run_dir: Path, steps: int, *more: str, tasks: int = 1) -> Path:
    """A job as the README has it."""
    pause = [*PAUSE, "+callbacks.pause.seconds=0.05"]
    command = [sys.executable, "-m", "alzgan.train", *arguments, *pause, *more]
    command += [f"trainer.max_steps={steps}", f"run_dir={run_dir}"]
    path = folder / "job.sh"
    path.write_text(
        "\n".join(
            [
                "#!/bin/bash",
                f"#SBATCH --requeue --ntasks-per-node={tasks} --output={folder}/job.out --open-mode=append",
                f"cd {REPOSITORY}",
                f"export PYTHONPATH={Path(__file__).parent} OMP_NUM_THREADS=1",
                f"export ALZGAN_CACHE={folder / 'cache'}",
                f"srun {shlex.join(command)}",
            ]
        )
    )
    return path


def until_step(run_dir: Path, step: int, seconds: float = 120) -> None:
    """Wait until the run has saved that step."""
    end, last = time.monotonic() + seconds, run_dir / "checkpoints/last.ckpt"
    while not last.is_file() or load_checkpoint(last)["global_step"] < step:
        assert time.monotonic() < end, (run_dir.parent / "job.out").read_text()
        time.sleep(0.5)


def step_of(run_dir: Path) -> int:
    return load_checkpoint(run_dir / "checkpoints/last.ckpt")["global_step"]


def equal(run_dir: Path, reference: Path) -> None:
    """The checkpoint has the values of the run that was never disturbed."""
    one, two = (digests(load_checkpoint(each / "checkpoints/last.ckpt")) for each in (run_dir, reference))
    assert {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)} == set()


def test_a_sweep_has_two_of_four_jobs_at_a_time(
    cluster: Slurm, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="pip install -e '.[submitit]'")
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    launcher = [
        "launcher=submitit",
        "hydra.launcher.array_parallelism=2",
        "hydra.launcher.gpus_per_node=null",
    ]
    launcher += ["hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1", "hydra.launcher.timeout_min=5"]
    sweep = ["-m", *arguments, "seed=1,2,3,4", "trainer.max_steps=40"]
    result = alzgan(*sweep, *launcher, f"run_dir={tmp_path / 'slurm'}", timeout=400, fresh=True)
    assert result.returncode == 0, result.stderr
    result = alzgan(*sweep, f"run_dir={tmp_path / 'here'}")
    assert result.returncode == 0, result.stderr
    for job in range(4):
        equal(tmp_path / f"slurm/job_{job}", tmp_path / f"here/job_{job}")
    jobs = [line.split() for line in cluster.run("scontrol", "--oneliner", "show", "job").splitlines()]
    times = [dict(word.split("=", 1) for word in words if "=" in word) for words in jobs]
    spans = [
        tuple(datetime.fromisoformat(job[end]) for end in ("StartTime", "EndTime"))
        for job in times
        if "ArrayTaskId" in job
    ]
    assert len(spans) == 4
    for start, _ in spans:
        assert sum(begun <= start < end for begun, end in spans) <= 2


def test_two_tasks_of_a_job_are_two_ranks(cluster: Slurm, arguments: list[str], tmp_path: Path):
    ranks = ["trainer=ddp", "trainer.devices=2"]
    job = script(tmp_path, arguments, tmp_path / "run", 40, *ranks, tasks=2)
    cluster.wait(cluster.submit(job), "COMPLETED")
    result = alzgan(*arguments, *ranks, "trainer.max_steps=40", f"run_dir={tmp_path / 'here'}", fresh=True)
    assert result.returncode == 0, result.stderr
    equal(tmp_path / "run", tmp_path / "here")


def test_tasks_that_are_no_ranks_are_refused_in_a_line(cluster: Slurm, arguments: list[str], tmp_path: Path):
    job = script(tmp_path, arguments, tmp_path / "run", 40, tasks=2)
    cluster.wait(cluster.submit(job), "FAILED")
    lines = [line for line in (tmp_path / "job.out").read_text().splitlines() if "alzgan: " in line]
    assert lines
    assert all("srun has started 2 tasks, and each would train this whole run" in line for line in lines)
    assert "Traceback" not in (tmp_path / "job.out").read_text()


def test_a_job_that_is_warned_of_its_end_goes_on_to_the_bit(
    cluster: Slurm, arguments: list[str], long_reference: Path, tmp_path: Path
):
    job = script(tmp_path, arguments, tmp_path / "run", LONG)
    number = cluster.submit(job, "--time=2", "--signal=SIGUSR1@60")
    assert cluster.wait(number, "PENDING", "RUNNING", restarts=1)["Restarts"] == "1"
    assert 0 < step_of(tmp_path / "run") < LONG
    cluster.wait(number, "COMPLETED", restarts=1, seconds=900)  # two minutes in the queue each time
    equal(tmp_path / "run", long_reference)


def test_a_job_put_back_into_the_queue_by_hand_goes_on_to_the_bit(
    cluster: Slurm, arguments: list[str], reference: Path, tmp_path: Path
):
    number = cluster.submit(script(tmp_path, arguments, tmp_path / "run", STEPS))
    until_step(tmp_path / "run", 100)
    cluster.run("scontrol", "requeue", number)
    cluster.wait(number, "COMPLETED", restarts=1)
    equal(tmp_path / "run", reference)
    assert "Stopped by SIGTERM after step" in (tmp_path / "job.out").read_text()


@pytest.mark.parametrize("end", ["cancelled", "out of time"])
def test_a_job_that_ends_early_is_saved_and_said_to_be_so(
    end: str,
    cluster: Slurm,
    arguments: list[str],
    reference: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    steps = STEPS if end == "cancelled" else 100 * STEPS
    job = script(tmp_path, arguments, tmp_path / "run", steps)
    number = cluster.submit(job, "--time=1")
    until_step(tmp_path / "run", 50)
    if end == "cancelled":
        cluster.run("scancel", number)
    cluster.wait(number, {"cancelled": "CANCELLED", "out of time": "TIMEOUT"}[end])
    saved = step_of(tmp_path / "run")
    output = (tmp_path / "job.out").read_text()
    assert (
        f"Stopped by SIGTERM after step {saved}; continue with: python -m alzgan.train ckpt_path=" in output
    )
    assert "Traceback" not in output
    if end == "cancelled":
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
        result = alzgan(f"ckpt_path={tmp_path / 'run'}", *PAUSE, "+callbacks.pause.seconds=0.05")
        assert result.returncode == 0, result.stderr
        equal(tmp_path / "run", reference)


def test_a_lost_node_loses_the_steps_since_the_last_save_and_no_more(
    cluster: Slurm, arguments: list[str], reference: Path, tmp_path: Path
):
    number = cluster.submit(script(tmp_path, arguments, tmp_path / "run", STEPS))
    until_step(tmp_path / "run", 100)
    cluster.kill_node()
    cluster.wait(number, "PENDING", restarts=1)  # after the controller has missed it
    assert 100 <= step_of(tmp_path / "run") < STEPS
    cluster.start_node()
    cluster.wait(number, "COMPLETED", restarts=1)
    equal(tmp_path / "run", reference)
