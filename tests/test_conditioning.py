import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small_settings
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from test_game import play
from torch import nn
from torchvision.utils import make_grid

import alzgan
from alzgan.data import conditions
from alzgan.data.datamodule import MRIDataModule
from alzgan.errors import UserError
from alzgan.evaluation.candidates import judged, runs_to_judge
from alzgan.evaluation.fidelity import INDEPENDENT
from alzgan.evaluation.request import request_of
from alzgan.evaluation.stages import STAGES
from alzgan.game import Turn
from alzgan.networks.conditioning import LabelledLatents, Projection
from alzgan.networks.dcgan import Discriminator, Generator
from alzgan.runs import session
from alzgan.runs.build import build_data, build_model
from alzgan.runs.checkpoints import load_checkpoint
from alzgan.runs.config import compose_config


def test_the_label_is_embedded_beside_the_latents():
    labelled = LabelledLatents(3, classes=2)
    latents, labels = torch.rand(4, 3), torch.tensor([0, 1, 1, 0])
    joined = labelled(latents, labels)
    assert joined.shape == (4, labelled.width) == (4, 6)
    assert torch.equal(joined[:, :3], latents)
    assert torch.equal(joined[:, 3:], labelled.embedding.weight[labels])
    assert torch.equal(LabelledLatents(3)(latents, None), latents)


def test_numbers_enter_by_waves_and_the_strength_scales_all_of_a_label():
    labelled = LabelledLatents(3, classes=2, numbers=1, strength=0.5)
    labels = torch.tensor([[1.0, 0.5], [0.0, -1.0]])
    phases = math.pi * torch.tensor([0.5, 1.0, 2.0])
    waves = [[x, *(f(phase * x) for phase in phases for f in (torch.sin, torch.cos))] for x in (0.5, -1.0)]
    expected = labelled.embedding.weight[[1, 0]] + torch.tensor(waves) @ labelled.waves.weight.T
    found = labelled(torch.rand(2, 3), labels)[:, 3:]
    torch.testing.assert_close(found, 0.5 * (expected + labelled.waves.bias))


def test_without_strength_labels_change_nothing():
    torch.manual_seed(0)
    options = {"classes": 2, "numbers": 1, "strength": 0.0}
    generator, discriminator = Generator(7, 32, 1, 4, **options), Discriminator(32, 1, 4, **options)
    labels = torch.tensor([[0.0, -1.0], [1.0, 1.0]])
    images = generator(torch.randn(1, 7).repeat(2, 1), labels)
    torch.testing.assert_close(images[0], images[1])
    logits = discriminator(images, labels)
    torch.testing.assert_close(logits[0], logits[1])


def test_the_logit_is_the_score_and_the_inner_product_with_the_label():
    projection = Projection(2, classes=2)
    with torch.no_grad():
        projection.embedding.weight.copy_(torch.tensor([[1.0, 2.0], [-3.0, 0.5]]))
    maps = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[:, :, None, None].repeat(1, 1, 2, 1)  # sums: (2, 4), (6, 8)
    score = torch.tensor([10.0, 20.0])[:, None, None, None]
    found = projection(score, maps, torch.tensor([0, 1]))
    assert found.tolist() == [10 + 2 * 1 + 4 * 2, 20 - 6 * 3 + 8 * 0.5]
    assert Projection(2)(score, maps, None).tolist() == [10, 20]


def test_a_share_of_a_batch_is_judged_without_labels_in_training_alone():
    projection = Projection(2, unlabelled=0.75, classes=2)
    maps, score = torch.ones(8, 2, 1, 1), torch.zeros(8, 1, 1, 1)
    expected = projection.embedding.weight[1].sum().item()
    found = projection(score, maps, torch.ones(8, dtype=torch.long))
    assert found.tolist() == pytest.approx([0, 0, 0, expected] * 2)
    assert projection.eval()(score, maps, torch.ones(8, dtype=torch.long)).tolist() == pytest.approx(
        [expected] * 8
    )


@pytest.mark.parametrize("classes", [1, 4, 1000])
def test_another_label_is_another_image_and_another_verdict(classes: int):
    torch.manual_seed(0)
    generator, discriminator = (
        network(*sizes, classes=classes)
        for network, sizes in ((Generator, (7, 32, 1, 4)), (Discriminator, (32, 1, 4)))
    )
    latents = torch.randn(1, 7).repeat(2, 1)
    images = generator(latents, torch.tensor([0, classes - 1]))
    logits = discriminator(images[:1].repeat(2, 1, 1, 1), torch.tensor([0, classes - 1]))
    assert images.shape == (2, 1, 32, 32)
    for one, other in (images, logits):  # close: the rows of a batch may be rounded differently
        assert torch.allclose(one, other, rtol=1e-4) == (classes == 1)


