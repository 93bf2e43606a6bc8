import copy
import platform
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import settings, small_settings
from lightning import Callback, Trainer
from recorder import patch_graphs
from test_game import SMALL_MODEL, play
from torch import Tensor

from alzgan.callbacks.acceleration import Acceleration
from alzgan.callbacks.divergence import DivergenceGuard
from alzgan.data.loader import Batches, ResidentSlices, ShuffledBatches, SliceDataset
from alzgan.device import precision as devices
from alzgan.device.graphs import WARM_UP_STEPS, CapturedStep, capturable
from alzgan.errors import UserError
from alzgan.game import Turn
from alzgan.runs import build, provenance, session
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.resume import Previous

BATCHES = [torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in range(7)]


def test_a_captured_step_trains_the_same_weights_and_counts_the_same_steps(
    monkeypatch: pytest.MonkeyPatch, recwarn
):
    patch_graphs(monkeypatch)
    plain = build.build_model(settings(*SMALL_MODEL))
    captured = copy.deepcopy(plain)
    play(plain, BATCHES)
    steps: list[CapturedStep] = []

    class Capture(Acceleration):
        def on_train_start(self, trainer, pl_module):
            steps.append(CapturedStep(pl_module.play, trainer.optimizers))
            pl_module.captured = steps[0]

    trainer = play(captured, BATCHES, callbacks=[Capture()])
    assert trainer.global_step == steps[0].calls[()] == len(BATCHES) > WARM_UP_STEPS + 1
    assert captured.captured is None
    for (name, ours), theirs in zip(plain.state_dict().items(), captured.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
    state = trainer.optimizers[0].state_dict()
    assert not state["param_groups"][0]["capturable"]
    assert {int(entry["step"]) for entry in state["state"].values()} == {len(BATCHES)}


def test_optimizers_can_be_captured_only_while_they_are():
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], fused=True)
    with capturable([optimizer]):
        assert optimizer.param_groups[0]["capturable"]
    assert not optimizer.param_groups[0]["capturable"]
    with pytest.raises(KeyError), capturable([optimizer]):
        raise KeyError
    assert not optimizer.param_groups[0]["capturable"]


def test_a_run_that_fails_leaves_torch_as_it_was(recwarn):
    class Fail(Callback):
        def on_train_batch_end(self, *args):
            assert not torch.utils.deterministic.fill_uninitialized_memory
            raise KeyError

    gan = build.build_model(settings(*SMALL_MODEL))
    with pytest.raises(KeyError):
        play(gan, BATCHES[:2], callbacks=[Acceleration(), Fail()])
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_on_a_cpu_nothing_is_captured(recwarn):
    gan = build.build_model(settings(*SMALL_MODEL))

    class Look(Acceleration):
        def on_train_batch_end(self, trainer, pl_module, *args):
            assert pl_module.captured is None

    play(gan, BATCHES[:2], callbacks=[Look()])


@pytest.mark.parametrize(
    ("cuda_graph", "device", "processes", "scaler", "fused", "captured"),
    [
        (True, "cuda", 1, None, True, True),
        (False, "cuda", 1, None, True, False),
        (True, "cpu", 1, None, True, False),
        (True, "cuda", 2, None, True, False),
        (True, "cuda", 1, object(), True, False),
        (True, "cuda", 1, None, False, False),
    ],
)
def test_only_what_is_the_same_at_every_step_of_one_gpu_is_captured(
    cuda_graph: bool, device: str, processes: int, scaler: object, fused: bool, captured: bool
):
    trainer = SimpleNamespace(
        world_size=processes,
        precision_plugin=SimpleNamespace(scaler=scaler),
        optimizers=[torch.optim.Adam([torch.zeros(1)], fused=each) for each in (True, fused)],
    )
    schedules = SimpleNamespace(of_optimizers=[{}, {"lr": 1.0}])
    gan = SimpleNamespace(device=torch.device(device), schedules=schedules)
    assert Acceleration(cuda_graph).captures(trainer, gan) is captured
    schedules.of_optimizers.append({"betas": (0.0, 0.99)})  # which no fused Adam reads from a tensor
    assert Acceleration(cuda_graph).captures(trainer, gan) is False


FAST = ("trainer=fast", "trainer.accelerator=cpu", "trainer.precision=bf16-mixed")


def run_fast(slices: Path, run_dir: Path, *overrides: str) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session.run(small_settings(slices, run_dir, *FAST, *overrides))
    return torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)


def test_a_fast_run_is_the_same_run_again_and_keeps_float32_weights(slices: Path, tmp_path: Path):
    one, two = (run_fast(slices, tmp_path / name, "trainer.max_steps=6") for name in "ab")
    for name, value in one["state_dict"].items():
        assert value.dtype in (torch.float32, torch.int64)
        assert torch.equal(value, two["state_dict"][name]), name
    assert one["alzgan"]["config"]["trainer"]["precision"] == "bf16-mixed"


