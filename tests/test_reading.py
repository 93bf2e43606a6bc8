"""A reading study: its numbers by hand, what simulated readers get, and a page that gives nothing away."""

import base64
import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy.stats import mannwhitneyu, t

from alzgan.errors import UserError
from alzgan.evaluation.answers import read_answers
from alzgan.evaluation.candidates import Candidate, Judged
from alzgan.evaluation.reading import KEY, PAGE, Study, on_reading, study_of, summary
from alzgan.evaluation.reference import Images, Reference
from alzgan.metrics.reading import Variances, fleiss_kappa, half_width, judged, share

TRUTH = np.tile([0, 1], 50)  # of 100 images, every second one synthetic
NONE = float("nan")


def read(answers, truth=TRUTH, units=None, mode="one", margin=0.1):
    return judged(answers, truth, np.arange(len(truth)) if units is None else units, mode, margin)


def guesses(readers: int, count: int = 100, highest: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, highest + 1, (readers, count))


def test_numbers_of_one_reader_by_hand():
    truth = [0, 0, 0, 0, 1, 1, 1]
    found = read([[1, 2, 4, 3, 6, 4, 3]], truth)["all"]
    assert found["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert found["specificity"]["value"] == pytest.approx(3 / 4)
    assert found["accuracy"]["value"] == pytest.approx((2 / 3 + 3 / 4) / 2)
    # Of 12 pairs, the synthetic image is higher in 9 and equal in 2.
    assert found["auc"]["value"] == pytest.approx(10 / 12)
    assert mannwhitneyu([6, 4, 3], [1, 2, 4, 3]).statistic == 10


def test_the_interval_of_one_of_three_is_that_of_agresti_and_coull():
    truth = np.tile([1, 2, 3, 1], 10)
    answers = np.where(np.arange(40) < 25, truth, truth % 3 + 1)
    found = read([answers], truth, mode="three")
    share = (25 + 2) / (40 + 4)
    half = t.ppf(0.975, 39) * (share * (1 - share) / 43) ** 0.5
    assert found["all"]["accuracy"] == pytest.approx(
        {"value": 25 / 40, "low": share - half, "high": share + half}
    )
    assert found["chance"] == pytest.approx(1 / 3)


def test_the_interval_of_accuracy_is_that_of_agresti_and_caffo():
    answers = np.where(TRUTH == 1, 6, 1)
    answers[:10] = 7 - answers[:10]  # five wrong of each kind
    found = read([answers])["readers"][0]["accuracy"]
    share = 46 / 52
    half = t.ppf(0.975, 49) * (2 * share * (1 - share) / 51) ** 0.5 / 2
    assert found == pytest.approx({"value": 0.9, "low": share - half, "high": share + half})


def test_the_interval_of_auc_has_the_variance_of_de_long():
    answers = guesses(1)[0].astype(float)
    low, high = (read([answers])["all"]["auc"][end] for end in ("low", "high"))
    real, synthetic = np.append(answers[::2], [1, 6]), np.append(answers[1::2], [1, 6])
    higher = (np.sign(synthetic[:, None] - real) + 1) / 2
    variance = higher.mean(0).var(ddof=1) / 52 + higher.mean(1).var(ddof=1) / 52
    assert (high + low) / 2 == pytest.approx(higher.mean())
    assert (high - low) / 2 == pytest.approx(t.ppf(0.975, 49) * variance**0.5)


def test_several_images_of_a_person_with_the_same_answer_count_as_one():
    answers = guesses(3)
    once, twice = read(answers), read(np.tile(answers, 2), np.tile(TRUTH, 2), np.tile(np.arange(100), 2))
    for name in once["all"]:
        assert twice["all"][name] == pytest.approx(once["all"][name])
        assert twice["readers"][1][name] == pytest.approx(once["readers"][1][name])


def test_triples_that_show_the_same_person_are_not_independent():
    right = np.array([[1.0, 1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0, 0.0]])
    people = np.array([["a", "b"], ["a", "c"], ["d", "a"], ["e", "f"], ["f", "g"]])
    found = share(right, people, np.ones(5))
    centred = (right - right.mean(1, keepdims=True)) / 5
    by_hand = np.zeros((2, 2))
    for one in range(5):
        for other in range(5):
            if set(people[one]) & set(people[other]):
                by_hand += np.outer(centred[:, one], centred[:, other])
    independent = centred @ centred.T
    assert found.cases == 5
    np.testing.assert_allclose(found.covariance, np.maximum(by_hand, independent) * 5 / 4)
    assert (by_hand > independent).any()
    again = share(np.tile(right, 4), np.tile(people, (4, 1)), np.ones(20))  # as many people
    assert again.cases == 7
    np.testing.assert_allclose(again.covariance, np.maximum(by_hand, independent / 4) * 7 / 6)


def test_readers_of_triples_of_few_people_are_not_too_certain():
    noise, outside = np.random.default_rng(0), 0
    for _ in range(200):
        traits, who = noise.normal(0, 1, 20), np.array([noise.permutation(20)[:2] for _ in range(100)])
        seen = np.hstack([noise.normal(0, 2**0.5, (100, 1)), traits[who] + noise.normal(0, 1, (100, 2))])
        places = noise.permuted(np.tile(np.arange(3), (100, 1)), axis=1)
        seen, truth = np.take_along_axis(seen, places, 1), places.argmin(1) + 1
        found = read([seen.argmax(1) + 1], truth, who, "three")["all"]["accuracy"]
        outside += not found["low"] <= 1 / 3 <= found["high"]
    assert outside <= 14  # 5 % and two deviations; as if triples were independent, 15 %


def test_equal_readers_are_no_more_certain_than_one():
    (answers,) = guesses(1)
    one, two = read([answers]), read([answers, answers])
    for name in one["all"]:
        assert two["all"][name] == pytest.approx(one["all"][name])
    assert two["kappa"] == 1
    assert one["kappa"] is None


def test_the_interval_of_several_readers_by_hand():
    degrees = 2 * (0.013 / 0.01) ** 2
    expected = t.ppf(0.975, degrees) * (0.013 / 3) ** 0.5
    assert half_width(Variances(0.01, 0.002, 0.001), 3, 50) == pytest.approx(expected)
    # Readers who happen to agree are not taken for a proof that all others do.
    alone = t.ppf(0.975, 49) * (0.002 / 3 + 0.001) ** 0.5
    assert half_width(Variances(0.0, 0.002, 0.001), 3, 50) == pytest.approx(alone)
    assert half_width(Variances(0.0, 0.002, 0.0), 2, 50) == pytest.approx(t.ppf(0.975, 49) * 0.001**0.5)


def test_kappa_of_fourteen_raters():
    # The example of Fleiss's statistic in many textbooks: ten subjects, fourteen raters, five categories.
    counts = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    called = np.array([np.repeat(np.arange(5), row) for row in counts]).T
    assert fleiss_kappa(called) == pytest.approx(0.210, abs=5e-4)
    incomplete = np.hstack([called, np.full((14, 1), 3.0)])
    incomplete[0, -1] = NONE
    assert fleiss_kappa(incomplete) == fleiss_kappa(called)
    assert fleiss_kappa(np.ones((2, 9))) is None


def test_readers_who_see_guess_say_real_or_exchange_the_keys_get_their_answers():
    sees, real = np.where(TRUTH == 1, 6, 1), np.full(100, 2)
    found = {
        "sees": read([sees]),
        "guesses": read(guesses(4)),
        "says real": read([real, real]),
        "exchanged": read([7 - sees]),
        "sees, exchanged": read([sees, 7 - sees]),
    }
    assert {name: (each["answer"], each["why"]) for name, each in found.items()} == {
        "sees": ("readers tell them apart", "all"),
        "guesses": ("readers cannot", "all"),
        "says real": ("cannot tell", "one-sided"),
        "exchanged": ("readers tell them apart", "exchanged"),
        "sees, exchanged": ("cannot tell", ""),
    }
    assert found["says real"]["all"]["accuracy"]["value"] == 0.5
    assert found["says real"]["all"]["specificity"]["value"] == 1
    assert found["says real"]["needed"] is None
    assert found["sees, exchanged"]["needed"] == {"cases": None, "readers": None}


def test_a_reader_who_is_right_by_confidence_alone_does_not_show_that_readers_cannot():
    truth = np.repeat([0, 1], 100)
    ranks = np.where(truth == 1, 3, 1)  # all below the cut
    for kind in (0, 1):
        ranks[np.flatnonzero(truth == kind)[:13]] = 5
    found = read([ranks], truth)
    accuracy, area = (found["all"][name] for name in ("accuracy", "auc"))
    assert 0.4 < accuracy["low"] < 0.5 < accuracy["high"] < 0.6
    assert area["low"] > 0.75
    assert (found["answer"], found["why"], found["needed"]) == ("cannot tell", "ranked", None)


def test_readers_of_triples_get_their_answers():
    truth = guesses(1, highest=3, seed=1)[0]
    answers = {
        "sees": [truth],
        "guesses": guesses(5, highest=3, seed=2),
        "always the first": [np.ones(100)],
        "one right of three, of few": [truth[:12] % 3 + (np.arange(12) % 3 > 0)],
    }
    found = {
        name: read(each, truth[: len(each[0])], mode="three")["answer"] for name, each in answers.items()
    }
    assert list(found.values()) == ["readers tell them apart", "readers cannot", "cannot tell", "cannot tell"]


def test_two_readers_who_both_see_tell_apart_although_they_differ():
    sees = np.where(TRUTH == 1, 6, 1)
    sometimes = np.where(np.arange(100) % 10 < 4, 7 - sees, sees)  # right in 6 of 10
    often = np.where(np.arange(100) % 10 < 2, 7 - sees, sees)
    found = read([sees, often])
    assert found["all"]["accuracy"]["low"] < 0.5
    assert (found["answer"], found["why"]) == ("readers tell them apart", "each")
    assert read([sees, sometimes])["answer"] == "cannot tell"  # the second one may be guessing


def test_an_image_without_an_answer_is_left_out():
    answers = guesses(2).astype(float)
    answers[1, :7] = NONE
    found, less = read(answers), read(answers[1:, 7:], TRUTH[7:])
    for name in found["all"]:
        assert found["readers"][1][name] == pytest.approx(less["readers"][0][name], rel=0.02)
        assert found["readers"][1][name]["value"] == pytest.approx(less["readers"][0][name]["value"])
    assert found["all"]["accuracy"]["value"] == pytest.approx(
        np.mean([each["accuracy"]["value"] for each in found["readers"]])
    )


def test_the_study_that_is_proposed_tells():
    answers = np.where(TRUTH == 1, 6, 1)
    answers[:44] = 7 - answers[:44]  # right in 0.56
    found = read([answers])
    assert found["answer"] == "cannot tell"
    assert found["needed"]["readers"] is None
    cases = found["needed"]["cases"]
    # Half of the interval must be less than 0.06; it is 0.098 with 100 images.
    assert cases == pytest.approx(100 * (0.098 / 0.06) ** 2, rel=0.05)
    times = cases // 100 + 1
    assert read([np.tile(answers, times)], np.tile(TRUTH, times))["answer"] == "readers tell them apart"
    several = read(guesses(2, seed=1))
    assert several["answer"] == "cannot tell"
    assert several["needed"]["readers"] > 2


def test_a_study_that_cannot_tell_is_not_proposed_again():
    studies = [read(guesses(1, seed=seed)) for seed in range(200)]
    proposed = [each["needed"]["cases"] for each in studies if each["needed"]]
    assert len(proposed) > 80
    assert min(proposed) > 100


# The page and its key.


def images(people: int, each: int, first: int) -> Images:
    """Images of one value each, from `first` on; the name of a person is that of the first image's value."""
    values = np.arange(first, first + people * each)
    pixels = torch.from_numpy(values.astype(np.uint8))[:, None, None, None].expand(-1, 1, 4, 6)
    who = np.array([f"=P{value}" for value in first + np.arange(people)])
    return Images(pixels, None, np.tile(who, each), [f"{value}.png" for value in values])


def study(
    mode: str = "one", control: bool = False, n: int = 20, seed: int = 0, fingerprint: str = "cd"
) -> Study:
    """Real images have values below 100, samples above."""
    samples = Images(images(100, 1, 100).pixels)
    candidate = Candidate("run", "checkpoint", samples, {"sha256": "ab"}, None)
    reference = Reference(images(8, 5, 50), images(8, 6, 0), [])
    settings = OmegaConf.create({"mode": mode, "control": control, "n": n})
    data = SimpleNamespace(fingerprint=fingerprint)
    return study_of(Judged(candidate, data, reference), settings, seed)


def test_half_of_the_images_are_synthetic_and_people_are_shown_equally_often():
    found = study()
    values = found.shown.pixels[found.order[:, 0], 0, 0, 0].numpy()
    assert (found.truth == (values >= 100)).all()
    assert found.truth.sum() == 10
    assert sorted(Counter(values[found.truth == 0] % 8).values()) == [1] * 6 + [2] * 2
    assert [f"=P{value % 8}" for value in values[found.truth == 0]] == found.cases[found.truth == 0].tolist()
    sources = found.shown.sources[found.order[:, 0]]
    assert [f"{v}.png" if v < 100 else f"sample {v - 100}" for v in values.tolist()] == sources.tolist()
    assert len(set(values)) == 20


def test_a_triple_has_two_real_images_of_different_people():
    found = study("three")
    values = found.shown.pixels[:, 0, 0, 0].numpy()[found.order]
    assert ((values >= 100).sum(1) == 1).all()
    assert (found.truth == (values >= 100).argmax(1) + 1).all()
    assert set(found.truth.tolist()) == {1, 2, 3}
    for row in values:
        first, second = row[row < 100] % 8
        assert first != second


def test_a_control_shows_nobody_on_both_sides_and_no_sample():
    found = study(control=True)
    values = found.shown.pixels[found.order[:, 0], 0, 0, 0].numpy()
    assert (values < 100).all()
    assert not set(values[found.truth == 0] % 8) & set(values[found.truth == 1] % 8)


def test_seed_and_settings_decide_the_study():
    first = study()
    assert study().page == first.page
    assert (study().order == first.order).all()
    others = study(seed=1), study("three"), study(control=True), study(fingerprint="other images, same names")
    assert len({each.page for each in (first, *others)}) == 5


def test_too_many_images_are_refused():
    with pytest.raises(UserError, match=r"reading.n=98 needs 49 images of held-out people, there are 48"):
        study(n=98)
    with pytest.raises(UserError, match=r"needs 25 images of other held-out people, there are 24"):
        study(control=True, n=49)


@pytest.mark.parametrize("mode", ["one", "three"])
def test_the_page_gives_no_hint(mode: str, tmp_path: Path):
    pages = []
    for seed in (0, 1):
        found = study(mode, seed=seed)
        found.write(tmp_path)
        text = (tmp_path / PAGE).read_text()
        content = json.loads(re.search(r"const study = (.*);\n", text)[1])
        items = [np.frombuffer(base64.b64decode(each), np.uint8) for each in content["items"]]
        expected = found.shown.pixels[torch.from_numpy(found.order)].numpy()
        assert (np.stack(items) == expected.reshape(len(found), -1)).all()
        pages.append(re.sub(r'"items": \[.*?\]', "", text).replace(found.page, ""))
    assert pages[0] == pages[1]  # whatever is real
    assert "http" not in pages[0].replace("http-equiv", "")
    assert not re.search(r"P\d\b.*png|sample \d", pages[0])


def test_a_page_is_not_overwritten_by_that_of_another_study(tmp_path: Path):
    study().check(tmp_path)
    study().write(tmp_path)
    study().check(tmp_path)
    with pytest.raises(UserError, match=r"reading\.html is of another study.*choose another run_dir"):
        study(n=22).check(tmp_path)


def test_the_key_says_which_is_which(tmp_path: Path):
    found = study()
    found.write(tmp_path)
    with (tmp_path / KEY).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["truth"] == "synthetic" for row in rows] == (found.truth == 1).tolist()
    assert [int(row["item"]) for row in rows] == list(range(1, 21))
    assert {row["page"] for row in rows} == {found.page}
    # No spreadsheet runs the name of a person.
    assert {row["case"] for row in rows if row["truth"] == "real"} <= {f"'=P{who}" for who in range(8)}
    study(control=True).write(tmp_path)
    assert (tmp_path / KEY).read_text().count(",control,") == 10


