"""The page of an evaluation holds everything, runs nothing, and opens without a network."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alzgan.evaluate import lines
from alzgan.evaluation import copies, fidelity
from alzgan.evaluation.methods import methods
from alzgan.evaluation.seeds import over_seeds
from alzgan.metrics.anatomy import WASSERSTEIN
from alzgan.report.page import comparison, number, overview, page, rows_of_others, share, write_report
from alzgan.report.pictures import Picture

METRICS = (*fidelity.METRICS, *copies.METRICS, WASSERSTEIN)
VOID = {"meta", "img", "br", "link", "hr", "input"}
HOSTILE = "<script>alert(1)</script>"


def one_number(**changes: Any) -> dict[str, Any]:
    plain = {
        "stage": "fidelity",
        "metric": "kernel_distance",
        "space": "pixels",
        "extractor": "pixels-v1",
        "against": "held-out",
        "label": None,
        "value": 0.0123,
        "n": 1000,
        "people": 31,
        "unseen": {"mean": 0.002, "low": 0.001, "high": 0.003, "deviation": 0.0005, "draws": 20},
        "better": "lower",
        "seed": 0,
        "limit": 0.0035,
        "within": False,
        "ratio": 6.15,
        "percentile": 100.0,
    }
    return {**plain, **changes}


def candidate(name: str = "outputs/run1", **changes: Any) -> dict[str, Any]:
    share = {"better": "higher", "ratio": None}
    edges = [0.8, 0.9, 1.0]
    plain = {
        "name": name,
        "kind": "checkpoint",
        "sha256": "ab" * 32,
        "step": 100,
        "weights": "average",
        "n": 2000,
        "expected_coverage": 0.969,
        "notes": ["a note"],
        "verdicts": [
            {
                "question": "fidelity",
                "asks": "fidelity?",
                "answer": "bad",
                "text": "Not as close: 6.2 times theirs",
            },
            {"question": "copies", "asks": "copies?", "answer": "good", "text": "No copies"},
            {"question": "utility", "asks": "utility?", "answer": "cannot tell", "text": "Cannot tell"},
        ],
        "numbers": [
            one_number(),
            one_number(metric="recall", value=0.31, within=False, **share),
            one_number(metric="recall", value=0.8, within=True, label=HOSTILE, **share),
            one_number(stage="copies", metric="authenticity", value=0.7, within=True, **share),
            one_number(stage="anatomy", metric="wasserstein", space="brain_area", value=0.5),
        ],
        "curves": [
            {
                "metric": metric,
                "space": "pixels",
                "n": [250, 500],
                "samples": [3.0, 2.0],
                "unseen": [2.0, 1.0],
                "samples_at_infinity": 1.0,
                "unseen_at_infinity": 0.0,
            }
            for metric in ("frechet", "mind")
        ],
        "copies": {
            "samples": 2000,
            "threshold": 0.948,
            "most": "99 of 100",
            "above": 12,
            "share": 0.006,
            "share_upper": 0.0097,
            "certain": 0.985,
            "certain_count": 3,
            "unseen_low": -0.001,
            "unseen_high": 0.02,
            "held_out_images": 1312,
            "held_out_people": 41,
            "histogram": {"edges": edges, "samples": [1900, 100], "unseen": [1300, 12]},
            "pairs": [{"sample": 17, "file": f"AD/{HOSTILE}.png", "person": "sub-1", "r": 0.991}],
        },
        "anatomy": {
            "measures": [
                {"name": "brain_area", "unit": "share of the image", "edges": edges}
                | {side: [3, 4] for side in ("samples", "train", "held_out")}
            ]
        },
        "utility": {
            "classes": ["A", "B"],
            "people": 41,
            "seeds": 6,
            "updates": 600,
            "detectable": 0.08,
            "unit": "probability",
            "arms": [
                {"name": name, "difference": difference, "verdict": verdict}
                | {
                    score: {"mean": 0.55, "low": 0.5, "high": 0.6}
                    for score in ("balanced_accuracy", "macro_f1", "auc")
                }
                for name, difference, verdict in (
                    ("real", None, None),
                    (
                        "real + synthetic 1",
                        {"mean": 0.02, "low": -0.03, "high": 0.07, "p": 0.4, "p_holm": 1.0},
                        "cannot tell",
                    ),
                )
            ],
        },
        "reading": {
            "page": "ab12",
            "mode": "three",
            "control": True,
            "items": 40,
            "real": {"images": 80, "people": 31},
            "found": {
                "all": {"accuracy": {"value": 0.41, "low": 0.3, "high": 0.52}},
                "readers": [
                    {"name": name, "answered": 39, "seconds": 2.5}
                    | {"accuracy": {"value": 0.41, "low": 0.26, "high": 0.56}}
                    for name in (HOSTILE, "B")
                ],
            },
        },
        "seconds": {"fidelity": 40.2},
    }
    return {**plain, **changes}


def evaluation(*candidates: dict[str, Any]) -> dict[str, Any]:
    return {
        "alzgan": "0.2.0",
        "command": ["evaluate.py", f"samples={HOSTILE}"],
        "seed": 0,
        "same_data": True,
        "provenance": {
            "git": {"commit": "8876864f00aa", "dirty": True},
            "python": "3.11.2",
            "packages": {"torch": "2.14.1"},
            "device": "a processor",
            "threads": 2,
            "platform": "Linux",
        },
        "data": {
            "root": f"/data/{HOSTILE}",
            "fingerprint": "0f3c",
            "image_size": 64,
            "channels": 1,
            "subject_rule": "kaggle4",
            "people_known": True,
            "notes": [],
            "classes": {"A": 896, HOSTILE: 3200},
            "train": {"images": 5088, "people": 159},
            "held_out": {"images": 1312, "people": 41},
            "judges": "41 people of test, who have no part in the choice of runs",
        },
        "spaces": [{"name": "pixels", "extractor": "pixels-v1", "features": 1024, "method": "grey values"}],
        "metrics": {metric.name: metric.plain() for metric in METRICS},
        "one_in": 700,
        "methods": methods(METRICS, fidelity.FORMS, True),
        "candidates": list(candidates),
        "over_seeds": over_seeds(candidates),
        "pairs": [],
    }


def pictures() -> list[Picture]:
    image = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    return [
        Picture(0, kind, f"Title {kind}", HOSTILE, image) for kind in ("real", "samples", "pairs", "anatomy")
    ]


class Structure(HTMLParser):
    """Checks that tags close in order, and gathers headings and addresses."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        found = dict(attributes)
        self.addresses += [found[key] for key in ("src", "href", "xlink:href") if key in found]
        self.ids += [found["id"]] if "id" in found else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def whole() -> str:
    return page(evaluation(candidate()), pictures())


