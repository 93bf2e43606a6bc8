"""Names of any letters: in commands that are pasted, in mappings, and where the output cannot encode them."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, alzgan
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image

from alzgan.runs.config import compose_config
from alzgan.text import numbers_by_name, shell_override, shell_word

UNDECODABLE = os.fsdecode(b"\xff\xe9")  # bytes that are no UTF-8
HOSTILE = [
    *("/x/é", "aü", "/\u212a", "a\u017f", "a٣"),  # the Kelvin sign and the long s are k and s without case
    *(
        "é",
        "ü",
        "中",
        "ß",
        "e\u0301",
        "Très léger",
        "a b",
        " a ",
        "",
        "a=b",
        "comma,x",
        "archive (1)",
        "[x]{y}",
        "a: b",
    ),
    *(
        "it's",
        'a "quoted" one',
        "'",
        "'a'",
        '"',
        "$HOME and `x`!",
        "$",
        "100%",
        "~tilde",
        "#x",
        "*",
        "?",
        "-x",
        "!x",
    ),
    *(
        "\\",
        "\\\\",
        "a\\",
        "a\\'b",
        "\\\\'",
        '\\"',
        "C:\\new\\",
        "x\ny",
        "\n",
        "\r\t",
        "a\u00a0b",
        UNDECODABLE,
    ),
    *(
        "${oc.env:HOME}",
        "\\${x}",
        "a\\\\${x",
        "$${x}'",
        "true",
        "Null",
        "nan",
        "-inf",
        "1e5",
        "007",
        "1_0",
        ".5",
        ".",
    ),
]


def pasted(word: str) -> str:
    """What a program gets when the word is pasted into a shell."""
    return os.fsdecode(subprocess.check_output(["bash"], input=os.fsencode(f"printf %s {word}")))


def value_of(override: str) -> object:
    """What a setting is after Hydra's parser and OmegaConf."""
    parsed = OverridesParser.create().parse_override(override)
    assert parsed.key_or_group == "data.root"
    return OmegaConf.create({"root": parsed.value()}).root


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_survives_the_shell_hydra_and_omegaconf(value: str):
    word = shell_override("data.root", value)
    assert "\n" not in word
    assert value_of(pasted(word)) == value
    if value.isprintable():  # the others are in the octal form, which shlex does not know
        assert shlex.split(word) == [pasted(word)]
    assert compose_config("prepare", [pasted(word)]).data.root == value


def test_a_list_survives_too():
    word = shell_override("data.root", HOSTILE)
    assert list(value_of(pasted(word))) == HOSTILE


@pytest.mark.parametrize("text", [*HOSTILE, "data.root='it\\'s'\\", "it's\\"])
def test_a_word_survives_the_shell(text: str):
    assert pasted(shell_word(text)) == text


def test_plain_values_are_not_quoted():
    for value in ("/data/mri-2_x.y", "csv:/a/people.csv", "outputs/run1", "../x", "1/2"[1:]):
        assert shell_override("data.root", value) == f"data.root={value}"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("{Très léger: 30}", {"Très léger": 30}),
        ("{é:1,b : 2.5, 7: 1e-3,}", {"é": 1, "b": 2.5, "7": 0.001}),
        (
            """{"a, b: 3": 1, 'it"s': 2, it's: 3, a: b: 4, No: -5}""",
            {"a, b: 3": 1, 'it"s': 2, "it's": 3, "a: b": 4, "No": -5},
        ),
        (f"{{x\ny: 1, {UNDECODABLE}: 2}}", {"x\ny": 1, UNDECODABLE: 2}),
        ("{}", {}),
        ("{a: b}", None),
        ("{a: 1, b}", None),
        ("{a}", None),
        ("{: 1}", None),
        ("a: 1", None),
        ("{a: 1", None),
    ],
)
def test_a_text_of_numbers_by_name_is_a_mapping(text: str, numbers: dict | None):
    found = numbers_by_name(text)
    assert found == numbers
    assert found is None or [*map(type, found.values())] == [*map(type, numbers.values())]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 people with two slices each, whose names ASCII, cp1252 and UTF-8 lack."""
    root = tmp_path_factory.mktemp("odd") / "ß 中"
    try:
        for name in ("Très léger", "中", UNDECODABLE):
            (root / name).mkdir(parents=True)
    except OSError:
        pytest.skip("the file system takes no names that are no UTF-8")
    rng = np.random.default_rng(0)
    for index in range(48):
        folder = root / ("Très léger", "中", UNDECODABLE)[index // 2 % 3]
        pixels = rng.integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"sub-{index // 2:02}é{UNDECODABLE}_slice-{index % 2}.png")
    return root


def complaints(errors: str) -> list[str]:
    return [line for line in errors.splitlines() if "Traceback" in line or "Logging error" in line]


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_preparation_escapes_what_the_output_cannot_encode(
    encoding: str, odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    where = [pasted(shell_override(*each)) for each in (("data.root", odd), ("run_dir", tmp_path / "ü 中"))]
    command = ["-m", "alzgan.prepare", *where, "data.subjects=none", "data.bad_files=skip"]
    result = subprocess.run([sys.executable, *command], capture_output=True)
    assert result.returncode == 0, result.stderr
    assert not complaints(result.stderr.decode(encoding))
    told = result.stdout.decode(encoding)
    assert "Très léger".encode(encoding, "backslashreplace").decode(encoding) in told
    assert r"\u4e2d" in told
    assert r"\udcff" in told


@pytest.mark.slow
def test_a_training_escapes_what_the_output_and_its_log_cannot_encode(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    run = tmp_path / f"ü 中{UNDECODABLE}"
    weights = f"{{Très léger: 1, 中: 2, {UNDECODABLE}: 1}}"
    given = {"data.root": odd, "run_dir": run, "data.sampling": weights}
    words = [pasted(shell_override(name, value)) for name, value in given.items()]
    result = alzgan(
        "data=mri", *words, *SMALL, "model=cdcgan", "logger=csv", "trainer.max_steps=1", fresh=True
    )
    assert result.returncode == 0, result.stderr
    assert not complaints(result.stderr)
    assert r"\xfc \u4e2d" in result.stdout
    log = (run / "train.log").read_text(encoding="utf-8")
    assert rf"Log:         {tmp_path}/ü 中\udcff\udce9/train.log" in log
    assert "中 (" in log  # one of few people
    assert r"\udcff\udce9 (" in log