# Files of answers.


def write_answers(
    path: Path, found: Study, answer: Callable[[int], int], reader: str = "A", separator: str = ","
) -> Path:
    rows = [("page", "reader", "item", "answer", "seconds")]
    rows += [(found.page, reader, item, answer(truth), 2.5) for item, truth in enumerate(found.truth, 1)]
    rows.append(("",) * 5)  # as a spreadsheet leaves it
    path.write_text("\ufeff" + "".join(separator.join(map(str, row)) + "\r\n" for row in rows), "utf-8")
    return path


def test_answers_are_read_and_judged(tmp_path: Path):
    found = study()
    paths = [
        write_answers(tmp_path / "a.csv", found, lambda truth: 1 + 5 * truth, "'=Dr. A"),
        write_answers(tmp_path / "b.csv", found, lambda truth: 2 + 3 * truth, "Jörg", ";"),
    ]
    answers = read_answers([str(path) for path in paths], 6)
    assert [each.reader for each in answers] == ["=Dr. A", "Jörg"]
    told = summary(found, answers, 0.1)
    assert [(each["name"], each["answered"]) for each in told["found"]["readers"]] == [
        ("=Dr. A", 20),
        ("Jörg", 20),
    ]
    assert told["found"]["readers"][0]["seconds"] == 2.5
    assert told["real"] == {"images": 10, "people": 8}
    said = on_reading(told)
    assert said["answer"] == "bad"
    assert said["text"].startswith("Readers tell them apart. Accuracy 1.00 (0.")


