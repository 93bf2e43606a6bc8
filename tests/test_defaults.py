"""A default is one value: what a file of `conf/` says, the constructor that it is for says too."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import settings
from omegaconf import DictConfig, OmegaConf

from alzgan.networks.dcgan import Generator
from alzgan.networks.heads import Heads
from alzgan.runs.config import CONF, compose_config
from alzgan.runs.signatures import arguments_of, locate
from alzgan.schedules import Schedule

FILES = sorted(CONF.rglob("*.yaml"))
DIFFERENT = {  # from the constructor, and why
    ("PhantomDataModule", "batch_size"): "a phantom has some 800 slices to train on: 25 steps an epoch",
}
GROUPS = ("penalties", "parts", "augment", "average")
ELSEWHERE = {  # no file of its class has it
    **dict.fromkeys(GROUPS, "a group of its own"),
    **dict.fromkeys(("classes", "numbers", "diversity"), "conf/conditioning"),
}


def ours(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Place, settings and class of each node that names a class of alzgan; schedules have no usual values."""
    if not isinstance(node, dict):
        return
    target = node.get("_target_", "")
    if target.startswith("alzgan.") and not target.startswith(("alzgan.schedules.", "alzgan.runs.")):
        yield place, {name: node[name] for name in node if name[0] != "_"}, locate(place, target)
    for name, child in node.items():
        yield from ours(child, f"{place}.{name}")


def defaults_of(target: type) -> dict[str, Any]:
    """The defaults of a constructor, and of those that it hands its settings on to."""
    found: dict[str, Any] = {}
    parts = getattr(target, "shared_out_to", ())
    for each in (base for kind in (target, *parts) for base in kind.__mro__[-2::-1]):
        if "__init__" in vars(each):
            arguments = inspect.signature(each).parameters.values()
            found |= {a.name: a.default for a in arguments if a.default is not a.empty}
    return found


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def differences(config: DictConfig, resolve: bool = False) -> list[str]:
    return [
        f"{place}.{name}={given[name]}, {target.__name__} has {default}"
        for place, given, target in ours(OmegaConf.to_container(config, resolve=resolve))
        for name, default in defaults_of(target).items()
        if name in given
        and "${" not in str(given[name])
        and (target.__name__, name) not in DIFFERENT
        and name not in GROUPS
        and plain(given[name]) != plain(default)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONF).as_posix())
def test_a_file_says_what_the_constructor_says(path):
    assert not differences(OmegaConf.load(path))


def test_a_run_without_choices_has_the_constructors_defaults():
    assert not differences(settings("data=mri", "data.root=null", "run_dir=x"), resolve=True)


@pytest.mark.parametrize("model", ["dcgan", "cdcgan", "residual"])
def test_every_setting_of_a_constructor_is_in_a_file(model: str):
    composed = settings("data=mri", f"model={model}", "data.root=x", "run_dir=y")
    for place, given, target in ours(OmegaConf.to_container(composed)):
        missing = set(arguments_of(target)[0] or ()) - set(given) - set(ELSEWHERE) - {"run_dir", "purge_step"}
        assert not missing, place


def test_a_network_has_its_own_options_and_those_of_its_labels():
    class Own(Generator):
        def __init__(self, gain: float = 1.0, **options: Any):
            super().__init__(**options)

    names, hints = arguments_of(Generator)
    own = ["latent_dim", "image_size", "channels", "width", "upsampling"]
    assert names == [*own, "classes", "numbers", "strength"]
    assert hints["strength"] == float | Schedule
    assert arguments_of(Own)[0] == ["gain", *names]
    assert set(arguments_of(Heads)[0]) == {"view", "width", "unlabelled", "classes", "numbers", "strength"}
    assert defaults_of(Heads) == {"width": 32, "unlabelled": 0.0, "classes": 0, "numbers": 0, "strength": 1.0}


def test_what_may_differ_does():
    assert all(why for why in DIFFERENT.values())
    (path,) = (path for path in FILES if path.match("data/phantom.yaml"))
    ((_, given, target),) = ours(OmegaConf.to_container(OmegaConf.load(path)))
    assert given["batch_size"] != defaults_of(target)["batch_size"]


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (CONF / "model").glob("*.yaml")))
def test_a_recipe_is_the_same_for_all_verbs_that_train(recipe: str):
    trained, measured = (compose_config(verb, [f"model={recipe}"]) for verb in ("train", "benchmark"))
    assert trained.model == measured.model
