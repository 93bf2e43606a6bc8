"""What the study found, as small files without a path in them, and as a page.

    python tests/benchmarks/study.py [FILE.json ...]

The files are evaluations of the study's runs, `python -m alzgan.evaluate ckpt_path=STUDY held_out=both`, and
benchmarks of its cells on a machine left alone, `python -m alzgan.benchmark study=CELL data.root=DIR
loops=[fast]`; with `.github/study/results.json` among them, runs are added to those that it has. Writes that
file, the picture beside it, and `conf/study/README.md`. Without files it writes picture and page alone.

    python tests/benchmarks/study.py again FILE.json [FILE.json ...]

What later evaluations say of copies and utility goes to `.github/study/again.json`, and to the page; with
that file among them, it is added to what it has.

    python tests/benchmarks/study.py photographs FILE.json [FILE.json ...]

Evaluations of `aided`, of changes to it, and of `small_long`, with features=[imagenet-lite2,imagenet-lite0],
and benchmarks of the cells on one core, go to `.github/study/photographs.json`, and to the page.

    python tests/benchmarks/study.py set NAME FILE.json [FILE.json ...]

Evaluations of cells on another data set, in the same features, and the `report.json` that `python -m
alzgan.prepare` wrote of it, go to `.github/study/sets.json`, and to the page; with that file among them, runs
are added to those that it has. Each set has its own number of channels.

    python tests/benchmarks/study.py splits FILE.json [FILE.json ...]

Evaluations of cells on several splits of the people, each by its test people alone, in the same features, go
to `.github/study/splits.json`, and to the page.

    python tests/benchmarks/study.py peers FILE.json [FILE.json ...]

Evaluations of the samples of others' generators, in the same features, go to `.github/study/peers.json`, and
to the page; with that file among them, they are added to what it has. Samples lie where the scripts in
`tests/benchmarks/peers` put them.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from study_aided import in_picture
from study_others import OVER_SPLITS
from study_page import page
from study_rows import (
    BESIDE_PHOTOGRAPHS,
    FOLDER,
    JUDGE,
    METRICS,
    PAGE,
    PRECISIONS,
    Found,
    extra,
    named,
    pooled,
)

from alzgan.evaluation.seeds import CHOSEN_FREELY, over_seeds
from alzgan.files import replacing, write_json
from alzgan.report.page import rows_of_others
from alzgan.report.tradeoff import tradeoff
from alzgan.runs.config import compose_config

# What a cell may be started with besides: its weights at a step are the same. Lengths are told as steps.
OF_NO_WEIGHT = (
    "data.root",
    "callbacks.checkpoint.keep_every_n_epochs",
    "callbacks.progress.bar",
    "callbacks.quality",
    "trainer.max_epochs",
    "trainer.max_steps",
)


def gather(files: Sequence[Path]) -> None:
    """Write the results."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    earlier = [each for each in contents if "over_seeds" in each and "candidates" not in each]
    evaluations = [each for each in contents if "candidates" in each]
    people = [people_of(each) for each in earlier + evaluations]
    assert all(each == people[0] for each in people), "these runs are of different people"
    first = (evaluations or earlier)[0]
    rows = [row for each in earlier for row in each["over_seeds"]] + rows_of(evaluations)
    refuse_twice([(run, row["step"], row["precision"]) for row in rows for run in row["runs"]])
    results = {
        "alzgan": first["alzgan"],
        "packages": first.get("packages") or first["provenance"]["packages"],
        "data": people[0],
        "spaces": first["spaces"],
        "seconds_a_step": rates(earlier, [each for each in contents if "loops" in each]),
        "over_seeds": rows,
    }
    write_json(FOLDER / "results.json", results)


def gather_again(files: Sequence[Path]) -> None:
    """Write what newer searches and tests say of runs of the study."""
    found = []
    for content in [json.loads(path.read_text(encoding="utf-8")) for path in files]:
        found += content if isinstance(content, list) else map(again, content["candidates"])
    refuse_twice([(each["cell"], each["step"]) for each in found])
    write_json(FOLDER / "again.json", sorted(found, key=lambda each: (each["cell"], each["step"])))


def gather_photographs(files: Sequence[Path]) -> None:
    """Write how near and how varied samples are if a discriminator has seen photographs."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    for path, each in zip(files, contents, strict=True):
        assert "candidates" in each or "loops" in each, f"{path} is no evaluation and no benchmark"
    runs = [run for each in contents if "candidates" in each for run in each["candidates"]]
    tried: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in runs:
        if changed := changes(run):
            tried.setdefault((study_of(run), *changed), []).append(without_machine(run))
    found = {
        "over_seeds": rows_of([{"candidates": [run for run in runs if not changes(run)]}]),
        "tried": [
            {"changes": changed, **row, "settings": {"study": cell}, "numbers": beside(row["numbers"])}
            for (cell, *changed), same in tried.items()
            for row in over_seeds(same)
        ],
        "seconds_a_step": dict(seconds_a_step(each) for each in contents if "loops" in each),
    }
    write_json(FOLDER / "photographs.json", found)


def beside(numbers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The numbers that the page's tables show."""
    return [each for each in numbers if (each["metric"], each["space"]) in BESIDE_PHOTOGRAPHS.values()]


