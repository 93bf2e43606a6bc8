import importlib
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import costs
from benchmarks.costs import flops_of, growth_with_images, product_rates, stage_times, times_between_steps
from conftest import REPOSITORY, SMALL, alzgan, settings, small_settings
from omegaconf import DictConfig
from torch import nn

from alzgan.benchmarks import textbook
from alzgan.benchmarks.loops import BareGame
from alzgan.benchmarks.measure import check, ratios
from alzgan.errors import UserError
from alzgan.runs.build import build_model
from alzgan.runs.config import compose_config


def benchmark(slices: Path, run_dir: Path, *overrides: str) -> tuple[set[str], dict[str, Any]]:
    """What the rows of a benchmark's table begin with, and its results, on tiny networks."""
    small = ("data=mri", f"data.root={slices}", f"run_dir={run_dir}", *SMALL, "seconds=0.05")
    result = alzgan(*small, *overrides, verb="benchmark")
    assert result.returncode == 0, result.stderr
    results = json.loads((run_dir / "benchmark.json").read_text())
    return {line.split()[0] for line in result.stdout.splitlines() if line}, results


@pytest.mark.slow
def test_the_verb_ends_with_a_table_and_writes_over_no_other(slices: Path, tmp_path: Path):
    rows, results = benchmark(slices, tmp_path, "loops=[trainer]", "rounds=1")
    assert {"loop", "trainer"} <= rows
    (seconds,) = results["loops"]["trainer"]["rounds"]
    assert results["loops"]["trainer"]["seconds_a_step"] == seconds > 0
    with pytest.raises(UserError, match=f"{tmp_path} contains a benchmark; choose another run_dir"):
        check(compose_config("benchmark", [f"run_dir={tmp_path}"]), tmp_path)


