"""Judge samples beside unseen real people: ``python -m alzgan.evaluate ckpt_path=RUN``."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alzgan.runs import cli
from alzgan.text import printable


def evaluate(settings: DictConfig) -> None:
    """Evaluate what `conf/evaluate.yaml` points at, and say what came out in words."""
    hydra = HydraConfig.get()
    from alzgan.evaluation import run  # loads torch, which takes seconds
    from alzgan.report.page import DIFFERENT, paired

    run_dir = Path(hydra.runtime.output_dir)
    found = run.evaluate(settings, hydra.overrides.task, run_dir)
    for candidate in found["candidates"]:
        print(f"\n{printable(candidate['name'])}")
        for each in candidate["verdicts"]:
            print(f"  {each['question']}: {each['answer']}. {printable(each['text'])}")
        for note in candidate["notes"]:
            print(f"  note: {printable(note)}")
    for pair in paired(found):
        print(f"\n{printable(pair)}")
    if not found["same_data"]:
        print(f"\n{DIFFERENT}")
    print(f"\njudges: {found['data']['judges']}")
    print(f"report: {printable(run_dir / 'report.html')}\nnumbers: {printable(run_dir / 'evaluation.json')}")


if __name__ == "__main__":
    cli.run(evaluate, "evaluate")
