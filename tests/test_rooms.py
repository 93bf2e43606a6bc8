"""The rooms of the house import downwards only."""

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import alzgan

PACKAGE = Path(alzgan.__file__).parent
# From the bottom up; those of one line do not know each other.
FLOORS = (
    ("alzgan", "upstream"),
    ("errors", "text"),
    ("files",),
    ("device", "report", "schedules"),
    ("losses", "augment", "images"),
    ("penalties", "average", "people", "metrics"),
    ("parts", "networks"),
    ("game", "sources"),
    ("gan",),
    ("data",),
    ("callbacks",),
    ("runs",),
    ("benchmarks", "evaluation"),
    ("generation",),
    ("train", "prepare", "benchmark", "evaluate", "generate"),
)
PARTS = ("losses", "penalties", "parts", "augment", "average")  # of the game
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module: str) -> str:
    """The folder, or the file, directly below the package."""
    return module.split(".")[1] if "." in module else module


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports() -> Iterator[tuple[str, str, int]]:
    """Which file imports which, and in what line; also what is imported within functions."""
    for module, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                wholes = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [whole if whole in FILES else node.module for whole in wholes]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            yield from ((module, name, node.lineno) for name in names if name in FILES)


def arrows() -> dict[tuple[str, str], list[str]]:
    """Pairs of rooms, one importing the other, with the places."""
    found = defaultdict(list)
    for module, name, line in imports():
        if room_of(module) != room_of(name):
            found[room_of(module), room_of(name)].append(f"{module}:{line}")
    return found


def test_every_room_has_its_floor():
    rooms = {room_of(module) for module in FILES}
    assert rooms == set(FLOOR)


@pytest.mark.parametrize(("arrow", "places"), arrows().items(), ids=str)
def test_arrows_go_down(arrow: tuple[str, str], places: list[str]):
    importing, imported = arrow
    assert FLOOR[importing] > FLOOR[imported], f"{importing} must not import {imported}: {places}"


def test_no_two_files_import_each_other():
    below = defaultdict(set)
    for module, name, _ in imports():
        below[module].add(name)
    assert (
        len(list(TopologicalSorter(below).static_order())) > 50
    )  # raises CycleError, which names the circle


def test_networks_and_the_game_know_nothing_of_lightning_and_metrics_nothing_of_the_game():
    rooms = [("networks", "lightning"), ("metrics", "lightning"), ("people", "torch")]
    for room, foreign in [*rooms, *((part, "lightning") for part in ("game", *PARTS))]:
        paths = [*(PACKAGE / room).glob("*.py"), *PACKAGE.glob(f"{room}.py")]
        assert paths, room
        for path in paths:
            assert f"import {foreign}" not in path.read_text(), path
            assert f"from {foreign}" not in path.read_text(), path


def test_every_package_that_is_imported_is_declared():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    groups = project["dependencies"], *project["optional-dependencies"].values()
    declared = {re.match(r"[\w-]+", each)[0].lower().replace("_", "-") for group in groups for each in group}
    owners = packages_distributions()
    for module, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            for top in {name.split(".")[0] for name in names} - {"alzgan"} - sys.stdlib_module_names:
                packages = {each.lower().replace("_", "-") for each in owners.get(top, [top])}
                assert packages & declared, f"{module} imports {top}"
