import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY, SMALL, alzgan, settings, small_settings
from hydra import compose, initialize_config_dir
from matplotlib.figure import Figure
from torch import Tensor

from alzgan.benchmarks.contest import ratios
from alzgan.benchmarks.costs import growth_with_images
from alzgan.benchmarks.loops import (
    BareGame,
    LoopSettings,
    TextbookGame,
    flops_a_step,
    products,
    resident_noise,
    textbook_batches,
)
from alzgan.benchmarks.measure import Bench, compose_settings
from alzgan.benchmarks.report import panels_of
from alzgan.benchmarks.trainer import stage_times, times_between_steps
from alzgan.runtime import config
from alzgan.runtime.checks import check_benchmark
from alzgan.runtime.cli import CONF
from alzgan.runtime.errors import UserError
from alzgan.training import build_model


@pytest.fixture(scope="module")
def measured(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the table of a benchmark of three loops on tiny networks."""
    run_dir = tmp_path_factory.mktemp("benchmark")
    result = alzgan(
        "data=mri",
        f"data.root={slices}",
        f"run_dir={run_dir}",
        *SMALL,
        "parts=[loops]",
        "loops=[textbook,bare,trainer]",
        "rounds=2",
        "seconds=0.05",
        verb="benchmark",
    )
    assert result.returncode == 0, result.stderr
    return run_dir, result.stdout


def test_the_verb_leaves_numbers_and_a_picture(measured: tuple[Path, str]):
    run_dir, table = measured
    assert (run_dir / "benchmark.png").stat().st_size > 1000
    rows = {line.split()[0] for line in table.splitlines() if line}
    assert {"loop", "textbook", "bare", "trainer"} <= rows


def test_the_numbers_follow_from_each_other(measured: tuple[Path, str]):
    results = json.loads((measured[0] / "benchmark.json").read_text())
    loops, batch = results["loops"], results["batch_size"]
    assert batch == 8
    for loop in loops.values():
        assert len(loop["rounds"]) == 2
        assert loop["seconds_a_step"] == pytest.approx(statistics.median(loop["rounds"]))
        assert loop["images_per_second"] == pytest.approx(batch / loop["seconds_a_step"])
        # The median of two rounds is their mean.
        each = [
            theirs / ours for theirs, ours in zip(loops["textbook"]["rounds"], loop["rounds"], strict=True)
        ]
        assert loop["over_textbook"]["ratio"] == pytest.approx(sum(each) / 2)
        assert 50 < loop["peak_mebibytes"] < 10_000
    extra = loops["trainer"]["seconds_a_step"] - loops["bare"]["seconds_a_step"]
    added = loops["trainer"]["overhead"]
    assert added["milliseconds"] == pytest.approx(1e3 * extra)
    assert added["percent"] == pytest.approx(100 * extra / loops["bare"]["seconds_a_step"])
    each = [
        1e3 * (ours - bare)
        for ours, bare in zip(*(loops[n]["rounds"] for n in ("trainer", "bare")), strict=True)
    ]
    assert min(each) <= added["low"] <= added["milliseconds"] <= added["high"] <= max(each)
    flops = loops["bare"]["flops_a_step"]
    for name in ("bare", "trainer", "textbook"):
        assert loops[name]["flops_per_second"] == pytest.approx(flops / loops[name]["seconds_a_step"])


def test_the_picture_has_a_panel_for_each_thing_that_was_measured_and_says_of_what():
    growth = {
        "by_batch_size": {"4": {"batch_size": 4, "images_per_second": 1.0}},
        "by_image_size": {
            "32": {"batch_size": 16, "images_per_second": 900.0},
            "64": {"batch_size": 16, "images_per_second": 30.0},
        },
        "by_number_of_images": [{"images": 1000, "mebibytes": 0.0}],
    }
    loops = {"product": {"flops_per_second": 1.0}, "bare": {"images_per_second": 2.0}}
    labels = []
    what = {"image_shape": [3, 64, 32], "batch_size": 8}
    for draw in panels_of({**what, "loops": loops, "growth": growth}):
        axes = Figure().subplots()
        draw(axes)
        labels.append((axes.get_title(), axes.get_xlabel(), axes.get_yscale()))
    assert labels == [
        ("64 x 32 x 3, batch 8", "images/s", "linear"),
        ("64 x 32 x 3", "batch size", "linear"),
        ("batch 16", "image size", "log"),
        ("beyond the memory map", "images in the array", "linear"),
    ]
    assert list(panels_of({**what, "stages": {}})) == []


def test_a_ratio_and_its_spread_are_those_of_the_rounds():
    found = ratios([1.0, 2.0, 4.0], [4.0, 4.0, 4.0])
    assert found == {"ratio": 2.0, "low": 1.5, "high": 3.0}
    # Both loops slower in the last round: the quotient of the medians would be 2.
    assert ratios([1.0, 2.0, 8.0], [1.0, 4.0, 24.0])["ratio"] == 2.0
    assert ratios([1.0, 4.0, 6.0], [3.0, 8.0, 18.0])["ratio"] == 3.0
    assert ratios([2.0], [3.0]) == {"ratio": 1.5, "low": 1.5, "high": 1.5}


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("parts=[loop]", "parts: there is no loop; choose of loops, stages"),
        ("parts=[]", "parts is empty; choose of loops"),
        ("loops=[]", "loops is empty; choose of product"),
        ("rounds=0", "rounds=0 must be at least 1"),
        ("seconds=nan", "seconds=nan must be above 0"),
        ("seconds=0", "seconds=0.0 must be above 0"),
        ("batch_sizes=[0]", "batch_sizes: 0 must be at least 1"),
        ("image_sizes=[48]", "image_sizes: 48 must be a power of two"),
        ("image_counts=[40]", "image_counts: 40 must be at least 64, two batches"),
        ("ckpt_path=run", "ckpt_path=run is for alzgan.train"),
        ("trainer.devices=2", "trainer.devices=2: a benchmark is of one device"),
    ],
)
def test_what_cannot_be_measured_is_refused(override: str, line: str):
    config.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("benchmark", ["data.batch_size=32", "parts=[growth]", override])
    with pytest.raises(UserError, match=re.escape(line)):
        check_benchmark(composed)


def test_a_benchmark_is_not_written_over_what_is_there(measured: tuple[Path, str], slices: Path):
    run_dir, _ = measured
    before = (run_dir / "benchmark.json").read_bytes()
    arguments = ("data=mri", f"data.root={slices}", *SMALL, "parts=[decoding]", f"run_dir={run_dir}")
    result = alzgan(*arguments, verb="benchmark")
    assert result.returncode == 1
    assert result.stderr == f"alzgan: {run_dir} holds a benchmark already; choose another run_dir\n"
    assert (run_dir / "benchmark.json").read_bytes() == before


def test_more_images_in_a_batch_than_there_are_get_one_line(slices: Path, tmp_path: Path):
    composed = ("parts=[growth]", "batch_sizes=[8,33]", "data=mri", f"data.root={slices}", *SMALL)
    config.register()
    with pytest.raises(UserError, match="batch_sizes: 33 is more than the 32 images to train on"):
        Bench(compose_settings("benchmark", composed), composed, tmp_path)


def test_the_gpu_script_says_in_one_line_that_there_is_no_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    script = REPOSITORY / "tests" / "benchmarks" / "gpu.py"
    result = subprocess.run([sys.executable, str(script), "x"], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == "alzgan: there is no CUDA device here: run this on a machine that has one\n"


def test_the_gpu_script_measures_into_a_folder_of_its_own(tmp_path: Path):
    (tmp_path / "gpu.json").touch()
    script = str(REPOSITORY / "tests" / "benchmarks" / "gpu.py")
    command = [sys.executable, script, str(tmp_path), "--rehearse", "--run-dir", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == f"alzgan: {tmp_path} is not empty: choose another --run-dir\n"


@pytest.mark.slow
def test_the_gpu_script_runs_from_end_to_end(slices: Path, tmp_path: Path):
    script = str(REPOSITORY / "tests" / "benchmarks" / "gpu.py")
    command = [sys.executable, script, str(slices), "--run-dir", str(tmp_path), "--rehearse"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert set(found["exactness"].values()) == {0}
    assert len(found["exactness"]) == 5
    assert found["compiled"]["fast"]["images_per_second"] > 0
    assert all(value > 0 for value in found["batch 8"]["targets"].values())


@pytest.mark.slow
def test_every_part_of_the_benchmark_ends_in_the_table_and_the_picture(slices: Path, tmp_path: Path):
    result = alzgan(
        "data=mri",
        f"data.root={slices}",
        f"run_dir={tmp_path}",
        *SMALL,
        "parts=[loops,stages,between,start,decoding,growth]",
        "loops=[bare,trainer]",
        "rounds=2",
        "seconds=0.05",
        "batch_sizes=[4,8]",
        "image_sizes=[32,64]",
        "image_counts=[100,1000]",
        verb="benchmark",
        timeout=400,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert set(found["growth"]["by_batch_size"]) == {"4", "8"}
    for speeds in (found["growth"]["by_batch_size"], found["growth"]["by_image_size"]):
        assert all(value > 0 for row in speeds.values() for value in row.values())
    assert 0 < found["start"]["help"] < found["start"]["first_step"]
    for words in (
        "a step in ms",
        "of a run",
        "to the first step",
        "decoding, warm",
        "batch size",
        "1,000 images",
    ):
        assert words in result.stdout
    assert (tmp_path / "benchmark.png").stat().st_size > 1000


@pytest.fixture
def tiny(slices: Path, tmp_path: Path) -> LoopSettings:
    return LoopSettings(small_settings(slices, tmp_path), str(slices))


def test_the_textbook_loop_reads_the_folder_and_trains_both_players(tiny: LoopSettings):
    game = TextbookGame(tiny)
    players = (game.generator, game.discriminator)
    before = [[p.clone() for p in player.parameters()] for player in players]
    batches = textbook_batches(tiny)
    for _ in range(2):
        real = next(batches)
        assert real.shape == (8, 1, 32, 32)
        assert -1 <= real.min() < real.max() <= 1
        values = game.step(real)
    assert all(0 < probability < 1 for probability in values[2:])
    for player, old in zip(players, before, strict=True):
        for now, then in zip(player.parameters(), old, strict=True):
            assert not torch.equal(now, then)


def test_the_bare_loop_plays_alzgans_game(tiny: LoopSettings, recwarn):
    from test_game import play

    gan, game = build_model(tiny.training), BareGame(tiny)
    game.generator.load_state_dict(gan.generator.state_dict())
    game.discriminator.load_state_dict(gan.discriminator.state_dict())
    images = resident_noise(tiny)
    batches: list[Tensor] = []
    for step in range(3):
        real, _ = game.inputs(images)
        batches.append(real)
        game.alternation(real, gan.latents(8, "train", step))
    play(gan, batches)
    for player in ("generator", "discriminator"):
        for ours, theirs in zip(
            getattr(gan, player).parameters(), getattr(game, player).parameters(), strict=True
        ):
            assert torch.equal(ours, theirs)


def test_a_step_costs_what_its_layers_say():
    tiny = LoopSettings(settings("data.batch_size=1", "trainer.accelerator=cpu"))
    # Multiply-adds of one image: 3 passes over G but for its latents' gradient; over D 3 for the real and 3
    # for the fake, both but for the image's gradient, then 2 in G's step.
    generator = [100 * 512 * 16, *[512 * 256 * 4 * 4 * 16] * 3, 64 * 3 * 32 * 32 * 16]
    discriminator = [3 * 64 * 32 * 32 * 16, *[64 * 128 * 16 * 16 * 16] * 3, 512 * 16]
    expected = 3 * sum(generator) - generator[0] + 8 * sum(discriminator) - 2 * discriminator[0]
    assert flops_a_step(tiny) == 2 * expected


def test_the_stages_of_a_step_are_the_step(slices: Path, tmp_path: Path, recwarn):
    found = stage_times(small_settings(slices, tmp_path, "trainer.max_epochs=-1"), steps=6)
    steps = {"discriminator step", "generator step", "step"}
    assert set(found) == {"data", "latents", "making fakes", "callbacks", "Lightning"} | steps
    whole = found.pop("step")
    assert sum(found.values()) == pytest.approx(whole)
    assert all(value > 0 for value in found.values()), found
    # Each is counted once: the steps within the alternation are not part of what it leaves, the fakes.
    assert found["making fakes"] < found["generator step"]


def test_shares_are_those_of_the_intervals_that_are_set(slices: Path, tmp_path: Path, recwarn):
    found = times_between_steps(
        small_settings(
            slices,
            tmp_path,
            "callbacks.quality.every_n_epochs=3",
            "callbacks.samples.every_n_epochs=7",
            "callbacks.checkpoint.every_n_train_steps=11",
        )
    )
    epoch = 32 // 8  # 80 % of 40 images, 8 in a batch
    intervals = {name: task["every_n_steps"] for name, task in found.items() if isinstance(task, dict)}
    assert intervals == {"quality": 3 * epoch, "grid": 7 * epoch, "checkpoint": 11}
    steps = [
        task["seconds"] * (1 - task["share"]) / task["share"] / task["every_n_steps"]
        for task in found.values()
        if isinstance(task, dict)
    ]
    assert steps == pytest.approx([steps[0]] * 3)  # all shares are of the same step
    assert found["samples_per_second"] > 0


def test_the_product_is_the_same_in_each_way_of_computing_it():
    left, right = (torch.randn(256, 256, generator=torch.Generator().manual_seed(i)) for i in range(2))
    expected = left.double() @ right.double()
    for name, way in products(left, right).items():
        found = way().double()
        # As a convolution it comes as an image, whose pixels are the rows.
        found = found.permute(0, 2, 3, 1).reshape(256, 256) if found.ndim == 4 else found
        assert torch.allclose(found, expected, atol=1e-4), name


def test_memory_does_not_grow_with_the_array_beyond_its_order():
    small, large = growth_with_images([1000, 100_000], image_size=64, batch=8)
    # The array of the larger one is 390 MiB; the order of its images and their labels are a few.
    assert large["mebibytes"] - small["mebibytes"] < 20
