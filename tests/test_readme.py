import re
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import REPOSITORY, settings

README = (REPOSITORY / "README.md").read_text()
PAGES = {
    path: path.read_text().replace("\\\n", "")  # a command can go on in the next line
    for folder in ("", "conf", "conf/study", "tests/benchmarks", "alzgan/*", ".github")
    for path in sorted(REPOSITORY.glob(f"{folder}/*.md".lstrip("/")))
}
TRAININGS = sorted(
    {word for text in PAGES.values() for word in re.findall(r"python -m alzgan\.train [^`\n#]*", text)}
)


@pytest.mark.parametrize("command", TRAININGS)
def test_every_training_command_of_the_readme_composes(command: str):
    arguments = [word for word in shlex.split(command)[3:] if word not in ("-m", "--help")]
    single = [
        # Any one of a group's choices, and of an interval.
        re.sub(r"=tag\(.*", "=1", re.sub(r"=glob\(.*", "=small", word)).split(",")[0]
        for word in arguments
        if not word.startswith(("launcher=", "hydra"))
    ]
    config = settings(*single)
    assert config.model._target_ == "alzgan.gan.GAN"


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"make ([a-z-]+)", README))
    assert {"train", "test", "help", "tensorboard"} <= targets
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=REPOSITORY, check=True, capture_output=True)


def test_make_train_trains_with_settings_that_there_are():
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "train"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.replace("\\\n", " ")
    (command,) = [line for line in recipe.splitlines() if "alzgan.train" in line]
    config = settings(*shlex.split(command.partition("alzgan.train ")[2]))
    assert config.model.generator._target_ == "alzgan.networks.dcgan.Generator"
    assert (config.trainer.max_epochs, config.data.batch_size, config.model.generator.width) == (15, 16, 32)
    assert config.model.diversity == 0.9


def test_the_readme_names_every_verb_and_only_those_that_exist():
    verbs = {path.stem for path in (REPOSITORY / "alzgan").glob("*.py") if "__main__" in path.read_text()}
    assert set(re.findall(r"python -m alzgan\.(\w+)", README)) == verbs


def test_the_readme_can_be_read_in_five_minutes():
    assert len(README.splitlines()) <= 160


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_pictures_and_links_of_a_page_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)]*)\)", PAGES[page]):
        name, _, heading = target.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), target
        headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE) if heading else []
        assert not heading or heading in [each.lower().replace(" ", "-") for each in headings], target
