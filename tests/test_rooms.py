"""The rooms of the house import downwards only."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import alzgan

PACKAGE = Path(alzgan.__file__).parent
# From the bottom up; those of one line do not know each other.
FLOORS = (
    ("alzgan",),
    ("errors", "text"),
    ("files", "upstream"),
    ("device",),
    ("schedules", "losses", "networks", "augment", "metrics", "images"),
    ("penalties", "average", "people"),
    ("gan", "sources"),
    ("data",),
    ("callbacks",),
    ("runs",),
    ("benchmarks",),
    ("train", "prepare", "benchmark"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module: str) -> str:
    """The folder, or the file, directly below the package."""
    return module.split(".")[1] if "." in module else module


def imports() -> dict[tuple[str, str], list[str]]:
    """Pairs of rooms, one importing the other, with the places; also what is imported within functions."""
    arrows = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text())):
            targets = []
            if isinstance(node, ast.ImportFrom) and node.module:
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = whole if node.module == "alzgan" else [node.module]
            elif isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            for target in targets:
                if target.split(".")[0] == "alzgan" and room_of(target) != room_of(module):
                    arrows[room_of(module), room_of(target)].append(f"{module}:{node.lineno}")
    return arrows


def test_every_room_has_its_floor():
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if not path.name.startswith("_")}
    assert rooms | {"alzgan"} == set(FLOOR)


@pytest.mark.parametrize(("arrow", "places"), imports().items(), ids=str)
def test_arrows_go_down(arrow: tuple[str, str], places: list[str]):
    importing, imported = arrow
    assert FLOOR[importing] > FLOOR[imported], f"{importing} must not import {imported}: {places}"


def test_networks_know_nothing_of_lightning_and_metrics_nothing_of_the_game():
    for room, foreign in (("networks", "lightning"), ("metrics", "lightning"), ("people", "torch")):
        for path in (PACKAGE / room).glob("*.py"):
            assert f"import {foreign}" not in path.read_text(), path
            assert f"from {foreign}" not in path.read_text(), path