def structure(text: str) -> Structure:
    found = Structure()
    found.feed(text)
    assert found.open == []
    return found


def test_the_page_is_whole_and_reaches_for_nothing(whole: str):
    found = structure(whole)
    assert "script" not in found.seen
    assert "link" not in found.seen
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in found.addresses)
    assert not re.search(r"@import|url\((?!#)", whole)
    assert found.seen.count("svg") == 7
    assert found.seen.count("img") == 4
    assert next(tag for tag in found.seen if tag in ("h1", "h2", "h3")) == "h1"


def test_parts_of_plots_have_names_of_their_own(whole: str):
    ids = structure(whole).ids
    assert len(ids) == len(set(ids))
    for target in re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', whole):
        assert target in ids


def test_names_of_others_are_text_and_nothing_else(whole: str):
    assert HOSTILE not in whole
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in whole


def test_readers_have_a_row_each_and_one_for_all_and_a_control_is_called_one(whole: str):
    rows = re.findall(r'<td class="name">([^<]*)</td><td class="n">39</td><td class="n">2.5</td>', whole)
    assert rows == [HOSTILE.replace("<", "&lt;").replace(">", "&gt;"), "B"]
    mean = '<td class="name">all</td>' + 2 * '<td class="n"></td>' + '<td class="n">0.41 (0.3 to 0.52)</td>'
    assert mean in whole
    assert "Page ab12: 40 triples" in whole
    assert "This is a control" in whole


def test_verdicts_come_first_in_words_and_not_by_colour_alone(whole: str):
    verdicts = whole.index("Not as close: 6.2 times theirs")
    assert verdicts < whole.index("<img")
    for mark, answer in (("✗", "bad"), ("✓", "good"), ("?", "cannot tell")):
        assert f"{mark} {answer}</span>" in whole


