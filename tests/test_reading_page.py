"""The page of a reading study in a real browser, from the first key to the file of answers."""

import asyncio
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, Tab, chromium
from test_reading import study

from alzgan.evaluation.answers import read_answers
from alzgan.evaluation.reading import PAGE
from alzgan.report.reading import reading_page

pytest.importorskip("aiohttp")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]
SHOWN = """(() => {
    const bytes = document.querySelectorAll("canvas")[%d].getContext("2d").getImageData(2, 3, 1, 1).data;
    return [...bytes];
})()"""
SMALLEST = """Math.min(...[...document.querySelectorAll("button")].map(each => each.getBoundingClientRect())
    .filter(box => box.width).map(box => Math.min(box.width, box.height)))"""
NO_FORWARD = "document.getElementById('forward').disabled"
FITS = """(({ scrollWidth, scrollHeight }) => scrollWidth <= innerWidth && scrollHeight <= innerHeight)(
    document.documentElement)"""


async def count(tab: Tab) -> str:
    return await tab.value("document.getElementById('count').textContent")


async def next_image(tab: Tab, told: str) -> None:
    """Wait until the count is as told, and until answers are no slips any more."""
    while await count(tab) != told:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.25)


async def grey(tab: Tab, image: int = 0) -> int:
    red, green, blue, opaque = await tab.value(SHOWN % image)
    assert (red, red, 255) == (green, blue, opaque)
    return red


async def begin(tab: Tab, page: Path, name: str, phone: bool) -> None:
    width, height = (390, 844) if phone else (1280, 800)
    await tab.open(page, width, height, phone)
    await tab.value(f"document.getElementById('reader').value = {name!r}")
    await (tab.tap if phone else tab.click)("#begin")
    assert await tab.value(FITS)
    assert await tab.value(SMALLEST) >= 44


async def saved(tab: Tab, downloads: Path, touch: bool = False) -> list[dict[str, str]]:
    await (tab.tap if touch else tab.click)(".save")
    file = downloads / "answers.csv"
    while not file.exists() or not file.stat().st_size:  # the browser creates it empty, to keep its name
        await asyncio.sleep(0.05)
    with file.open(encoding="utf-8-sig", newline="") as content:
        return list(csv.DictReader(content))


def drive(folder: Path, steps: Any) -> None:
    async def run() -> None:
        async with chromium(folder / "profile", folder) as tab:
            await steps(tab)

    asyncio.run(asyncio.wait_for(run(), 100))


def test_a_reader_with_a_keyboard_goes_back_pauses_closes_the_page_and_saves(tmp_path: Path):
    found = study(n=6)
    found.write(tmp_path)
    greys = found.shown.pixels[found.order[:, 0], 0, 0, 0].tolist()

    async def first(tab: Tab) -> None:
        await begin(tab, tmp_path / PAGE, '=1+"A"', phone=False)
        for place, key in enumerate("616"):
            await next_image(tab, f"{place + 1} of 6")
            assert await grey(tab) == greys[place]
            await tab.press(key)
        await next_image(tab, "4 of 6")
        await tab.press("ArrowLeft")
        await next_image(tab, "3 of 6")
        assert await grey(tab) == greys[2]
        assert await tab.value("document.querySelector('[aria-pressed=true]').dataset.answer") == "6"
        await tab.press("7")  # no answer
        await tab.press("2")
        await next_image(tab, "4 of 6")
        await tab.press("p")
        assert not await tab.value("document.querySelector('canvas').checkVisibility()")
        await tab.press("3")  # not while it pauses
        assert await count(tab) == "3 of 6 answered"
        await tab.press("p")
        await next_image(tab, "4 of 6")
        assert await tab.value("document.getElementById('progress').value") == 3

    async def second(tab: Tab) -> None:
        await tab.open(tmp_path / PAGE, 1280, 800)
        assert await tab.value("document.getElementById('reader').value") == '=1+"A"'
        assert await tab.value("document.getElementById('begin').textContent") == "Continue (3 of 6 answered)"
        # Another reader does not go on under another name.
        await tab.value("window.confirm = text => { window.asked = text; return false }")
        await tab.value("document.getElementById('reader').value = 'B'")
        await tab.click("#begin")
        assert 'are of =1+"A". Are they yours, B?' in await tab.value("window.asked")
        assert await tab.value("view") == "start"
        await tab.value("document.getElementById('reader').value = state.reader")
        await tab.click("#begin")
        for place, key in enumerate("345", 3):
            await next_image(tab, f"{place + 1} of 6")
            assert await grey(tab) == greys[place]
            await tab.press(key)
        rows = await saved(tab, tmp_path)
        assert [row["answer"] for row in rows] == list("612345")
        assert {row["reader"] for row in rows} == {'\'=1+"A"'}
        assert all(0.2 < float(row["seconds"]) < 60 for row in rows)

    drive(tmp_path, first)
    drive(tmp_path, second)
    (answers,) = read_answers([str(tmp_path / "answers.csv")], 6)
    assert answers.reader == '=1+"A"'
    assert found.table([answers]).tolist() == [[6, 1, 2, 3, 4, 5]]