@pytest.mark.parametrize("normalization", ["none", "spectral"])
def test_without_batch_norm_each_images_logit_is_its_own(normalization: str):
    torch.manual_seed(0)
    discriminator = Discriminator(32, 1, 4, normalization=normalization).eval()
    images = torch.rand(3, 1, 32, 32)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in discriminator.modules())
    torch.testing.assert_close(discriminator(images)[:1], discriminator(images[:1]))
    assert discriminator(images).std() > 1e-4  # signals reach the end


def test_spectral_norm_brings_every_layers_largest_singular_value_to_one():
    torch.manual_seed(0)
    discriminator = Discriminator(32, 1, 4, classes=3, normalization="spectral")
    for _ in range(50):  # each look is one power iteration
        discriminator(torch.rand(2, 1, 32, 32), torch.tensor([0, 1]))
    weights = [m.weight for m in discriminator.modules() if isinstance(m, nn.Conv2d | nn.Embedding)]
    assert len(weights) == 5
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-2)


@pytest.fixture(scope="module")
def three_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty people: each class has a grey of its own."""
    root = tmp_path_factory.mktemp("three")
    for index, (name, grey) in enumerate(zip("abc" * 10, (40, 120, 200) * 10, strict=True)):
        (root / name).mkdir(exist_ok=True)
        noise = np.random.default_rng(index).normal(0, 5, (36, 36))
        Image.fromarray((grey + noise).clip(0, 255).astype("uint8")).save(root / name / f"sub-{index:02}.png")
    return root


def test_the_data_says_how_many_classes_there_are_and_the_checkpoint_keeps_it(
    three_classes: Path, tmp_path: Path
):
    options = ("model=cdcgan", "trainer.max_steps=2", "callbacks.samples.count=12")
    session.run(small_settings(three_classes, tmp_path, *options))
    checkpoint = load_checkpoint(tmp_path / "checkpoints/last.ckpt")
    model = checkpoint["alzgan"]["config"]["model"]
    assert model["classes"] == model["generator"]["classes"] == model["discriminator"]["classes"] == 3
    assert checkpoint["state_dict"]["generator.0.embedding.weight"].shape == (3, 100)
    assert list(checkpoint["alzgan"]["provenance"]["data"]["classes"]) == ["a", "b", "c"]
    # A row a class: 4 columns of 32 pixels with 2 between.
    with Image.open(tmp_path / "samples/step_0000002.png") as image:
        assert image.size == (4 * 34 + 2, 3 * 34 + 2)
        grid = torch.from_numpy(np.array(image.convert("L")))
    gan = build_model(OmegaConf.create(checkpoint["alzgan"]["config"]))
    gan.load_state_dict(checkpoint["state_dict"])
    latents = gan.latents(12, "samples")
    for shift, same in ((0, True), (1, False)):
        labels = (torch.arange(3).repeat_interleave(4) + shift) % 3
        wanted = make_grid(gan.sample(latents, labels), nrow=4, padding=2)[0]
        assert torch.equal(grid, wanted) == same


def test_fakes_take_the_labels_of_the_reals(recwarn):
    options = ("model=cdcgan", "model.classes=3", "model.numbers=0")
    gan = build_model(small_settings(Path("unused"), Path("unused"), *options))
    seen: list[Turn] = []
    gan.captured = lambda turns, due: (seen.extend(turns), gan.play(turns, due))[1]
    labels = torch.tensor([2, 0, 1, 1])
    pairs = [(torch.rand(4, 1, 32, 32), labels)]
    play(gan, [pairs[0][0]], labels=labels)
    assert torch.equal(seen[0].labels, labels)
    assert torch.equal(seen[0].fake_labels, labels)


TABLE = "file,subject,slice,age\n"


@pytest.mark.parametrize("few", [5, 10])
def test_numbers_that_are_not_given_are_drawn_as_those_of_the_class_unless_it_has_few_people(
    few: int, three_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(conditions, "FEW_PEOPLE", few)
    rows = ["file,subject,age\n"]
    for path in sorted(three_classes.glob("*/*.png")):
        age = 40 + 10 * "abc".index(path.parent.name) + int(path.stem[-2:]) % 4
        rows.append(f"{path.relative_to(three_classes)},{path.stem},{age}\n")
    (tmp_path / "ages.csv").write_text("".join(rows))
    options = (
        "model=cdcgan",
        f"data.subjects=csv:{tmp_path / 'ages.csv'}",
        "data.conditions=[class,age]",
        "trainer.max_steps=1",
    )
    session.run(small_settings(three_classes, tmp_path / "run", *options))
    generator = alzgan.load(tmp_path / "run")
    if few == 10:  # each class has eight people to train on: nobody's own numbers are told
        assert generator.conditions_of_classes == [generator.conditions] * 3
        return
    for index, name in enumerate("abc"):
        ages = [generator.in_units(label[1:])["age"] for label in generator.labels(40, name)]
        assert 40 + 10 * index <= min(ages) < max(ages) <= 43 + 10 * index
    drawn = generator.labels(90)
    assert all(4 <= (generator.in_units(row[1:])["age"] - 36) - 10 * int(row[0]) <= 7.01 for row in drawn)


def test_quantiles_of_few_people_are_not_everybodys_numbers():
    ages = np.sort(np.random.default_rng(0).uniform(60, 90, 25))
    each = np.repeat(ages, 4)
    people = [str(row // 4) for row in range(100)]
    found = conditions.quantiles({"age": each}, np.arange(100), people)["age"]
    assert len(found) == 33
    assert (found[0], found[-1]) == (ages[0], ages[-1])
    assert sum(np.isclose(ages, value).any() for value in found) <= 6  # of 25


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten people with four slices each, the brighter the higher, and a table with places and ages."""
    root = tmp_path_factory.mktemp("stacks")
    rows = [TABLE]
    for person in range(10):
        for place in range(1, 5):
            name = f"a/{person}_{place}.png"
            (root / "a").mkdir(exist_ok=True)
            noise = np.random.default_rng(10 * person + place).normal(0, 5, (36, 36))
            Image.fromarray((40 * place + noise).clip(0, 255).astype("uint8")).save(root / name)
            rows.append(f"{name},p{person},{place},{60 + person}\n")
    (root / "people.csv").write_text("".join(rows))
    return root