def test_a_study_without_answers_says_what_to_do():
    said = on_reading(summary(study(), [], 0.1))
    assert said["answer"] == "cannot tell"
    assert "answers=[A.csv,B.csv]" in said["text"]


def test_odd_readers_are_named(tmp_path: Path):
    found = study(n=60)
    answers = {"sees": (lambda truth: 1 + 5 * truth), "x": (lambda truth: 6 - 5 * truth), "r": (lambda _: 1)}
    paths = [str(write_answers(tmp_path / name, found, answer, name)) for name, answer in answers.items()]
    lines = Path(paths[0]).read_text("utf-8").splitlines(keepends=True)
    Path(paths[0]).write_text("".join(lines[:51]), "utf-8")
    text = on_reading(summary(found, read_answers(paths, 6), 0.1))["text"]
    assert "sees left out 10" in text
    assert "x is worse than guessing (0.00), perhaps with mixed-up keys" in text
    assert "The answers of r are one-sided: accuracy could not exceed 0.5" in text


def test_a_study_says_what_would_tell_and_over_what_its_intervals_are(tmp_path: Path):
    found = study()
    path = write_answers(tmp_path / "a.csv", found, lambda truth: 1 + 5 * truth)
    told = summary(found, read_answers([str(path)], 6), 0.1)
    told["found"] |= {"answer": "cannot tell", "needed": {"cases": 90, "readers": None}}
    said = on_reading(told)["text"]
    assert said.startswith("Readers may be guessing, or be more than 0.1 better or worse")
    assert (
        "over people and images. If the same accuracy came out again, 90 images (the real ones of 36 people)"
        in said
    )
    assert "for this reader would tell" in said
    told["found"]["needed"] = {"cases": None, "readers": None}
    assert (
        ". If the same accuracy came out again, more images alone would not tell" in on_reading(told)["text"]
    )


