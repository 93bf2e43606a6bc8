"""What the study's scripts for others' generators and for labels do with a run's people."""

import csv
import json
import sys
from collections import Counter
from pathlib import Path

import common
import labels
import numpy as np
import pytest
import torch
from conftest import small_settings
from PIL import Image
from torch import Tensor

from alzgan.runs import session


@pytest.fixture(scope="module")
def run(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps on 10 of 20 people, five of each class."""
    run_dir = tmp_path_factory.mktemp("run") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALZGAN_CACHE", str(run_dir.parent / "cache"))
        options = "trainer.max_steps=2", "callbacks.quality=null", "data.fractions=[0.5,0.25,0.25]"
        session.run(small_settings(slices, run_dir, *options))
    return run_dir


def people(table: Path, *splits: str) -> dict[str, str]:
    """The class of each person."""
    with open(table, newline="", encoding="utf-8") as file:
        return {row["subject"]: row["class"] for row in csv.DictReader(file) if row["split"] in splits}


class Grey:
    """A peer whose samples are as bright as it has taken steps."""

    batch_size = 6

    def __init__(self, side: int):
        self.side, self.steps, self.seen = side, 0, []

    def step(self, real: Tensor) -> None:
        self.steps += 1
        self.seen.append(real)

    def sample(self, count: int) -> Tensor:
        return torch.full((count, 1, self.side, self.side), self.steps / 127.5 - 1)


def test_a_peer_trains_on_people_in_train_for_its_minutes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[Grey] = []

    def make(side: int) -> Grey:
        made.append(Grey(side))
        return made[0]

    # 25 seconds of the processor a step: it takes 3 for a minute and 5 for two.
    monkeypatch.setattr(common, "seconds", lambda: 25.0 * made[0].steps)
    monkeypatch.setattr(sys, "argv", f"peer {run} {tmp_path} --minutes 2 1 --count 3 --seed 4".split())
    common.compete("grey", make, ["numpy"])
    (peer,) = made
    about = json.loads((tmp_path / "peer.json").read_text())
    marks = [(each["minutes"], each["steps"]) for each in about["samples"]]
    assert marks == [(1, 3), (2, 5)]
    assert about["packages"] == {"torch": torch.__version__.partition("+")[0], "numpy": np.__version__}
    assert (about["name"], about["seed"], about["batch_size"]) == ("grey", 4, 6)
    for minutes, steps in marks:
        files = sorted((tmp_path / f"{minutes:g}_minutes").iterdir())
        assert [file.name for file in files] == ["0000.png", "0001.png", "0002.png"]
        assert np.array_equal(Image.open(files[0]), np.full((32, 32), steps))
    images = common.images_in_train(run)
    assert len(images) == 2 * len(people(run / "split.csv", "train")) == 20
    assert -1 <= images.min() < -0.9 < 0.1 < images.max() <= 1
    # Three batches of 6 are a pass; its last two images wait for another one.
    assert [len(batch) for batch in peer.seen] == [6] * 5
    first_pass = torch.cat(peer.seen[:3])
    assert len({image.numpy().tobytes() for image in first_pass}) == 18
    assert {image.numpy().tobytes() for image in first_pass} < {each.numpy().tobytes() for each in images}


def test_few_labelled_people_are_among_the_more_and_all_others_are_as_before(
    run: Path, slices: Path, tmp_path: Path
):
    labels.folders(run, tmp_path / "out", [4, 8])
    before = people(run / "split.csv", "validation", "test")
    assert len(before) == 10
    trained: list[set[str]] = []
    for count in (4, 8, 10):
        folder = tmp_path / "out" / str(count)
        assert people(folder / "people.csv", "validation", "test") == before
        train = people(folder / "people.csv", "train")
        assert train.items() <= people(run / "split.csv", "train").items()
        assert set(Counter(train.values()).values()) == {count // 2}
        trained.append(set(train))
        found = sorted(path for path in folder.rglob("*.png"))
        assert len(found) == 2 * (count + 10)
        assert all(path.resolve() == slices / path.relative_to(folder) for path in found)
    assert trained[0] < trained[1] < trained[2]
    with pytest.raises(SystemExit, match="out exists: give a new folder"):
        labels.folders(run, tmp_path / "out", [4])
    with pytest.raises(SystemExit, match="only 10 people of the judged classes are in train"):
        labels.folders(run, tmp_path / "other", [12])


def test_every_beginning_of_the_order_has_each_class_in_its_share():
    classes = {f"{number:02}": "ABBBB"[number % 5] for number in range(40)}
    order = labels.in_order(list(classes), classes)
    assert sorted(order) == sorted(classes)
    for count in range(1, 41):
        assert abs(sum(classes[person] == "A" for person in order[:count]) - count / 5) < 1


def test_one_confident_error_does_not_decide_a_log_score():
    votes = torch.tensor([[[1.0, 0.0], [0.25, 0.75]]])
    scores = labels.log_scores(votes, np.array([1, 1]))
    assert scores == pytest.approx(np.log([[0.001, 0.75]]))