def with_numbers(stacks: Path, run_dir: Path, *options: str) -> DictConfig:
    composed = ("model=cdcgan", "data.subjects=csv:people.csv", "data.conditions=[class,slice,age]", *options)
    return small_settings(stacks, run_dir, *composed)


def test_places_and_columns_of_a_table_become_numbers_of_the_labels(stacks: Path, tmp_path: Path):
    data = build_data(with_numbers(stacks, tmp_path))
    data.setup()
    images, labels = data.part("train")[np.arange(len(data))]
    ages = {60 + person for person in range(10) if f"p{person}" in trained_people(data)}
    assert labels.shape == (len(data), 3)
    assert set(labels[:, 0].tolist()) == {0.0}
    # From the least to the greatest of the training images.
    places = images.float().mean((1, 2, 3)).div(40).round()
    torch.testing.assert_close(labels[:, 1], 2 * (places - 1) / 3 - 1)
    expected = {round(2 * (age - min(ages)) / (max(ages) - min(ages)) - 1, 4) for age in ages}
    assert {round(value, 4) for value in labels[:, 2].tolist()} == expected
    assert data.describe()["conditions"]["slice"][0::32] == [1, 4]


def trained_people(data: MRIDataModule) -> set[str]:
    return {who for who, part in zip(data.subjects.subject, data.split.parts, strict=True) if part == "train"}


def test_drawn_labels_are_those_of_training_images(stacks: Path, tmp_path: Path):
    data = build_data(with_numbers(stacks, tmp_path))
    data.setup()
    there = {tuple(row) for row in data.dataset.table.tolist()}
    drawn = data.draw_labels(50, "test")
    assert torch.equal(drawn, data.draw_labels(50, "test"))
    assert {tuple(row) for row in drawn.tolist()} <= there
    assert len({tuple(row) for row in drawn.tolist()}) > 10