def test_what_is_beyond_unseen_people_is_marked(whole: str):
    row = next(line for line in whole.split("<tr") if "recall" in line and "0.31" in line)
    assert row.startswith(' class="out"')
    assert "✗" in row
    assert "✗" not in next(line for line in whole.split("<tr") if "authenticity" in line)


def test_colours_of_plots_are_the_pages_own(whole: str):
    assert "#010203" not in whole
    assert "currentColor" in whole


def test_plots_and_scrolling_tables_are_named_for_who_cannot_see_them(whole: str):
    boxes = re.findall(r'<div class="(?:plot|scroll)"[^>]*>', whole)
    assert len(boxes) == whole.count('<div class="plot"') + whole.count("<table>")
    assert all(re.search(r'aria-label="(?:Plot|Table): [^"]', box) and 'tabindex="0"' in box for box in boxes)
    assert "<th>" not in whole


def test_the_same_evaluation_is_the_same_page(whole: str, tmp_path: Path):
    write_report(tmp_path / "report.html", evaluation(candidate()), pictures())
    assert (tmp_path / "report.html").read_text() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_stages_that_were_not_run_leave_no_empty_section():
    bare = candidate(numbers=[], curves=[], verdicts=[])
    bare |= dict.fromkeys(("copies", "anatomy", "utility", "reading"))
    text = page(evaluation(bare), [])
    structure(text)
    for stage in ("Copies", "Anatomy", "Utility", "Reading", "Fidelity", "By class"):
        assert f"<h3>{stage}" not in text


def test_stages_may_be_left_out_altogether():
    bare = candidate()
    lacking = ("copies", "anatomy", "utility", "reading", "curves", "notes", "seconds", "expected_coverage")
    for name in (*lacking, "step"):
        del bare[name]
    text = page(evaluation(bare), [])
    structure(text)
    for heading in ("<h3>Copies", "<h3>Anatomy", "<h3>Utility", "<h3>Reading"):
        assert heading not in text
    assert "<h3>Fidelity" in text
    assert "Independent images" not in text


def test_unknown_limits_leave_their_lines_out():
    unknown = candidate()
    unknown["curves"][0]["unseen_at_infinity"] = None
    unknown["utility"]["detectable"] = None
    text = page(evaluation(unknown), [])
    structure(text)
    assert "can be detected" not in text


def test_dollars_in_names_are_no_formula():
    number_of = one_number(space="$x_$ \\frac{")
    assert "$x_$ \\frac{" in page(evaluation(candidate(numbers=[number_of])), [])


def test_odd_bytes_of_file_names_do_not_lose_the_page(tmp_path: Path):
    odd = candidate(notes=["class A\udcff has no numbers"])
    odd["copies"]["pairs"][0]["person"] = "A\udcff-1"
    write_report(tmp_path / "report.html", evaluation(odd), [])
    assert r"class A\udcff has no numbers" in (tmp_path / "report.html").read_text()


def pair(one: int, two: int, better: int | None, **changes: Any) -> dict[str, Any]:
    plain = {"metric": "kernel_distance", "space": "pixels", "p": 0.3 if better is None else 0.002}
    return {"one": one, "two": two, "better": better, **plain, **changes}


def test_only_what_is_told_apart_from_all_others_is_underlined():
    several = [
        candidate(name, numbers=[one_number(value=value), one_number(against="train")])
        for name, value in (("a", 3.0), ("b", 2.0), ("c", 5.0))
    ]

    def marked(*pairs: dict[str, Any]) -> list[bool]:
        found = evaluation(*several) | {"pairs": list(pairs)}
        beside_held_out, beside_train = comparison(found)
        assert not any(cell["best"] for cell in beside_train["cells"])
        return [cell["best"] for cell in beside_held_out["cells"]]

    assert marked(pair(0, 1, 1), pair(0, 2, 0), pair(1, 2, 1)) == [False, True, False]
    assert marked(pair(0, 1, None), pair(0, 2, 0), pair(1, 2, 1)) == [False, False, False]
    assert marked(pair(0, 1, 1, space="random-conv"), pair(1, 2, 1)) == [False, False, False]
    assert marked() == [False, False, False]
    told_apart = evaluation(*several) | {"pairs": [pair(0, 1, 1), pair(1, 2, 1)]}
    assert page(told_apart, []).count('class="n best"') == 1