HEAD = "page,reader,item,answer,seconds\n"
WRONG = {
    "another page": (HEAD + "x,A,1,1,1\n", r"is of page x, not of \w+: give the ckpt_path"),
    "no such item": (HEAD + "PAGE,A,99,1,1\n", r"the page has no item 99"),
    "too few": (HEAD + "PAGE,A,1,1,1\n", r"has 1 of 20 answers, too few: let the reader go on"),
    "twice": (HEAD + "PAGE,A,1,1,1\nPAGE,A,1,2,1\n", r"line 3: item 1 is answered twice"),
    "no number": (HEAD + "PAGE,A,1,real,1\n", r"line 2: item, answer and seconds must be numbers"),
    "a short row": (HEAD + "PAGE,A,1\n", r"line 2: item, answer and seconds must be numbers"),
    "not on the scale": (HEAD + "PAGE,A,1,7,1\n", r"line 2: answer 7 is not from 1 to 6"),
    "two readers": (HEAD + "PAGE,A,1,1,1\nPAGE,B,2,1,1\n", r"has answers of two readers"),
    "another table": ("file,subject\na,b\n", r"needs the columns page, reader, item, answer, seconds"),
    "nothing": ("", r"needs the columns page"),
    "endless time": (HEAD + "PAGE,A,1,1,inf\n", r"line 2: seconds inf is not a time"),
    "negative time": (HEAD + "PAGE,A,1,1,-1\n", r"line 2: seconds -1 is not a time"),
    "no name": (HEAD + "PAGE, ,1,1,1\n", r"names no reader: fill in"),
    "a huge cell": (HEAD + f"PAGE,{'A' * 200_000},1,1,1\n", r"is not CSV: field larger than"),
    "a line after empty ones": (HEAD + ",,,,\n\nPAGE,A,1,x,1\n", r"line 4: item, answer"),
}