def gather_set(name: str, files: Sequence[Path]) -> None:
    """Write what the recipes are worth on another data set."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    evaluations = [each for each in contents if "candidates" in each]
    earlier = [each[name] for each in contents if name in each]
    (verdict,) = {each["verdict"] for each in contents + earlier if "verdict" in each}
    for run in (run for each in evaluations for run in each["candidates"]):
        words = run["trained_by"]["overrides"]
        run["trained_by"]["overrides"] = [word for word in words if not word.startswith("data.channels=")]
    data, *others = [people_of(each) for each in evaluations] + [each["data"] for each in earlier]
    assert all(each == data for each in others), "these runs are of different people"
    rows = [row for each in earlier for row in each["over_seeds"]] + rows_of(evaluations)
    refuse_twice([(run, row["step"]) for row in rows for run in row["runs"]])
    found = {name: {"data": data, "verdict": verdict, "over_seeds": pooled(rows)}}
    write_json(FOLDER / "sets.json", Found.read(FOLDER).sets | found)


def people_of(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The numbers of people and images on both sides."""
    return {side: evaluation["data"][side] for side in ("train", "held_out")}


def refuse_twice(runs: Sequence[tuple[Any, ...]]) -> None:
    """Raise an AssertionError if something is there twice."""
    assert len(runs) == len(set(runs)), "a run was judged twice"


def gather_splits(files: Sequence[Path]) -> None:
    """Write what the recipes are worth on other splits of the people."""
    evaluations = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    runs = []
    for found, run in ((each, run) for each in evaluations for run in each["candidates"]):
        changed = [word for word in changes(run) if not word.startswith("data.split_seed=")]
        assert not changed, f"{run['name']} is no cell: it was trained with {', '.join(changed)}"
        runs.append(
            {
                "cell": study_of(run),
                "split": int(setting_of(run["trained_by"]["overrides"], "data.split_seed")),
                "step": run["step"],
                "people": {side: found["data"][side]["people"] for side in ("train", "held_out")},
                "numbers": [
                    {key: each[key] for key in ("metric", "space", "value", "unseen")}
                    for each in run["numbers"]
                    if (each["metric"], each["space"]) in OVER_SPLITS.values()
                    and (each["stage"] == "copies" or each["against"] == "held-out")
                ],
            }
        )
    runs.sort(key=lambda run: (run["cell"], run["split"]))
    refuse_twice([(run["cell"], run["split"]) for run in runs])
    write_json(FOLDER / "splits.json", runs)


def gather_peers(files: Sequence[Path]) -> None:
    """Write what the samples of others' generators are worth."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    evaluations = [each for each in contents if not isinstance(each, list)]
    found = [row for each in contents if isinstance(each, list) for row in each]
    for evaluation, run in ((each, run) for each in evaluations for run in each["candidates"]):
        samples = Path(run["name"])
        about = json.loads((samples.parent / "peer.json").read_text(encoding="utf-8"))
        marks = {f"{each['minutes']:g}_minutes": each for each in about.pop("samples")}
        kept = {
            "kind": run["kind"],
            "data": people_of(evaluation),
            "n": run["n"],
            "numbers": beside(run["numbers"]),
        }
        found.append({**about, **marks[samples.name], **kept})
    refuse_twice([(each["name"], each["minutes"], each["seed"]) for each in found])
    write_json(FOLDER / "peers.json", sorted(found, key=lambda each: (each["minutes"], each["name"])))


def again(run: dict[str, Any]) -> dict[str, Any]:
    """What an evaluation says of copies and utility of one run."""
    return {
        "cell": study_of(run),
        "step": run["step"],
        "numbers": {each["metric"]: each for each in run["numbers"] if each["space"] == "aligned pixels"},
        "answers": {each["question"]: each["answer"] for each in run["verdicts"]},
        "utility": run["utility"],
    }


def publish() -> None:
    """Write the picture and the page."""
    found = Found.read(FOLDER)
    with replacing(FOLDER / "tradeoff.svg") as part:
        part.write_text(picture(found), encoding="utf-8")
    with replacing(PAGE) as part:
        part.write_text(page(found), encoding="utf-8")


def picture(found: Found) -> str:
    """The trade-off of runs whose samples had the full search for copies, and of samples of others."""
    ours = {extra(row, "frechet", JUDGE)["n"] for row in found.photographs["over_seeds"]}
    peers = [each for each in found.peers if each["n"] in ours]  # the ratio of fewer images is another one
    results = {**found.photographs, "spaces": [{"name": JUDGE}], "candidates": peers}
    rows = [row for row in named(results) if (row["group"], row["step"]) in in_picture(found)]
    others = rows_of_others({**results, "metrics": METRICS})
    return tradeoff("study", rows + others, "frechet", "share_above_threshold", alone=True)


def rows_of(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of several evaluations over their seeds, those of each precision by themselves."""
    candidates, rows = together(evaluations), []
    for precision in dict.fromkeys(each["trained_by"]["precision"] for each in candidates):
        same = [each for each in candidates if each["trained_by"]["precision"] == precision]
        for row in over_seeds(same):
            run = next(each for each in same if each["name"] in row["runs"])
            about = {key: run["trained_by"][key] for key in ("precision", "device")}
            rows.append({**row, "settings": {"study": study_of(run)}, **about})
    return rows