def test_the_page_says_which_of_two_is_closer_or_that_it_cannot_tell():
    several = evaluation(*(candidate(name) for name in ("a", HOSTILE, "c")))
    recall = {"metric": "recall", "p": 0.01}
    several["pairs"] = [pair(0, 1, 1), pair(0, 1, 1, space="x"), pair(0, 1, 0, **recall), pair(0, 2, None)]
    text = page(several, [])
    structure(text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; is closer to unseen people than a (kernel distance in pixels, p = 0.002; kernel distance in x, p = 0.002). a covers more of unseen people than" in text  # fmt: skip # noqa: E501
    assert "a and c: cannot tell apart (smallest p = 0.3)." in text
    assert text.index("Side by side") < text.index("Which is better") < text.index("a: 2,000 samples")
    assert "Which is better" not in page(evaluation(candidate()), [])


def test_the_terminal_tells_verdicts_and_comparisons():
    found = evaluation(*(candidate(name, notes=[f"about {name}"]) for name in ("a", "b")))
    said = list(lines({**found, "pairs": [pair(0, 1, 1)]}))
    assert said[:2] == ["", "a"]
    first = found["candidates"][0]["verdicts"][0]
    assert f"  {first['question']}: {first['answer']}. {first['text']}" in said
    assert "  note: about b" in said
    better = "b is closer to unseen people than a (kernel distance in pixels, p = 0.002)."
    assert said[-4:] == ["", better, "", f"judges: {found['data']['judges']}"]
    apart = list(lines({**found, "same_data": False}))
    assert apart[-3].startswith("These runs were trained on different images, splits, sizes or channels")
    assert better not in apart


def test_several_candidates_begin_with_one_table_of_their_verdicts_the_best_first():
    def judged(name: str, *answers: str) -> dict[str, Any]:
        questions = ("fidelity", "diversity", "copies")
        verdicts = [
            {"question": each, "asks": f"{each}?", "answer": answer, "text": "."}
            for each, answer in zip(questions, answers, strict=True)
        ]
        return candidate(name, verdicts=verdicts)

    several = [
        judged("worst", "bad", "bad", "good"),
        judged("best", "good", "good", "good"),
        judged("unclear", "bad", "cannot tell", "good"),
    ]
    assert [row["name"] for row in overview(several)] == ["best", "unclear", "worst"]
    text = page(evaluation(*several), [])
    assert text.index("All candidates") < text.index('aria-label="Verdicts"')
    assert "All candidates" not in page(evaluation(candidate()), [])


def test_numbers_of_different_unseen_people_stand_both():
    fewer = one_number(value=1.0, n=50, unseen={"mean": 0.004, "low": 0.0, "high": 0.01})
    same, other = (
        comparison(evaluation(candidate(numbers=[one_number()]), candidate(numbers=[second])))[0]
        for second in (one_number(value=0.02), fewer)
    )
    assert same["unseen"] == ["0.002"]
    assert other["unseen"] == ["0.002", "0.004"]


def test_shares_are_percent_up_to_all():
    assert [share(value) for value in (0, 0.0455, 0.999, 1)] == ["0 %", "4.55 %", "99.9 %", "100 %"]


def test_numbers_have_three_digits_and_no_walls_of_zeros():
    assert [number(value) for value in (0, 0.0123456, 12345.6, 1.5, None)] == [
        "0",
        "0.0123",
        "12,346",
        "1.5",
        "–",
    ]
    assert [number(value) for value in (999.7, -999.9, 999.4)] == ["1,000", "−1,000", "999"]
    assert number(0.0000123) == "1.23\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}10⁻⁵"
    assert number(-0.5) == "−0.5"


def test_numbers_close_to_a_thousand_are_no_powers_of_ten():
    assert number(999.7) == "1,000"


def test_what_is_not_known_of_the_people_is_said():
    unknown = evaluation(candidate())
    unknown["data"] |= {
        "people_known": False,
        "notes": ["a split may have slices of one person on both sides"],
    }
    text = page(unknown, [])
    assert "people unknown: each image counts as one" in text
    assert "a split may have slices of one person on both sides" in text
    assert "different images, splits, sizes or channels" in page(unknown | {"same_data": False}, [])


def run_of(value: float, *overrides: str, step: int = 100, **changes: Any) -> dict[str, Any]:
    numbers = [
        one_number(metric="frechet", value=value, ratio=value / 5),
        one_number(
            stage="copies",
            metric="share_above_threshold",
            space="aligned pixels",
            against="train",
            value=0.1,
            ratio=None,
        ),
        one_number(metric="frechet", value=99.0, label="A"),
    ]
    about = {"numbers": numbers, "step": step, "sha256": f"of {value}"}
    return candidate(f"job_{value}", trained_by={"overrides": [*overrides]}, **about, **changes)


def tradeoff_of(text: str) -> str:
    """The trade-off plot with its caption."""
    return next(re.finditer(r'<div class="narrow">.*?</figure>', text, re.DOTALL))[0]


def test_runs_that_differ_in_their_seed_alone_are_one_row():
    common = "data.root=DIR", "run_dir=outputs/sweep"
    rows = over_seeds(
        [
            run_of(20.0, "loss=hinge", "seed=0", *common),
            run_of(30.0, "loss=relativistic", "seed=0", *common, utility=None),
            run_of(26.0, "loss=hinge", "seed=1", *common),
            run_of(26.0, "loss=hinge", "seed=1", *common) | {"name": "best.ckpt of it"},
            candidate("folder", kind="folder"),
        ]
    )
    assert [(row["settings"], row["runs"]) for row in rows] == [
        ({"loss": "hinge"}, ["job_20.0", "job_26.0"]),
        ({"loss": "relativistic"}, ["job_30.0"]),
    ]
    frechet, copies = rows[0]["numbers"]
    assert (frechet["mean"], frechet["low"], frechet["high"]) == (23.0, 20.0, 26.0)
    assert frechet["values"] == [20.0, 26.0]
    assert frechet["ratio"] == pytest.approx(4.6)
    assert frechet["unseen"] == {"mean": 0.002, "low": 0.001, "high": 0.003}
    assert frechet["people"] == 31
    assert (copies["metric"], copies["mean"]) == ("share_above_threshold", 0.1)
    assert [each["verdict"] for each in rows[0]["utility"]] == ["cannot tell", "cannot tell"]
    assert rows[1]["utility"] == []


def test_a_run_that_started_from_another_is_a_row_of_its_own():
    later = run_of(26.0, "loss=hinge", "seed=1")
    later["trained_by"]["started_from"] = {"path": "outputs/old", "step": 100}
    rows = over_seeds([run_of(20.0, "loss=hinge", "seed=0"), later])
    assert [row["settings"] for row in rows] == [{}, {"model.start_from": "outputs/old"}]


def test_steps_of_one_run_are_rows_that_the_page_joins():
    found = evaluation(
        *(run_of(value, "loss=hinge", step=step) for value, step in ((20.0, 100), (12.0, 1200)))
    )
    text = page(found, [])
    structure(text)
    table = text[text.index("By setting") : text.index("Side by side")]
    assert re.findall(r'<td class="name">([^<]+)</td>', table) == [
        "100 steps",
        "1,200 steps",
        "unseen people",
    ]
    assert "20, 4×" in table
    assert "12, 2.4×" in table
    assert ">10 %<" in table
    assert ">1,200 steps<" in tradeoff_of(text)
    assert ">100 steps<" not in tradeoff_of(text)


def test_the_plot_of_settings_shortens_long_names():
    long = "model.discriminator_optimizer.lr=0.00012345"
    text = page(evaluation(run_of(20.0, "loss=hinge"), run_of(9.0, "loss=hinge", long)), [])
    assert ">model.discrim….lr=0.00012345<" in tradeoff_of(text)
    assert long[:36] not in tradeoff_of(text)


def test_samples_of_others_stand_beside_a_single_checkpoint():
    without = {"copies": None, "anatomy": None, "utility": None, "curves": []}
    others = run_of(40.0, **without) | {"name": HOSTILE, "kind": "folder", "trained_by": None}
    others["numbers"].reverse()  # the one of a class comes first
    found = evaluation(run_of(20.0, "seed=0", **without), others)
    (row,) = rows_of_others(found)
    assert (row["cells"]["frechet"]["values"], row["cells"]["share_above_threshold"]["mean"]) == ([40.0], 0.1)
    text = page(found, [])
    structure(text)
    plot = tradeoff_of(text)
    assert "By setting" not in text
    assert [plot.count(f'id="tradeoff-{name}"') for name in ("seeds", "others")] == [1, 1]
    assert ">100 steps<" in plot
    assert "&lt;script&gt;" in plot
    assert HOSTILE not in text


def test_one_run_has_no_table_of_settings(whole: str):
    assert "By setting" not in whole


TRAINED = {"space": "imagenet-lite0", "trained": True}
LEGEND = "†: the discriminator was trained on features of this network"


def test_numbers_in_a_space_that_the_discriminator_was_trained_on_are_marked_beside_a_legend(whole: str):
    assert "†" not in whole  # nor is it without such a number, or with older ones that say nothing of it
    plain = candidate()
    numbers = [each | more for each in plain["numbers"] for more in ({"trained": False}, TRAINED)]
    curves = [each | more for each in plain["curves"] for more in ({"trained": False}, TRAINED)]
    text = page(evaluation(candidate(numbers=numbers, curves=curves)), [])
    structure(text)
    rows = [row for row in text.split("<tr") if "<td>imagenet-lite0</td>" in row]
    assert len(rows) == len(numbers) / 2
    assert all(re.search(r'class="n value">[^<]+ †', row) for row in rows)
    assert not any("†" in row.partition("</tr>")[0] for row in text.split("<tr")[1:] if row not in rows)
    for table in re.findall(r"<table>.*?</table></div>.*?<", text, re.DOTALL):
        assert ("†" in table) == ("imagenet-lite0" in table)
    assert text.count(f'</table></div>\n<p class="quiet">{LEGEND}') == 4  # fidelity, copies, anatomy, a class
    plots = re.findall(r"<svg.*?</figcaption>", text, re.DOTALL)
    marked = [plot for plot in plots if "imagenet-lite0" in plot]
    assert len(marked) == 4  # distances, shares, and two curves
    for plot in plots:
        assert (LEGEND in plot) == ("imagenet-lite0 †" in plot) == (plot in marked)
        assert "pixels †" not in plot


def test_side_by_side_the_marks_are_those_of_each_candidate():
    one = candidate("a", numbers=[one_number(trained=True)], curves=[], utility=None, anatomy=None)
    two = candidate(
        "b", numbers=[one_number(trained=False, value=0.5)], curves=[], utility=None, anatomy=None
    )
    untested = pair(0, 1, None, p=None, trained=True)
    text = page(evaluation(one, two) | {"pairs": [untested]}, [])
    table = text[text.index('"Table: side by side"') : text.index("Which is better")]
    assert re.findall(r'<td class="n">(0[^(]+)\(', table) == ["0.0123 † ", "0.5 "]
    assert table.count(LEGEND) == 1
    assert "a and b: cannot tell apart (a discriminator was trained on all spaces)." in text
    assert "trained on decide nothing" in text
    tested = page(evaluation(one, two) | {"pairs": [untested, pair(0, 1, None, trained=False)]}, [])
    assert "a and b: cannot tell apart (smallest p = 0.3)." in tested
    assert "trained on decide nothing" not in page(evaluation(one, two) | {"pairs": [pair(0, 1, None)]}, [])


def test_the_table_and_plot_of_settings_mark_them_too():
    aided, small = run_of(20.0, "model=aided"), run_of(30.0, "model=small")
    for each in aided["numbers"]:
        each["trained"] = each["metric"] == "frechet"
    found = evaluation(aided, small)
    marked = {
        (row["settings"]["model"], each["metric"]): each["trained"]
        for row in found["over_seeds"]
        for each in row["numbers"]
    }
    assert marked == {
        ("aided", "frechet"): True,
        ("small", "frechet"): False,
        ("aided", "share_above_threshold"): False,
        ("small", "share_above_threshold"): False,
    }
    text = page(found, [])
    table, plot = text[text.index("By setting") : text.index("Side by side")], tradeoff_of(text)
    assert "20 †, 4×" in table
    assert ">30, 6×" in table
    assert table.count("†:") == 1
    assert "model=aided †<" in plot
    assert "model=small<" in plot
    assert LEGEND in plot
