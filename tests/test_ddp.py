import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from benchmarks.kills import digests
from conftest import REPOSITORY, SMALL, alzgan, settings
from lightning import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from alzgan.errors import UserError
from alzgan.game import Turn
from alzgan.gan import GAN
from alzgan.runs.build import build_data, build_model, check_devices
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.session import standardise_features
from alzgan.runs.sweep import check_job
from alzgan.upstream.lightning import know_the_node, quiet


def digest(*tensors: Tensor) -> str:
    return hashlib.sha256(b"".join(tensor.detach().numpy().tobytes() for tensor in tensors)).hexdigest()


class RankWitness(Callback):
    """Writes what a rank has seen and what it has ended with."""

    def __init__(self, folder: str):
        self.folder, self.seen = Path(folder), {"batches": [], "latents": []}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen["batches"].append(digest(batch[0]))
        latents = pl_module.latents(8, "train", trainer.global_step, pl_module.global_rank)
        self.seen["latents"].append(digest(latents))

    def on_train_end(self, trainer, pl_module):
        self.seen["parameters"] = digest(*pl_module.parameters())
        self.seen["anchors"] = pl_module.penalties["lecam"].anchors.tolist()
        self.seen["probability"] = pl_module.augment.probability.item()
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(self.seen))


@pytest.fixture(scope="session")
def two_cores() -> None:
    """A process of a run needs a core: with fewer cores the run is refused."""
    if (os.cpu_count() or 1) < 2:
        pytest.skip("needs two cores")


@pytest.fixture(scope="module")
def output_and_folder(
    two_cores: None, slices: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """Six steps, an epoch and a half of each rank, on two real processes."""
    folder = tmp_path_factory.mktemp("ddp")
    witness = [f"+callbacks.witness._target_={__name__}.RankWitness", f"+callbacks.witness.folder={folder}"]
    run = ["data=mri", f"data.root={slices}", f"run_dir={folder / 'run'}", *SMALL, "data.batch_size=4"]
    run += ["penalty=lecam", "augment=ada", "model.augment.target=0", "model.augment.length=100"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.setenv("ALZGAN_CACHE", str(folder / "cache"))
        ranks = ["trainer=ddp", "trainer.devices=2", "trainer.max_steps=6"]
        result = alzgan(*run, *witness, *ranks, fresh=True)  # whose command line makes the other rank
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout, folder


@pytest.mark.slow
def test_ranks_end_with_equal_parameters_after_different_batches_and_latents(output_and_folder):
    _, folder = output_and_folder
    one, two = (json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1))
    assert one["parameters"] == two["parameters"]
    for what in ("batches", "latents"):
        assert len(one[what]) == 6
        assert len({*one[what], *two[what]}) == 12, what


@pytest.mark.slow
def test_ranks_agree_on_what_follows_the_game_though_each_sees_its_own_logits(output_and_folder):
    _, folder = output_and_folder
    one, two = (json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1))
    assert one["anchors"] == two["anchors"]
    assert one["anchors"][0] != one["anchors"][1]
    # One change in six steps, of 4 steps of 8 images in a length of 100.
    assert one["probability"] == two["probability"] in (0.0, pytest.approx(0.32))


class JointGAN(GAN):
    """One process that draws for a batch of several ranks what they would draw."""

    global_rank, ranks = 0, 2

    def draw_turns(self, real: Tensor, labels: Tensor) -> list[Turn]:
        parts = []
        for rank, *part in zip(
            range(self.ranks), real.chunk(self.ranks), labels.chunk(self.ranks), strict=True
        ):
            self.global_rank = rank
            parts += super().draw_turns(*part)

        def joint(name: str, axis: int = 0) -> Tensor | None:
            found = [getattr(part, name) for part in parts]
            return None if found[0] is None else torch.cat(found, axis)

        return [Turn(*map(joint, ("real", "labels", "latents", "fake_labels")), joint("draws", 1))]


SMALL_HEADS = (
    "model.parts.heads.network.view.stages=[blocks.0,blocks.2]",
    "model.parts.heads.network.view.side=32",
    "model.parts.heads.network.width=4",
)
RECIPES = [
    ("model=residual", "augment=mri", "model.augment.probability=1"),
    pytest.param(
        ("model=residual", "loss=hinge", "penalty=[r1,lecam]", "augment=ada", "model.augment.target=0"),
        marks=pytest.mark.long,
    ),
    pytest.param(
        ("model=residual", "part=[heads,patches]", "model.diversity=0", *SMALL_HEADS),
        marks=pytest.mark.long,
    ),
    pytest.param(
        ("model=r3gan", "model.generator.group=4", "model.discriminator.group=4", "model.classes=2"),
        marks=pytest.mark.long,
    ),
]