def rates(
    earlier: Sequence[dict[str, Any]], benchmarks: Sequence[dict[str, Any]]
) -> dict[str, dict[str, float]]:
    """How long a step of each cell takes in each precision; the last that was measured counts."""
    found: dict[str, dict[str, float]] = {precision: {} for precision in PRECISIONS}
    for each in earlier:
        for precision, cells in each["seconds_a_step"].items():
            found[precision].update(cells)
    for each in benchmarks:
        cell, seconds = seconds_a_step(each)
        found[each["config"]["trainer"]["precision"]][cell] = seconds
    return found


def together(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of several evaluations, each once; what was measured of one in turns is put together."""
    found: dict[tuple[str, int, str], dict[str, Any]] = {}
    for run in (cell_of(run) for each in evaluations for run in each["candidates"]):
        known = found.setdefault((run["name"], run["step"], run["trained_by"]["precision"]), run)
        if known is not run:
            assert known["sha256"] == run["sha256"], f"{run['name']} is there twice, with other weights"
            assert not (known["numbers"] and run["numbers"]), f"{run['name']} was judged twice"
            known["numbers"] = known["numbers"] or run["numbers"]
            known["utility"] = known["utility"] or run["utility"]
    return list(found.values())


def changes(run: dict[str, Any]) -> list[str]:
    """The settings with which a run was started that its cell has not, but for those of no weight."""
    words = run["trained_by"]["overrides"]
    cell = compose_config(
        "train", [w for w in words if w.startswith(("study=", "seed="))] + ["data.root=DIR"]
    )
    free = tuple(f"{each}." for each in ("study", *CHOSEN_FREELY, *OF_NO_WEIGHT))
    return [
        word
        for word in words
        if not f"{(name := word.partition('=')[0])}.".startswith(free)
        and OmegaConf.select(OmegaConf.from_dotlist([word]), name) != OmegaConf.select(cell, name)
    ]


def cell_of(run: dict[str, Any]) -> dict[str, Any]:
    """A run of the study without what is this machine's."""
    assert not changes(run), f"{run['name']} is no cell: it was trained with {', '.join(changes(run))}"
    return without_machine(run)


def study_of(run: dict[str, Any]) -> str:
    """The name of the cell that a run was started from."""
    return setting_of(run["trained_by"]["overrides"], "study")


def setting_of(overrides: Sequence[str], name: str) -> str:
    """The value that a command line gives to a setting."""
    return next(value for key, _, value in (word.partition("=") for word in overrides) if key == name)


def without_machine(run: dict[str, Any]) -> dict[str, Any]:
    """A run with the settings that decide its weights alone."""
    overrides = [word for word in run["trained_by"]["overrides"] if word.startswith(("study=", "seed="))]
    overrides += changes(run)
    trained_by = {**run["trained_by"], "overrides": overrides}
    return {**run, "name": " ".join(sorted(overrides)), "trained_by": trained_by}


def seconds_a_step(found: dict[str, Any]) -> tuple[str, float]:
    """The name of a benchmark's cell, and how long a step of it takes."""
    return setting_of(found["command"], "study"), found["loops"]["fast"]["seconds_a_step"]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["again", *files]:
            gather_again([*map(Path, files)])
        case ["photographs", *files]:
            gather_photographs([*map(Path, files)])
        case ["set", name, *files]:
            gather_set(name, [*map(Path, files)])
        case ["splits", *files]:
            gather_splits([*map(Path, files)])
        case ["peers", *files]:
            gather_peers([*map(Path, files)])
        case [_, *_] as files:
            gather([*map(Path, files)])
    publish()
