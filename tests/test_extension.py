"""One's own network, loss, penalty, augmentation, callback, metric and feature space, from elsewhere."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.kills import digests
from conftest import REPOSITORY, SMALL, settings
from PIL import Image
from processes import run_verb
from test_evaluate import SPLIT, evaluate
from test_game import SMALL_MODEL

from alzgan.augment import Augmentation
from alzgan.errors import UserError
from alzgan.losses import AdversarialLoss
from alzgan.penalties import Penalty
from alzgan.runs.build import build_model
from alzgan.runs.checkpoints import load_checkpoint

MODULE = '''
import pathlib
import torch
from lightning import Callback
from torch import nn
from alzgan.augment import Augmentation
from alzgan.losses import AdversarialLoss
from alzgan.penalties import Penalty

pathlib.Path(__file__).with_name("imported").touch()

class Sketch(nn.Sequential):
    """A generator of one layer."""
    def __init__(self, latent_dim: int, image_size: int, gain: float = 1.0):
        shape = (1, image_size, image_size)
        super().__init__(nn.Linear(latent_dim, image_size**2), nn.Tanh(), nn.Unflatten(1, shape))
        self.gain = gain

    def forward(self, latents, labels=None):
        return super().forward(self.gain * latents)

class LeastSquares(AdversarialLoss):
    def discriminator(self, real_logits, fake_logits):
        return (real_logits - 1).square().mean() + fake_logits.square().mean()

    def generator(self, fake_logits, real):
        return (fake_logits - 1).square().mean()

class SmallLogits(Penalty):
    def forward(self, judge, real, fake):
        return real.logits.square().mean()

class Brightness(Augmentation):
    uniforms = 1
    def forward(self, images, uniforms):
        return images + 0.1 * uniforms[:, :, None, None]

class MeanGrey(Callback):
    def on_train_end(self, trainer, pl_module):
        images = pl_module.sample(pl_module.latents(8, "mean grey"))
        pathlib.Path(trainer.default_root_dir, "grey.txt").write_text(str(images.float().mean().item()))
'''
JUDGES = '''
from alzgan.metrics.features import FeatureExtractor
from alzgan.metrics.record import FIDELITY, FeatureMetric, Question

class Rows(FeatureExtractor):
    """The mean grey of each row."""
    name, space, num_features = "rows-v1", "rows", 32
    method = "mean grey of each of 32 rows"

    def forward(self, images):
        return images.double().mean((1, 3)) / 255

def spread_ratio(pair):
    """The deviation of the samples over that of real images (Nobody 2030)."""
    return float(pair.fake.values.std() / pair.real.values.std())

SPREAD = FeatureMetric(
    name="spread_ratio",
    compute=spread_ratio,
    bounds=(0, float("inf")),
    decides=Question(name="spread", asks="Do they spread as far?", bad="They spread less: {told}"),
)
def shift(pair):
    """How far the means lie apart."""
    return float((pair.fake.values.mean(0) - pair.real.values.mean(0)).norm())

SHIFT = FeatureMetric(
    name="shift",
    compute=shift,
    better="lower",
    bounds=(0, float("inf")),
    decides=FIDELITY,
    headline="shift",
)
TWIN = FeatureMetric(name="recall", compute=spread_ratio)
NO_METRIC = 5

class Nameless(FeatureExtractor):
    def forward(self, images):
        return images
'''
YAMLS = {
    "loss/squares.yaml": "# @package model.loss\n_target_: outside.LeastSquares\n",
    "penalty/small.yaml": """# @package model.penalties
small: {_target_: outside.SmallLogits, weight: 0.1, interval: 2}
""",
    "augment/brightness.yaml": "# @package model.augment\n_target_: outside.Brightness\n",
    "callbacks/grey.yaml": "defaults: [default]\ngrey: {_target_: outside.MeanGrey}\n",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one's own module and configs."""
    home = tmp_path_factory.mktemp("home")
    (home / "outside.py").write_text(MODULE)
    for name, text in YAMLS.items():
        (home / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "conf" / name).write_text(text)
    (home / "conf/model").mkdir()
    # A generator of one's own has its own options: the node is written anew.
    (home / "conf/model/sketch.yaml").write_text(
        (REPOSITORY / "conf/model/dcgan.yaml")
        .read_text()
        .replace(
            GENERATOR,
            "  _target_: outside.Sketch\n  latent_dim: ${model.latent_dim}\n"
            "  image_size: ${data.image_size}\n  gain: 2\n",
        )
    )
    return home


