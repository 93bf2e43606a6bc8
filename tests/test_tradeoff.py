"""The trade-off plot: its dots, bands and lines stand for the values, and no name covers anything."""

import itertools
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from study import picture
from study_aided import in_picture
from study_rows import FOLDER, Found

from alzgan.report.labels import line_to, placed
from alzgan.report.tradeoff import DOT, extent, tradeoff

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
FAR = {"mean": 4.0, "low": 3.0, "high": 6.0}
NEAR = {"mean": 0.01, "low": 0.002, "high": 0.025}
PHONE = 390 - 2 * 13  # pixels beside the page's margins


def row(group: str, *seeds: tuple[float, float], step: int = 100, **changes: Any) -> dict[str, Any]:
    """A row whose seeds have these distances and shares."""
    far, near = np.array(seeds).T
    cells = {
        metric: {"values": values.tolist(), "mean": values.mean(), "unseen": unseen, "of": {"words": metric}}
        for metric, values, unseen in (("distance", far, FAR), ("share", near, NEAR))
    }
    about = {"group": group, "name": f"{group}, {step} steps", "step": step, "others": False}
    return {**about, "cells": cells, **changes}


def drawing(*rows: dict[str, Any], **changes: Any) -> ElementTree.Element:
    return ElementTree.fromstring(tradeoff("plot", rows, "distance", "share", **changes))


def part(figure: ElementTree.Element, name: str) -> ElementTree.Element:
    return next(each for each in figure.iter(f"{SVG}g") if each.get("id", "").endswith(f"-{name}"))


def pixels(figure: ElementTree.Element, name: str) -> np.ndarray:
    """Positions (N, 2) of the markers of a part."""
    uses = part(figure, name).iter(f"{SVG}use")
    return np.array([[float(each.get(axis, "")) for axis in "xy"] for each in uses])


def corners(path: ElementTree.Element) -> np.ndarray:
    """Positions (N, 2) of a path's points."""
    return np.array(re.findall(r"[ML] (\S+) (\S+)", path.get("d", "")), float)


def values(figure: ElementTree.Element, places: np.ndarray) -> np.ndarray:
    """The values at pixels, by the numbers at the axes' ticks."""
    found = []
    for column, (axis, scale, back) in enumerate((("x", np.log, np.exp), ("y", np.sqrt, np.square))):
        ticks = []
        for tick in figure.iter(f"{SVG}g"):
            if re.fullmatch(rf"\w+-{axis}tick_\d+", tick.get("id", "")):
                label = tick.find(f".//{SVG}text")
                if label is not None:
                    mark = next(tick.iter(f"{SVG}use"))
                    ticks.append((float(label.text or ""), float(mark.get(axis, ""))))
        numbers, at = np.array(ticks).T
        line = np.polynomial.Polynomial.fit(at, scale(numbers), 1)
        np.testing.assert_allclose(line(at), scale(numbers), atol=1e-4)  # the axis has this scale
        found.append(back(line(places[:, column])))
    return np.stack(found, -1)


def names(figure: ElementTree.Element, wanted: set[str]) -> dict[str, np.ndarray]:
    """Left, top, right and bottom of the names in the picture."""
    boxes = {}
    for each in figure.iter(f"{SVG}text"):
        if each.text in wanted:
            assert each.text not in boxes, "named twice"
            left, baseline = (float(each.get(axis, "")) for axis in "xy")
            width, height = extent(each.text)
            boxes[each.text] = np.array(
                [left, baseline - 0.75 * height, left + width, baseline + 0.2 * height]
            )
    return boxes


