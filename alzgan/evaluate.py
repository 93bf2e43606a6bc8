"""Judge samples beside unseen real people: ``python -m alzgan.evaluate ckpt_path=RUN``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alzgan.runs import cli
from alzgan.text import printable


def evaluate(settings: DictConfig) -> None:
    """Evaluate what `conf/evaluate.yaml` points at, and say what came out in words."""
    hydra = HydraConfig.get()
    from alzgan.evaluation import run  # loads torch, which takes seconds

    run_dir = Path(hydra.runtime.output_dir)
    for line in lines(run.evaluate(settings, hydra.overrides.task, run_dir)):
        print(printable(line))
    print(f"report: {printable(run_dir / 'report.html')}\nnumbers: {printable(run_dir / 'evaluation.json')}")


def lines(found: dict[str, Any]) -> Iterator[str]:
    """What the terminal shows of the content of an `evaluation.json`."""
    from alzgan.report.page import DIFFERENT, paired  # loads matplotlib

    for candidate in found["candidates"]:
        yield from ("", candidate["name"])
        for each in candidate["verdicts"]:
            yield f"  {each['question']}: {each['answer']}. {each['text']}"
        for note in candidate["notes"]:
            yield f"  note: {note}"
    for comparison in (*paired(found), *([] if found["same_data"] else [DIFFERENT])):
        yield from ("", f"{comparison}.")
    yield from ("", f"judges: {found['data']['judges']}")


if __name__ == "__main__":
    cli.run(evaluate, "evaluate")