@pytest.mark.slow
@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: " ".join(recipe))
def test_two_ranks_step_as_one_process_does_on_their_joint_batch(
    recipe: tuple[str, ...], slices: Path, tmp_path: Path
):
    """No recipe with batch norm, which is each rank's own; in float64, so that 1e-9 is no rounding."""
    run = ["data=mri", f"data.root={slices}", *SMALL, *recipe, "callbacks.quality=null"]
    run += ["trainer.precision=64-true", "trainer.max_steps=3"]
    ranks = ("data.batch_size=4", "trainer=ddp", "trainer.devices=2")
    result = alzgan(*run, f"run_dir={tmp_path}", *ranks, fresh=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert_as_one_process(2, run, tmp_path)


def assert_as_one_process(ranks: int, run: list[str], folder: Path):
    """A run of so many ranks is that of one process with as many times the images a batch."""
    composed = settings(*run, f"data.batch_size={4 * ranks}", f"run_dir={folder / 'one'}")
    gan = build_model(composed)
    first = {name: value.double() for name, value in gan.state_dict().items()}
    gan.__class__ = JointGAN
    gan.ranks = ranks
    trainer = Trainer(
        accelerator="cpu", precision="64-true", max_steps=3, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = build_data(composed)
    data.setup()
    standardise_features(gan, data)
    with quiet():
        trainer.fit(gan, datamodule=data)
    joint = load_checkpoint(folder / "checkpoints/last.ckpt")
    assert joint["alzgan"]["provenance"]["world_size"] == ranks
    moved = 0
    for name, value in gan.state_dict().items():
        assert value.double().allclose(joint["state_dict"][name].double(), rtol=1e-9, atol=1e-9), name
        moved += not value.double().allclose(first[name], rtol=1e-4, atol=1e-4)
    assert moved > 10


@pytest.mark.parametrize(("nodes", "number", "rank"), [(3, "0", 0), (3, "2", 2), (1, "2", 0)])
def test_a_node_knows_that_it_is_not_the_first_of_several(monkeypatch, nodes: int, number: str, rank: int):
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    monkeypatch.setenv("NODE_RANK", number)
    know_the_node(nodes)
    assert rank_zero_only.rank == rank


@pytest.mark.long
def test_three_nodes_step_as_one_process_does_on_their_joint_batch(slices: Path, tmp_path: Path):
    """Each of them a process by itself that is told where the first one is, as on a cluster without Slurm."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = ["data=mri", f"data.root={slices}", *SMALL, *RECIPES[0], "callbacks.quality=null"]
    run += ["trainer.precision=64-true", "trainer.max_steps=3"]
    nodes = [
        "trainer=ddp",
        "trainer.devices=1",
        "trainer.num_nodes=3",
        "data.batch_size=4",
        f"run_dir={tmp_path}",
    ]
    first = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "alzgan.train", *run, *nodes],
            cwd=REPOSITORY,
            env={**first, "NODE_RANK": str(number)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    try:
        for process in started:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in started:
            process.kill()
    assert_as_one_process(3, run, tmp_path)


@pytest.mark.slow
def test_the_first_rank_alone_writes_and_speaks(output_and_folder):
    output, folder = output_and_folder
    names = {path.name for path in (folder / "run").iterdir() if not path.name.startswith("events.")}
    assert names == {
        *("checkpoints", "samples", "config.yaml", "run.json", "metrics.json", "split.csv", "train.log")
    }
    assert len(list((folder / "run").glob("events.*"))) == 1
    lines = output.splitlines()
    assert len(lines) == len(set(lines)) > 5
    assert (folder / "run/train.log").read_text() == output
    record = load_checkpoint(folder / "run/checkpoints/last.ckpt")["alzgan"]["provenance"]
    assert record["world_size"] == 2


def test_a_sweep_on_several_devices_is_refused():
    with pytest.raises(UserError, match=r"trainer.devices=2: the jobs of a sweep have one device each"):
        check_job(settings("trainer.devices=2"))
    with pytest.raises(UserError, match="ckpt_path continues one run"):
        check_job(settings("ckpt_path=x", "run_dir=x"))
    check_job(settings())


def test_synchronised_batch_norm_needs_a_gpu():
    with pytest.raises(UserError, match=r"trainer.sync_batchnorm=true needs CUDA"):
        check_devices(settings("trainer.sync_batchnorm=true", "trainer.accelerator=cpu").trainer)
    if (os.cpu_count() or 1) > 1:
        check_devices(settings("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2").trainer)


@pytest.fixture
def running(two_cores: None, slices: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen, int]]:
    """A run of two ranks that has saved something, and the second one's number."""
    command = [sys.executable, "-m", "alzgan.train", "data=mri", f"data.root={slices}", *SMALL]
    command += ["callbacks.quality=null", "callbacks.checkpoint.every_n_train_steps=5", f"run_dir={tmp_path}"]
    command += ["trainer=ddp", "trainer.devices=2", "trainer.max_epochs=-1", "trainer.max_steps=100000"]
    first = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not (tmp_path / "checkpoints/last.ckpt").is_file():
        assert time.monotonic() < end
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.2)
    (second,) = children_of(first.pid)
    yield first, second
    for number in (first.pid, second):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    first.communicate()


def state_and_parent(number: int) -> tuple[str, int]:
    """Of a process; "Z" where there is none, or only what its parent has not asked for yet."""
    try:
        state, parent = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return "Z", 0
    return state, int(parent)


def has_ended(number: int) -> bool:
    """Whether a process has."""
    return state_and_parent(number)[0] == "Z"


def children_of(number: int) -> list[int]:
    """The processes that a process has started."""
    processes = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [process for process in processes if state_and_parent(process)[1] == number]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads the processes of Linux")
def test_all_ranks_stop_where_one_is_told_to(running: tuple[subprocess.Popen, int], tmp_path: Path):
    first, second = running
    os.kill(second, signal.SIGTERM)
    _, errors = first.communicate(timeout=120)
    assert first.returncode == 143
    assert has_ended(second)
    step = load_checkpoint(tmp_path / "checkpoints/last.ckpt")["global_step"]
    assert f"Stopped by SIGTERM after step {step}; continue with" in (tmp_path / "train.log").read_text()
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads the processes of Linux")
@pytest.mark.parametrize("lost", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_run_that_loses_a_rank_ends(lost: int, running: tuple[subprocess.Popen, int], tmp_path: Path):
    first, second = running
    os.kill((first.pid, second)[lost], signal.SIGKILL)
    _, errors = first.communicate(timeout=120)
    end = time.monotonic() + 120
    while not has_ended(second):
        assert time.monotonic() < end
        time.sleep(0.2)
    load_checkpoint(tmp_path / "checkpoints/last.ckpt")
    if lost == 1:
        assert first.returncode == 1
        lines = [line for line in errors.splitlines() if line.startswith("alzgan: ")]
        assert len(lines) == 1, errors
        assert lines[0].startswith("alzgan: another process of this run has ended, or cannot be reached: ")
        assert f"continue with ckpt_path={tmp_path}" in lines[0]
        assert "Traceback" not in errors


@pytest.mark.long
@pytest.mark.usefixtures("two_cores")
def test_nodes_without_a_common_cache_train_the_same_weights(slices: Path, tmp_path: Path):
    """Two ranks, each with a folder of its own for what it has decoded and recovered, as two nodes have."""
    program = tmp_path / "rank.py"
    program.write_text(
        "import os, runpy, sys\n"
        f"os.environ['ALZGAN_CACHE'] = '{tmp_path}/cache_' + os.environ['LOCAL_RANK']\n"
        "runpy.run_module('alzgan.train', run_name='__main__', alter_sys=True)\n"
    )
    run = [
        "data=mri",
        f"data.root={slices}",
        *SMALL,
        "trainer=ddp",
        "trainer.devices=2",
        "trainer.max_steps=4",
    ]
    run += ["data.batch_size=4", "callbacks.quality.every_n_epochs=1"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    result = subprocess.run(
        [*torchrun, str(program), *run, f"run_dir={tmp_path / 'apart'}"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.returncode == 0, result.stderr
    assert {path.name for path in tmp_path.glob("cache_*")} == {"cache_0", "cache_1"}
    for rank in (0, 1):
        assert list((tmp_path / f"cache_{rank}").glob("*.npy"))
    result = alzgan(*run, f"run_dir={tmp_path / 'together'}", fresh=True)
    assert result.returncode == 0, result.stderr
    one, two = (
        digests(load_checkpoint(tmp_path / name / "checkpoints/last.ckpt")) for name in ("apart", "together")
    )
    assert {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)} == set()


@pytest.mark.long
@pytest.mark.usefixtures("two_cores")
def test_two_ranks_whose_disk_is_full_end_with_one_line(slices: Path, tmp_path: Path):
    run = ["data=mri", f"data.root={slices}", *SMALL, "trainer=ddp", "trainer.devices=2"]
    run += ["callbacks.quality=null", "callbacks.checkpoint.every_n_train_steps=50", "trainer.max_steps=2000"]
    program = (
        "import resource, runpy, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "runpy.run_module('alzgan.train', run_name='__main__', alter_sys=True)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *run, f"run_dir={tmp_path}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("alzgan: ")]
    assert len(lines) == 1, result.stderr
    assert "File too large" in lines[0]
    assert "Traceback" not in result.stderr