def test_dots_are_the_seeds_values_and_squares_those_of_others():
    figure = drawing(
        row("a", (8.0, 0.02), (12.0, 0.0)), row("b", (40.0, 0.2)), row("folder", (6.0, 0.3), others=True)
    )
    np.testing.assert_allclose(
        values(figure, pixels(figure, "seeds")), [(2, 2), (3, 0), (10, 20)], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(values(figure, pixels(figure, "others")), [(1.5, 30)], rtol=1e-4)


def test_others_differ_in_shape_and_colour():
    figure = drawing(row("a", (8.0, 0.02)), row("folder", (6.0, 0.3), others=True))
    shapes, colours = (
        [get(part(figure, name)) for name in ("seeds", "others")]
        for get in (
            lambda of: next(of.iter(f"{SVG}path")).get("d"),
            lambda of: next(of.iter(f"{SVG}use")).get("style"),
        )
    )
    assert "C" in shapes[0]
    assert "C" not in shapes[1]  # straight lines
    assert "#d55e00" in colours[0]
    assert "fill: currentColor" in colours[1]
    drawn = {each.text for each in figure.iter(f"{SVG}text")}
    assert {"seed of a recipe", "samples of others", "unseen people, 95 %", "a", "folder"} <= drawn
    assert "samples of others" not in "".join(drawing(row("a", (8.0, 0.02), (9.0, 0.1))).itertext())


@pytest.mark.parametrize(("others", "colour"), [(False, "#d55e00"), (True, "currentColor")])
def test_a_line_from_step_to_step_has_the_colour_of_its_dots(others: bool, colour: str):
    figure = drawing(row("a", (8.0, 0.02), others=others), row("a", (6.0, 0.3), step=200, others=others))
    styles = {path.get("style", "") for path in figure.iter(f"{SVG}path")}
    assert [each for each in styles if "stroke-width: 1.2" in each] == [
        f"fill: none; stroke: {colour}; stroke-width: 1.2; stroke-linecap: square"
    ]


def test_bands_are_the_interval_of_unseen_people():
    figure = drawing(row("a", (8.0, 0.02), (12.0, 0.05)))
    for column, (name, ends) in enumerate((("unseen-x", (0.75, 1.5)), ("unseen-y", (0.2, 2.5)))):
        path = next(part(figure, name).iter(f"{SVG}path"))
        found = values(figure, corners(path))[:, column]
        np.testing.assert_allclose((found.min(), found.max()), ends, rtol=1e-4)


def test_a_line_joins_the_means_from_step_to_step_and_hairlines_lead_to_the_seeds():
    figure = drawing(
        row("a", (8.0, 0.09), step=300),
        row("a", (12.0, 0.0), (20.0, 0.08), step=100),
        row("a", (10.0, 0.02), step=200),
    )
    lines = {
        tuple(np.round(values(figure, corners(path)), 3).ravel())
        for path in figure.iter(f"{SVG}path")
        if "stroke: #d55e00; stroke-width" in path.get("style", "") and len(corners(path)) > 1
    }
    assert (4, 4, 2.5, 2, 2, 9) in lines
    assert {(4, 4, 3, 0), (4, 4, 5, 8)} <= lines


def test_a_recipe_is_named_once_at_its_last_step():
    figure = drawing(*(row("a", (40 - step / 10, step / 1e4), step=step) for step in (300, 100, 200)))
    box = names(figure, {"a"})["a"]
    last = pixels(figure, "seeds")[-1]
    gaps = [np.hypot(*(dot - np.clip(dot, box[:2], box[2:]))) for dot in pixels(figure, "seeds")]
    assert gaps[-1] == min(gaps) < 8
    assert values(figure, last[None])[0] == pytest.approx([2.5, 3], rel=1e-4)
    only = drawing(*(row("", (40 - step / 10, 0.1), step=step, name=f"{step} steps") for step in (100, 200)))
    assert set(names(only, {"100 steps", "200 steps"})) == {"200 steps"}


def test_no_name_covers_another_or_a_dot_among_twenty_recipes_with_near_values():
    draws = np.random.default_rng(0).uniform((9, 0.012), (14, 0.03), (20, 2, 2))
    recipes = {f"model.parts.weight={index}": seeds for index, seeds in enumerate(draws)}
    figure = drawing(*(row(name, *map(tuple, seeds)) for name, seeds in recipes.items()))
    boxes = names(figure, set(recipes))
    assert set(boxes) == set(recipes)
    for one, other in itertools.combinations(boxes.values(), 2):
        assert (one[2:] < other[:2]).any() or (other[2:] < one[:2]).any()
    dots = pixels(figure, "seeds")
    assert len(dots) == 40
    width, height = (float(each) for each in figure.get("viewBox", "").split()[2:])
    for box in boxes.values():
        assert (np.hypot(*(dots - np.clip(dots, box[:2], box[2:])).T) > DOT / 2).all()
        assert box.min() > 0
        assert box[2] < width
        assert box[3] < height


def test_a_name_without_room_is_counted():
    crowd = [row(f"{'a long name ' * 2}{index}", (9 + index / 50, 0.02)) for index in range(45)]
    figure = drawing(*crowd)
    named = len(names(figure, {each["group"] for each in crowd}))
    assert 20 < named < 45
    assert f"{45 - named} not named" in "".join(figure.itertext())


SQUARE = (0, 0, 100, 100)
NO_LINES = np.empty((0, 2))
MIDDLE = np.array([[50.0, 50.0]])


def test_a_label_lies_beside_its_point_with_a_line_to_it_if_dots_keep_it_far():
    (near,) = placed(MIDDLE, [(20, 10)], MIDDLE, 3, NO_LINES, SQUARE)
    assert near is not None
    assert near.tolist() == [55, 45, 75, 55]  # at the right, at the point's height
    assert line_to(MIDDLE[0], near) is None
    (far,) = placed(MIDDLE, [(20, 10)], MIDDLE, 25, NO_LINES, SQUARE)
    assert far is not None
    end = line_to(MIDDLE[0], far)
    assert end is not None
    assert 27 <= np.hypot(*(end - MIDDLE[0])) < 31
    assert placed(MIDDLE, [(20, 10)], MIDDLE, 99, NO_LINES, SQUARE) == [None]
    assert placed(MIDDLE, [(200, 10)], MIDDLE, 3, NO_LINES, SQUARE) == [None]


def test_a_label_covers_no_line_if_there_is_room_near():
    line = np.stack([np.linspace(50, 100, 20), np.full(20, 50.0)], -1)
    (box,) = placed(MIDDLE, [(20, 10)], MIDDLE, 3, line, SQUARE)
    assert box is not None
    assert box[0] > 50
    assert box[3] < 50 or box[1] > 50
    (box,) = placed(
        MIDDLE, [(20, 10)], MIDDLE, 3, np.vstack([line + np.array([0, y]) for y in range(-40, 41)]), SQUARE
    )
    assert box is not None
    assert box[2] < 50


def test_a_line_to_a_label_crosses_no_label_if_there_is_room_near():
    point = np.array([[5.0, 15.0]])
    wall = np.stack([np.arange(0, 65, 5.0), np.full(13, 40.0)], -1)
    one, two = placed(point.repeat(2, 0), [(20, 26), (20, 10)], np.vstack([point, wall]), 3, NO_LINES, SQUARE)
    assert one is not None
    assert two is not None
    assert one.tolist() == [10, 2, 30, 28]  # at the right, so that a place behind it is the nearest
    assert two[1] >= 45  # behind the wall instead


def test_a_phone_shows_it_in_full_with_text_of_eleven_pixels():
    text = tradeoff("plot", [row("a", (8.0, 0.02), (12.0, 0.0))], "distance", "share")
    width = float(re.findall(r'width="(\S+)pt"', text)[0]) * 96 / 72
    sizes = [float(each) * 96 / 72 for each in re.findall(r"font(?:-size)?: (\S+?)px", text)]
    assert width <= PHONE
    assert len(sizes) > 5
    assert min(sizes) >= 11


def background(text: str) -> np.ndarray | None:
    """The corners of what is painted first, if it is white."""
    path = next(ElementTree.fromstring(text).iter(f"{SVG}g")).find(f".//{SVG}path")
    return corners(path) if path is not None and path.get("style") == "fill: #ffffff" else None


def test_a_file_of_its_own_is_black_on_white():
    rows = [row("a", (8.0, 0.02), (12.0, 0.0)), row("folder", (6.0, 0.3), others=True)]
    inside, alone = (tradeoff("plot", rows, "distance", "share", alone=each) for each in (False, True))
    assert "currentColor" in inside
    assert background(inside) is None
    assert "currentColor" not in alone
    size = [float(each) for each in ElementTree.fromstring(alone).get("viewBox", "").split()[2:]]
    edges = background(alone)
    assert edges is not None
    assert [*edges.min(0), *edges.max(0)] == [0, 0, *size]


def test_less_than_two_dots_are_no_picture():
    one = row("a", (8.0, 0.02))
    unknown = row("b", (9.0, 0.02), cells={"distance": None, "share": None})
    assert tradeoff("plot", [one, unknown], "distance", "share") == ""
    assert tradeoff("plot", [], "", "") == ""


def test_the_picture_of_the_study_shows_its_results():
    found = Found.read(FOLDER)
    written, anew = (
        ElementTree.fromstring(text) for text in ((FOLDER / "tradeoff.svg").read_text(), picture(found))
    )
    rows = [
        row
        for row in found.photographs["over_seeds"]
        if (row["settings"]["study"], row["step"]) in in_picture(found)
    ]
    for dots in ("seeds", "others"):
        np.testing.assert_allclose(pixels(written, dots), pixels(anew, dots))
    assert len(pixels(written, "seeds")) == sum(len(row["runs"]) for row in rows) > 1
    wanted = {row["settings"]["study"] for row in rows}
    assert names(written, wanted).keys() == wanted