def test_a_fast_run_that_was_stopped_goes_on_to_the_bit(slices: Path, tmp_path: Path):
    whole = run_fast(slices, tmp_path / "whole", "trainer.max_steps=7")
    run_fast(slices, tmp_path / "part", "trainer.max_steps=3")
    path = tmp_path / "part" / "checkpoints" / "last.ckpt"
    options = (*FAST, "trainer.max_steps=7")
    session.run(
        small_settings(slices, path.parent.parent, *options), (), Previous(path, load_checkpoint(path))
    )
    resumed = torch.load(path, weights_only=True)
    assert resumed["global_step"] == whole["global_step"] == 7
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name


def test_in_bfloat16_the_generator_learns_from_the_discriminator_as_it_is_now(recwarn):
    # Autocast's cache keeps a learning weight's copy until the step's end, and D changes in its midst:
    # Lightning turns the cache off, and D does not learn in G's step.
    gan = build.build_model(settings(*SMALL_MODEL, "model.discriminator_optimizer.lr=0.1"))
    seen: list[Tensor] = []

    def spy(turn: Turn, fake: Tensor, *played):
        fresh = copy.deepcopy(gan.discriminator)
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            seen.append(fresh(fake.detach()).float().sigmoid().mean())
        loss, said = original(turn, fake, *played)
        seen.append(said["probability/D(G(z))_after_D_step"])
        return loss, said

    original, gan.generator_loss = gan.generator_loss, spy
    play(gan, BATCHES[:1], precision="bf16-mixed")
    assert torch.equal(seen[0], seen[1])


def test_precision_is_native_or_float32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for flags, precision in (
        ("flags : sse4_2 avx512f avx512_bf16", "bf16-mixed"),
        ("Features : asimd bf16 i8mm", "bf16-mixed"),
        ("flags : sse4_2 avx2", "32-true"),
    ):
        (tmp_path / "cpuinfo").write_text(flags)
        monkeypatch.setattr(devices, "CPU_INFO", tmp_path / "cpuinfo")
        assert devices.native_precision("cpu") == devices.native_precision("auto") == precision
        assert devices.native_precision("mps") == "32-true"
    monkeypatch.setattr(devices, "CPU_INFO", tmp_path / "nothing")
    assert devices.native_precision("cpu") == "32-true"


def test_the_record_names_the_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Maker's 9: X\nmodel name\t: Other\n")
    monkeypatch.setattr(provenance, "CPU_INFO", tmp_path / "cpuinfo")
    assert provenance.processor() == "Maker's 9: X"
    monkeypatch.setattr(provenance, "CPU_INFO", tmp_path / "nothing")
    assert provenance.processor() == (platform.processor() or "cpu")


@pytest.mark.parametrize("resident", [True, False])
def test_on_cuda_batches_are_pinned_unless_they_are_there(
    resident: bool, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pinned: list[torch.dtype] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: pinned.append(self.dtype) or self)
    data = build.build("data", small_settings(slices, tmp_path).data)
    data.setup()
    copy_there = ResidentSlices(data.dataset, torch.device("cpu"))
    monkeypatch.setattr(data, "served_from", lambda _: copy_there if resident else data.dataset)
    strategy = SimpleNamespace(root_device=torch.device("cuda"))
    data.trainer = SimpleNamespace(strategy=strategy, global_step=0, global_rank=0, world_size=1)
    images, labels = next(iter(data.train_dataloader()))
    expected, _ = data.dataset[next(iter(data.train_dataloader().order))]
    assert torch.equal(images, expected)
    assert pinned == ([] if resident else [images.dtype, labels.dtype])


@pytest.mark.parametrize("step", [0, 7])
def test_resident_batches_are_those_of_the_array(step: int):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2500, 4, 4, 3), dtype=np.uint8)
    data = SliceDataset(images, rng.integers(0, 5, 2500), rng.permutation(2500)[:2100])
    order = ShuffledBatches(len(data), 64, seed=0, step=lambda: step)
    resident = Batches(ResidentSlices(data, torch.device("cpu")), order)
    loader = torch.utils.data.DataLoader(data, sampler=order, batch_size=None)
    count = 0
    for (ours, our_labels), (theirs, their_labels) in zip(resident, loader, strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(our_labels, their_labels)
        assert ours.stride() == theirs.stride()
        count += 1
    assert count == len(resident) - step == 32 - step


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_off_the_cpu_a_bad_loss_is_told_at_the_next_look(bad: float):
    device = SimpleNamespace(type="cuda")
    trainer, gan, guard = (
        SimpleNamespace(log_every_n_steps=4),
        SimpleNamespace(device=device),
        DivergenceGuard(),
    )
    guard.on_train_start(trainer, SimpleNamespace(device="cpu"))
    for trainer.global_step in range(1, 12):
        loss = torch.tensor(bad if trainer.global_step == 9 else 1.0)
        said = {"loss/discriminator": loss, "loss/generator": torch.tensor(0.5)}
        guard.on_train_batch_end(trainer, gan, said)
    trainer.global_step = 12
    with pytest.raises(UserError, match="a loss became NaN or infinite by step 12"):
        guard.on_train_batch_end(trainer, gan, dict.fromkeys(said, torch.tensor(1.0)))


def test_a_run_that_fails_before_it_is_set_up_fails_by_its_own_error(recwarn):
    precision = torch.get_float32_matmul_precision()
    Acceleration().on_exception(Trainer(logger=False, accelerator="cpu"), torch.nn.Module(), RuntimeError())
    assert torch.get_float32_matmul_precision() == precision