def test_a_reader_touches_images_on_a_phone_and_saves_in_a_pause(tmp_path: Path):
    found = study("three", n=5)
    found.write(tmp_path)
    greys = found.shown.pixels[:, 0, 0, 0].numpy()[found.order].tolist()

    async def steps(tab: Tab) -> None:
        await begin(tab, tmp_path / PAGE, "Jörg", phone=True)
        for place, where in enumerate([".frame:nth-child(3) canvas", "[data-answer='2']", ".frame canvas"]):
            await next_image(tab, f"{place + 1} of 5")
            assert [await grey(tab, image) for image in range(3)] == greys[place]
            await tab.tap(where)
        await next_image(tab, "4 of 5")
        assert await tab.value(NO_FORWARD)  # it has no answer yet
        for told in ("3 of 5", "2 of 5"):
            await tab.tap(".back")
            await next_image(tab, told)
        assert not await tab.value(NO_FORWARD)
        await tab.tap("#forward")
        await next_image(tab, "3 of 5")
        await tab.tap("[data-answer='1']")
        await next_image(tab, "4 of 5")
        await tab.tap("#pause")
        assert await tab.value(SMALLEST) >= 44
        rows = await saved(tab, tmp_path, touch=True)
        assert [(row["reader"], row["item"], row["answer"]) for row in rows] == [
            ("Jörg", "1", "3"),
            ("Jörg", "2", "2"),
            ("Jörg", "3", "1"),
        ]

    drive(tmp_path, steps)


def test_the_second_of_two_quick_answers_is_a_slip(tmp_path: Path):
    study(n=4).write(tmp_path)

    async def steps(tab: Tab) -> None:
        await begin(tab, tmp_path / PAGE, "A", phone=False)
        for milliseconds, told in ((100_000, "2 of 4"), (100_100, "2 of 4"), (100_300, "3 of 4")):
            await tab.value(f"performance.now = () => {milliseconds}")
            await tab.press("1")
            assert await count(tab) == told

    drive(tmp_path, steps)


def test_a_reader_goes_on_in_the_tab_that_was_used_last_and_a_damaged_store_is_forgotten(tmp_path: Path):
    found = study(n=4)
    found.write(tmp_path)

    async def steps(tab: Tab) -> None:
        await begin(tab, tmp_path / PAGE, "A", phone=False)
        await next_image(tab, "1 of 4")
        await tab.press("1")
        # Another tab keeps two more answers, and this one gets the browser's event.
        await tab.value("""{
            const kept = JSON.stringify({ reader: "A", answers: [1, 6, 5], seconds: [1, 1, 1] });
            localStorage.setItem(key, kept);
            dispatchEvent(new StorageEvent("storage", { key }));
        }""")
        assert await tab.value("document.getElementById('begin').textContent") == "Continue (3 of 4 answered)"
        await tab.click("#begin")
        await next_image(tab, "4 of 4")
        await tab.press("2")
        rows = await saved(tab, tmp_path)
        assert [row["answer"] for row in rows] == list("1652")
        for damaged in (
            "{",
            "7",
            '{"reader": "A", "answers": [1, 9], "seconds": [1, 1]}',
            '{"reader": "A", "answers": [1, 1, 1, 1, 1], "seconds": []}',
            '{"reader": "A", "answers": [1], "seconds": ["1"]}',
            '{"answers": [1], "seconds": [1]}',
        ):
            await tab.value(f"localStorage.setItem(key, {damaged!r})")
            await tab.open(tmp_path / PAGE, 1280, 800)
            told = await tab.value("[kept, document.getElementById('begin').textContent]")
            assert told == [True, "Start"], damaged

    drive(tmp_path, steps)


def test_the_page_says_that_a_browser_keeps_nothing_and_shows_colours(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 3, 4, 6), np.uint8)
    page = tmp_path / "private.html"
    forbidden = (
        "<script>Object.defineProperty(window, 'localStorage', {get() { throw Error() }})</script><script>"
    )
    page.write_text(reading_page("ab", "one", pixels).replace("<script>", forbidden, 1))

    async def steps(tab: Tab) -> None:
        await begin(tab, page, "A", phone=False)
        for place in range(4):
            await next_image(tab, f"{place + 1} of 4")
            assert await tab.value(SHOWN % 0) == [*pixels[place, 0, :, 3, 2].tolist(), 255]
            await tab.press("1")
        assert "save answers.csv at the end" in await tab.value("document.getElementById('kept').textContent")
        assert len(await saved(tab, tmp_path)) == 4

    drive(tmp_path, steps)