GENERATOR = """  _target_: alzgan.networks.dcgan.Generator
  latent_dim: ${model.latent_dim}
  image_size: ${data.image_size}
  channels: ${data.channels}
  width: 64
  classes: ${model.classes}
  numbers: ${model.numbers}
  strength: ${conditioning.strength}
  upsampling: transposed # or nearest, which leaves no checkerboard pattern
"""
OWN = ("model=sketch", "loss=squares", "penalty=small", "augment=brightness", "callbacks=grey")


def run(home: Path, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_verb(verb, arguments, home, {**os.environ, "PYTHONPATH": str(home)}, 120)


def train(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(home, "train", *arguments, f"hydra.searchpath=[file://{home}/conf]")


@pytest.mark.slow
def test_own_pieces_train_resume_to_the_bit_and_are_loaded_where_they_are_named_again(
    home: Path, slices: Path, tmp_path: Path
):
    small = [text for text in SMALL if "generator.width" not in text and "quality" not in text]
    start = ["data=mri", f"data.root={slices}", SPLIT, *small, *OWN, "callbacks.quality=null"]
    whole = train(home, *start, f"run_dir={tmp_path / 'whole'}", "trainer.max_steps=4")
    assert whole.returncode == 0, whole.stderr
    assert float((tmp_path / "whole/grey.txt").read_text()) > 0
    part = tmp_path / "part"
    assert train(home, *start, f"run_dir={part}", "trainer.max_steps=3").returncode == 0

    (home / "imported").unlink()
    refused = train(home, f"ckpt_path={part}", "trainer.max_steps=4")
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "outside.LeastSquares, " in line
    assert "which is not part of alzgan: nothing was loaded" in line
    again = line.partition("name it again: ")[2].split()
    assert "++model.generator._target_=outside.Sketch" in again
    assert len(again) == len(OWN)
    assert not (home / "imported").exists()

    resumed = train(home, f"ckpt_path={part}", *again, "trainer.max_steps=4")
    assert resumed.returncode == 0, resumed.stderr
    ends = [load_checkpoint(tmp_path / name / "checkpoints/last.ckpt") for name in ("whole", "part")]
    assert digests(ends[0]) == digests(ends[1])

    judged = ("n=24", "metrics=[copies]")
    for verb, more in (("generate", ("n=2",)), ("evaluate", judged)):
        asked = (f"ckpt_path={part}", *more, f"run_dir={tmp_path / verb}")
        (line,) = run(home, verb, *asked).stderr.splitlines()
        advice = shlex.split(line.partition("name it again: ")[2])
        assert len(advice) == 1
        assert advice[0].startswith("allow=[")
        done = run(home, verb, *asked, *advice)
        assert done.returncode == 0, done.stderr


class Alone:
    """A loss that derives from nothing."""

    def discriminator(self, real_logits, fake_logits):
        return fake_logits.mean()

    def generator(self, fake_logits, real):
        return -fake_logits.mean()


class HalfALoss(AdversarialLoss):
    def discriminator(self, real_logits, fake_logits):
        return fake_logits.mean()


class Unweighted(torch.nn.Module):
    def forward(self, judge, real, fake):
        return real.logits.mean()


class Unwritten(Penalty):
    pass


class Drawless(Augmentation):
    def forward(self, images, uniforms):
        return images


class Still(torch.nn.Module):
    """An average that never moves."""


@pytest.mark.parametrize(
    ("piece", "told"),
    [
        ("loss={_target_:test_extension.Alone}", "model.loss: Alone must derive from alzgan.losses.Adv"),
        (
            "loss={_target_:test_extension.HalfALoss}",
            "model.loss: test_extension.HalfALoss has no generator",
        ),
        (
            "+model.penalties={mine:{_target_:test_extension.Unweighted}}",
            "model.penalties.mine: Unweighted must derive from alzgan.penalties.Penalty",
        ),
        (
            "+model.penalties={mine:{_target_:test_extension.Unwritten,weight:1}}",
            "model.penalties.mine: test_extension.Unwritten has no forward, ",
        ),
        (
            "+model.penalties={mine:{_target_:test_extension.Alone}}",
            "model.penalties.mine: Alone must derive from alzgan.penalties.Penalty",
        ),
        ("augment={_target_:test_extension.Still}", "model.augment: Still must derive from alzgan.augment."),
        ("augment={_target_:test_extension.Drawless}", "model.augment: test_extension.Drawless has no unif"),
        ("average={_target_:test_extension.Still}", "model.average: Still must derive from alzgan.average."),
    ],
)
def test_what_a_piece_of_ones_own_lacks_is_told_before_training(piece: str, told: str):
    override = piece if piece.startswith("+") else f"++model.{piece}"
    with pytest.raises(UserError, match=re.escape(told)) as refused:
        build_model(settings(*SMALL_MODEL, override))
    assert "\n" not in str(refused.value)


@pytest.fixture
def judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with samples, and a module of one's own metrics and spaces where Python looks."""
    (tmp_path / "judges.py").write_text(JUDGES)
    (tmp_path / "samples").mkdir()
    for index in range(24):
        pixels = np.random.default_rng(index).normal(100, 30, (32, 32)).clip(0, 255).astype("uint8")
        Image.fromarray(pixels).save(tmp_path / f"samples/{index}.png")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def judged(judges: Path, slices: Path, *overrides: str) -> dict[str, Any]:
    real = (f"data.root={slices}", "data.image_size=32", "data.channels=1", SPLIT)
    return evaluate(judges / "evaluation", f"samples={judges / 'samples'}", *real, *overrides)


def test_a_metric_and_a_space_of_ones_own_decide_and_are_told_with_their_methods(judges: Path, slices: Path):
    own = ("metrics=[fidelity,judges.SPREAD,judges.SHIFT]", "features=[pixels,judges.Rows]")
    found = judged(judges, slices, *own)
    (candidate,) = found["candidates"]
    assert [each["question"] for each in candidate["verdicts"]] == ["fidelity", "diversity", "spread"]
    assert candidate["verdicts"][2]["asks"] == "Do they spread as far?"
    numbers = {(each["metric"], each["space"], each["against"]): each for each in candidate["numbers"]}
    for metric in ("spread_ratio", "shift", "recall"):
        for against in ("held-out", "train"):
            mine = numbers[metric, "rows", against]
            assert mine["unseen"]["draws"] == 10
            assert mine["unseen"]["low"] < mine["unseen"]["high"]
    assert numbers["spread_ratio", "rows", "held-out"]["value"] < 0.5  # rows of noise are all alike
    # A fault that one's own metric would have noticed counts for the verdict that it helps to decide.
    assert {each["question"] for each in candidate["power"]} == {"fidelity", "diversity"}
    page = (judges / "evaluation/report.html").read_text()
    for told in (
        "Do they spread as far?",
        "<dt>spread ratio</dt><dd>The deviation of the samples over that of real images (Nobody 2030).",
        "<dt>shift</dt><dd>How far the means lie apart.",
        "<dt>rows</dt><dd>mean grey of each of 32 rows; 32 features",
    ):
        assert told in page


def test_ones_own_metrics_are_computed_alone_where_no_stage_is_named(judges: Path, slices: Path):
    found = judged(judges, slices, "metrics=[judges.SPREAD]")
    (candidate,) = found["candidates"]
    assert {each["metric"] for each in candidate["numbers"]} == {"spread_ratio"}
    assert [each["question"] for each in candidate["verdicts"]] == ["spread"]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (
            "metrics=[judges.NO_METRIC]",
            r"metrics=judges.NO_METRIC is not an alzgan.metrics.record.Feat",
        ),
        ("metrics=[judges.ABSENT]", r"metrics=judges.ABSENT: .*; is its folder in PYTHONPATH"),
        ("metrics=[nowhere.METRIC]", r"metrics=nowhere.METRIC: No module named 'nowhere'"),
        ("metrics=[fidelity,judges.TWIN]", r"recall is the name of two metrics"),
        ("features=[pixels,judges.Nameless]", r"features=judges.Nameless has no name, see alzgan.metrics.fe"),
    ],
)
def test_what_is_no_metric_or_space_is_told_before_anything_is_judged(
    setting: str, told: str, judges: Path, slices: Path
):
    with pytest.raises(UserError, match=told):
        judged(judges, slices, setting)


def test_the_example_of_the_settings_page_trains_and_judges(tmp_path: Path, slices: Path):
    page = (REPOSITORY / "conf/README.md").read_text()
    (tmp_path / "mylab.py").write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1])
    real = (f"data.root={slices}", "data.image_size=32", "data.channels=1", SPLIT)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    commands = re.findall(r"PYTHONPATH=\. python -m alzgan\.(\w+) (.*)", page.replace("\\\n", ""))
    assert [verb for verb, _ in commands] == ["train", "evaluate"]
    for verb, words in commands:
        run = str(tmp_path / verb)
        own = [word.replace("RUN", str(tmp_path / "train")) for word in shlex.split(words)]
        more = (
            (*SMALL, "data=mri", *real, "trainer.max_steps=1")
            if verb == "train"
            else ("n=24", "preset.draws=10")
        )
        found = run_verb(verb, (*own, *more, f"run_dir={run}"), tmp_path, environment, 240)
        assert found.returncode == 0, found.stderr
    (candidate,) = json.loads((tmp_path / "evaluate/evaluation.json").read_text())["candidates"]
    assert {"spread"} < {each["question"] for each in candidate["verdicts"]}
    assert {"pixels", "coarse"} == {each["space"] for each in candidate["numbers"]}