def test_a_model_of_places_trains_and_gives_stacks_back(stacks: Path, tmp_path: Path):
    session.run(with_numbers(stacks, tmp_path, "trainer.max_steps=6", "callbacks.samples.count=8"))
    generator = alzgan.load(tmp_path)
    assert list(generator.conditions) == ["slice", "age"]
    labels = generator.labels(2, conditions={"slice": [1, 4], "age": 65})
    assert labels[:, 1].tolist() == [-1, 1]
    low, high = generator.conditions["age"][0], generator.conditions["age"][-1]
    assert labels[:, 2].tolist() == pytest.approx([2 * (65 - low) / (high - low) - 1] * 2)
    latents = generator.latents(1).expand(4, -1)
    stack = generator.generate(latents, generator.labels(4, conditions={"slice": [1, 2, 3, 4], "age": 65}))
    assert not torch.equal(stack[0], stack[3])
    # What is not asked for is drawn as the training images have it, image by image.
    drawn = generator.labels(500)
    assert torch.equal(drawn[3:5], generator.labels(2, first=3))
    assert drawn[:, 1].mean().item() == pytest.approx(0, abs=0.15)
    for wrong, told in (({"slice": 9}, "slice goes from 1 to 4"), ({"weight": 1}, "no condition weight")):
        with pytest.raises(UserError, match=told):
            generator.sample(2, conditions=wrong)
    with pytest.raises(UserError, match="3 numbers slice for 2 images"):
        generator.sample(2, conditions={"slice": [1, 2, 3]})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["data.conditions=[class,weight]"], "there is no weight, only class, slice, age"),
        (["data.subjects=none", "data.conditions=[slice]"], "slice of a/0_1.png is not a number"),
        (["model=dcgan"], "but model.numbers=0: choose"),
        (["model.numbers=1"], "but model.numbers=1: choose"),
        (["data.conditions=[subject]"], "there is no subject"),
    ],
)
def test_conditions_that_are_none_are_refused_in_a_line(options, told, stacks: Path, tmp_path: Path):
    with pytest.raises(UserError, match=told):
        session.run(with_numbers(stacks, tmp_path, *options))


def test_a_number_that_says_nothing_is_refused(stacks: Path, tmp_path: Path):
    rows = [f"a/{p}_{s}.png,p{p},{s},70\n" for p in range(10) for s in range(1, 5)]
    table = tmp_path / "same.csv"
    table.write_text(TABLE + "".join(rows))
    with pytest.raises(UserError, match="age is 70 in every training image"):
        session.run(with_numbers(stacks, tmp_path / "run", f"data.subjects=csv:{table}"))


def test_classes_of_few_people_are_warned_of(three_classes: Path, tmp_path: Path, caplog):
    options = ("trainer.max_steps=1", "callbacks.quality=null", "callbacks.samples=null")
    for model, warned in (("cdcgan", True), ("dcgan", False)):
        caplog.clear()
        session.run(small_settings(three_classes, tmp_path / model, f"model={model}", *options))
        found = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        assert any("Fewer than 10 training people in a (8), b (8), c (8)" in line for line in found) == warned


@pytest.fixture
def half_known(stacks: Path) -> Path:
    """A table of the stacks where two people have no class and two others no age; an age is 60 + person."""
    rows = ["file,subject,class,age\n"]
    for person in range(10):
        label, age = "" if person < 2 else "ab"[person % 2], "" if person in (4, 5) else 60 + person
        rows += [f"a/{person}_{place}.png,p{person},{label},{age}\n" for place in range(1, 5)]
    (stacks / "half.csv").write_text("".join(rows))
    return stacks


HALF = ("data.subjects=csv:half.csv", "data.classes=csv", "data.fractions=[1,0,0]")


