from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small_settings
from PIL import Image
from test_game import play
from torch import nn

from alzgan.gan import Turn
from alzgan.networks.conditioning import LabelledLatents, Projection
from alzgan.networks.dcgan import Discriminator, Generator
from alzgan.runs import session
from alzgan.runs.build import build_model
from alzgan.runs.checkpoints import load_checkpoint


def test_the_label_is_embedded_beside_the_latents():
    labelled = LabelledLatents(3, classes=2)
    latents, labels = torch.rand(4, 3), torch.tensor([0, 1, 1, 0])
    maps = labelled(latents, labels)
    assert maps.shape == (4, labelled.width, 1, 1) == (4, 6, 1, 1)
    assert torch.equal(maps[:, :3, 0, 0], latents)
    assert torch.equal(maps[:, 3:, 0, 0], labelled.embedding.weight[labels])
    assert torch.equal(LabelledLatents(3)(latents, None)[..., 0, 0], latents)


def test_the_logit_is_the_score_and_the_inner_product_with_the_label():
    projection = Projection(2, classes=2)
    with torch.no_grad():
        projection.embedding.weight.copy_(torch.tensor([[1.0, 2.0], [-3.0, 0.5]]))
    maps = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[:, :, None, None].repeat(1, 1, 2, 1)  # sums: (2, 4), (6, 8)
    score = torch.tensor([10.0, 20.0])[:, None, None, None]
    found = projection(score, maps, torch.tensor([0, 1]))
    assert found.tolist() == [10 + 2 * 1 + 4 * 2, 20 - 6 * 3 + 8 * 0.5]
    assert Projection(2)(score, maps, None).tolist() == [10, 20]


@pytest.mark.parametrize("classes", [1, 4, 1000])
def test_another_label_is_another_image_and_another_verdict(classes: int):
    torch.manual_seed(0)
    generator, discriminator = Generator(7, 32, 1, 4, classes), Discriminator(32, 1, 4, classes)
    latents = torch.randn(1, 7).repeat(2, 1)
    images = generator(latents, torch.tensor([0, classes - 1]))
    logits = discriminator(images[:1].repeat(2, 1, 1, 1), torch.tensor([0, classes - 1]))
    assert images.shape == (2, 1, 32, 32)
    assert torch.equal(images[0], images[1]) == torch.equal(logits[0], logits[1]) == (classes == 1)


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
    with Image.open(tmp_path / "samples/step_0000002.png") as grid:
        assert grid.size == (4 * 34 + 2, 3 * 34 + 2)


def test_fakes_take_the_labels_of_the_reals(recwarn):
    gan = build_model(small_settings(Path("unused"), Path("unused"), "model=cdcgan", "model.classes=3"))
    seen: list[Turn] = []
    original = gan.alternation
    gan.alternation = lambda turns, due: (seen.extend(turns), original(turns, due))[1]
    labels = torch.tensor([2, 0, 1, 1])
    pairs = [(torch.rand(4, 1, 32, 32), labels)]
    play(gan, [pairs[0][0]], labels=labels)
    assert torch.equal(seen[0].labels, labels)
    assert torch.equal(seen[0].fake_labels, labels)