@pytest.mark.long
def test_the_numbers_follow_from_each_other(slices: Path, tmp_path: Path):
    rows, results = benchmark(slices, tmp_path, "loops=[textbook,bare,trainer]", "rounds=2")
    assert {"loop", "textbook", "bare", "trainer"} <= rows
    loops, batch = results["loops"], results["config"]["data"]["batch_size"]
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
        ("loops=[loop]", "loops=loop must be one of textbook, bare, bare_fast"),
        ("loops=[]", "loops is empty; choose of textbook"),
        ("rounds=0", "rounds=0 must be at least 1"),
        ("rounds=many", "rounds=many must be int"),
        ("seconds=nan", "seconds=nan must be at least"),
        ("seconds=0", "seconds=0 must be at least"),
        ("ckpt_path=run", "ckpt_path=run: a benchmark does not continue a run"),
        ("trainer.devices=2", "trainer.devices=2: a benchmark uses one device"),
    ],
)
def test_what_cannot_be_measured_is_refused(override: str, line: str, tmp_path: Path):
    with pytest.raises(UserError, match=re.escape(line)):
        check(
            compose_config("benchmark", ["trainer.accelerator=cpu", f"run_dir={tmp_path}", override]),
            tmp_path,
        )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["x"], "there is no CUDA device here: run this on a machine that has one"),
        (["nowhere", "--rehearse"], "there is no folder nowhere: give the folder of slices"),
        ([".", "--rehearse", "--run-dir", "."], ". is not empty: choose another --run-dir"),
    ],
)
def test_the_gpu_script_refuses_in_one_line(arguments, line: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(REPOSITORY / "tests" / "benchmarks")
    gpu = importlib.import_module("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])
    with pytest.raises(SystemExit, match=f"alzgan: {line}"):
        gpu.main()


@pytest.mark.long
def test_the_gpu_script_runs_from_end_to_end(slices: Path, tmp_path: Path):
    script = str(REPOSITORY / "tests" / "benchmarks" / "gpu.py")
    command = [sys.executable, script, str(slices), "--run-dir", str(tmp_path), "--rehearse"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert set(found["exactness"].values()) == {0}
    assert len(found["exactness"]) == 16
    assert found["verbs"]["generate, grey levels from a CPU's (at most 1)"] == 0
    assert found["verbs"]["evaluate, seconds for 256 images"] > 0
    assert found["compiled"]["fast"]["images_per_second"] > 0
    assert all(value > 0 for value in found["batch 8"]["targets"].values())


@pytest.fixture
def tiny(slices: Path, tmp_path: Path) -> DictConfig:
    return small_settings(slices, tmp_path)


def test_the_textbook_loop_reads_the_folder_and_trains_both_players(tiny: DictConfig):
    gan = build_model(tiny)
    players = gan.generator, gan.discriminator
    game = textbook.TextbookGame(gan.generator, nn.Sequential(gan.discriminator, nn.Sigmoid()))
    before = [[p.clone() for p in player.parameters()] for player in players]
    batches = textbook.batches(tiny.data.root, 32, 1, 8)
    for _ in range(2):
        real = next(batches)
        assert real.shape == (8, 1, 32, 32)
        assert -1 <= real.min() < real.max() <= 1
        values = game.step(real, torch.randn(8, 100))
    assert all(0 < probability < 1 for probability in values[2:])
    for player, old in zip(players, before, strict=True):
        for now, then in zip(player.parameters(), old, strict=True):
            assert not torch.equal(now, then)


@pytest.mark.parametrize("overrides", [(), ("model=r1r2", "augment=translate_flip", "model.turns=2")])
def test_the_bare_loop_plays_the_game_without_a_trainer(overrides, slices: Path, tmp_path: Path):
    game = BareGame(small_settings(slices, tmp_path, *overrides))
    before = [parameter.clone() for parameter in game.gan.generator.parameters()]
    for step in range(5):
        said = game.step(step)
        assert all(value.isfinite() for value in said.values())
        assert ("penalty/r1" in said) == ("r1" in game.gan.penalties and step % 4 == 0)
    assert not any(map(torch.equal, before, game.gan.generator.parameters()))


def test_a_step_costs_what_its_layers_say():
    game = BareGame(settings("data.batch_size=1", "trainer.accelerator=cpu"))
    # Multiply-adds of one image: 3 passes over G but for its latents' gradient; over D 3 for the real and 3
    # for the fake, both but for the image's gradient, then 2 in G's step.
    generator = [100 * 512 * 16, *[512 * 256 * 4 * 4 * 16] * 3, 64 * 3 * 32 * 32 * 16]
    discriminator = [3 * 64 * 32 * 32 * 16, *[64 * 128 * 16 * 16 * 16] * 3, 512 * 16]
    expected = 3 * sum(generator) - generator[0] + 8 * sum(discriminator) - 2 * discriminator[0]
    assert flops_of(game) == 2 * expected


def test_the_stages_of_a_step_are_the_step(slices: Path, tmp_path: Path, recwarn):
    found = stage_times(small_settings(slices, tmp_path, "trainer.max_epochs=-1"), steps=6)
    step = {"draws", "making fakes", "discriminator loss", "generator loss", "gradients and Adam", "step"}
    assert set(found) == {"data", "callbacks", "Lightning"} | step
    whole = found.pop("step")
    assert sum(found.values()) == pytest.approx(whole)
    assert all(value > 0 for value in found.values()), found
    # Each is counted once: what is within the step of the game is not part of what it leaves, the fakes.
    assert found["making fakes"] < found["gradients and Adam"]


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


def test_the_rates_of_a_product_are_plausible(tiny: DictConfig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(costs, "PRODUCT_SIDE", 256)
    found = product_rates(tiny)
    assert set(found) == {"float32", "bfloat16", "flops_a_step"}
    assert all(1e6 < value < 1e15 for value in found.values())


def test_memory_does_not_grow_with_the_array_beyond_its_order():
    small, large = growth_with_images([1000, 20_000], image_size=64, batch=8)
    # The array of the larger one is 78 MiB; the order of its images and their labels are a few.
    assert large["mebibytes"] - small["mebibytes"] < 20