def test_rows_without_a_class_or_a_number_have_another_ones_label_and_say_so(
    half_known: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    options = (*HALF, "data.conditions=[class,age]")
    data = build_data(with_numbers(half_known, tmp_path, *options))
    with caplog.at_level("INFO"):
        data.setup()
    assert "16 of 40 training images lack class or age: they are trained on without labels" in caplog.messages
    person = np.array([int(name[1:]) for name in data.subjects.subject])
    labels, age = data.dataset.table[:, 0], data.dataset.table[:, 1]
    unlabelled = np.isin(person, (0, 1, 4, 5))
    assert (data.dataset.table[:, 2] == ~unlabelled).all()
    assert data.describe()["unlabelled"] == 16
    # The ages go from 60 to 69, of people 0 and 9: what is known of an unlabelled image counts.
    assert data.describe()["conditions"]["age"][0::32] == [60, 69]
    expected = (2 * person / 9 - 1).astype(np.float32)
    np.testing.assert_allclose(age[~unlabelled], expected[~unlabelled], atol=1e-6)
    whole = {tuple(row) for row in data.dataset.table[~unlabelled, :2].tolist()}
    assert {tuple(row) for row in data.dataset.table[unlabelled, :2].tolist()} <= whole
    assert (labels[person == 4] == 0).all()  # a known class stays
    assert (labels[person == 5] == 1).all()
    assert data.dataset.labels[person < 2].tolist() == [-1] * 8
    assert data.class_shares().tolist() == [0.5, 0.5]
    assert data.image_weights(data.dataset).tolist() == [1 / 40] * 40
    assert set(data.draw_labels(20, "x")[:, 0].tolist()) == {0, 1}
    another = build_data(with_numbers(half_known, tmp_path, *options, "seed=1"))
    another.setup()
    assert another.fingerprint == data.fingerprint  # what is drawn is not the data


def test_unlabelled_images_are_judged_by_the_image_alone_and_made_with_their_label():
    torch.manual_seed(0)
    maps, score = torch.rand(4, 8, 2, 2), torch.rand(4, 1)
    table = torch.tensor([[0, 0.5], [1, -0.5], [1, 0.25], [0, 0]])
    marked = torch.cat([table, torch.tensor([[1.0], [0], [1], [0]])], 1)
    projection = Projection(8, classes=2, numbers=1)
    with_labels = projection(score, maps, table)
    known = torch.tensor([True, False, True, False])
    assert (with_labels != score.flatten()).all()
    assert torch.equal(projection(score, maps, marked), torch.where(known, with_labels, score.flatten()))
    latents = LabelledLatents(5, classes=2, numbers=1)
    assert torch.equal(latents(torch.ones(4, 5), marked), latents(torch.ones(4, 5), table))
    of_classes = Projection(8, classes=2)
    alone = of_classes(score, maps, table[:, 0].long())
    marked = torch.tensor([[0.0, 1], [1, 0], [1, 1], [0, 0]])
    assert torch.equal(of_classes(score, maps, marked), torch.where(known, alone, score.flatten()))


@pytest.mark.parametrize(
    ("conditions", "classes", "unknown"),
    [("[class]", "csv", 8), ("[class,age]", "csv", 8), ("[age]", "folder", 0)],
)
def test_a_model_with_unlabelled_rows_trains_goes_on_and_is_sampled(
    conditions: str, classes: str, unknown: int, half_known: Path, tmp_path: Path
):
    from test_resume import go_on, same_end

    options = (
        HALF[0],
        f"data.classes={classes}",
        f"data.conditions={conditions}",
        "conditioning.strength=1",  # a schedule would follow the run's length
        "callbacks.samples.count=8",
        "callbacks.quality=null",
    )
    session.run(with_numbers(half_known, tmp_path / "whole", *options, "trainer.max_steps=4"))
    session.run(with_numbers(half_known, tmp_path / "part", *options, "trainer.max_steps=2"))
    go_on(tmp_path / "part", "trainer.max_steps=4", "trainer.accelerator=cpu")
    assert same_end(tmp_path / "whole", tmp_path / "part")
    generator = alzgan.load(tmp_path / "whole")
    assert generator.classes == (["a", "b"] if "class" in conditions else [])
    assert len(generator.sample(8)) == 8
    words = [f"ckpt_path={tmp_path / 'whole'}", "n=16", "device=cpu", f"run_dir={tmp_path / 'run'}"]
    composed = compose_config("evaluate", words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alzgan.evaluation.reference.NEEDED_PEOPLE", 1)
        request = request_of(composed, words, tuple(STAGES))
        (found,) = judged(request, runs_to_judge(request))
    assert len(found.candidate.images) == 16
    assert found.candidate.form == INDEPENDENT
    assert (found.reference.train.labels == -1).sum() + (
        found.reference.held_out.labels == -1
    ).sum() == unknown
    assert len(found.reference.train.labelled()) + len(found.reference.held_out.labelled()) == 40 - unknown


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["model=dcgan", "data.conditions=[class]"], "column class, filled in every row, or model=cdcgan"),
        (
            ["data.conditions=[class]", "data.sampling=balanced"],
            "data.sampling=balanced: 8 training images",
        ),
        (["data.conditions=[class,scanner]"], "there is no scanner"),
    ],
)
def test_unlabelled_rows_that_nothing_can_be_done_with_are_refused(
    options: list[str], told: str, half_known: Path, tmp_path: Path
):
    with pytest.raises(UserError, match=told):
        session.run(with_numbers(half_known, tmp_path, *HALF, *options))