@pytest.mark.parametrize(("content", "line"), WRONG.values(), ids=WRONG.keys())
def test_wrong_answers_are_refused(content: str, line: str, tmp_path: Path):
    found, path = study(), tmp_path / "a.csv"
    path.write_text(content.replace("PAGE", found.page))
    with pytest.raises(UserError, match=line):
        found.table(read_answers([str(path)], 6))


def test_two_files_of_one_reader_and_a_missing_file_are_refused(tmp_path: Path):
    paths = [str(write_answers(tmp_path / name, study(), lambda _: 1)) for name in ("a.csv", "b.csv")]
    with pytest.raises(UserError, match=r"a\.csv and .*b\.csv are both of A"):
        read_answers(paths, 6)
    write_answers(tmp_path / "b.csv", study(), lambda _: 1, "B")
    with pytest.raises(UserError, match=r"a\.csv and .*b\.csv have the same answers in the same times"):
        read_answers(paths, 6)
    text = (tmp_path / "b.csv").read_text("utf-8")
    (tmp_path / "b.csv").write_text(text.replace(",2.5", ",2.6", 1), "utf-8")
    assert len(read_answers(paths, 6)) == 2
    with pytest.raises(UserError, match=r"cannot read .*none\.csv: No such file"):
        read_answers([str(tmp_path / "none.csv")], 6)
