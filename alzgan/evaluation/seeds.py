"""Summaries of runs that differ in nothing but their seed; they show how much of a difference is chance."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

CHOSEN_FREELY = ("seed", "run_dir", "launcher", "ckpt_path", "hydra")  # they may differ within a summary


def over_seeds(candidates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for the runs with equal settings and steps: the mean and range of each number of all classes.

    Args:
        candidates: the entries of `evaluation.json`; only checkpoints are used.
    """
    trained = [each for each in candidates if (each.get("trained_by") or {}).get("overrides") is not None]
    # Two candidates can be the same weights under two names.
    trained = list({(each["sha256"], each["weights"]): each for each in reversed(trained)}.values())[::-1]
    settings = [settings_of(each["trained_by"]) for each in trained]
    differ = [
        name
        for name in dict.fromkeys(name for each in settings for name in each)
        if len({each.get(name) for each in settings}) > 1
    ]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for candidate, each in zip(trained, settings, strict=True):
        key = (*(each.get(name) for name in differ), candidate["step"])
        groups.setdefault(key, []).append(candidate)
    return [
        {
            "settings": {name: value for name, value in zip(differ, key, strict=False) if value is not None},
            "step": key[-1],
            "runs": [candidate["name"] for candidate in group],
            "numbers": pooled(group),
            "utility": [best_arm(candidate["utility"]) for candidate in group if candidate["utility"]],
        }
        for key, group in groups.items()
    ]


def settings_of(trained_by: dict[str, Any]) -> dict[str, str]:
    """The settings with which a run was started. A run that it started from is one of them."""
    parts = (override.partition("=") for override in trained_by["overrides"])
    settings = {name: value for name, _, value in parts if name.partition(".")[0] not in CHOSEN_FREELY}
    started_from = trained_by.get("started_from")
    return {**settings, "model.start_from": started_from["path"]} if started_from else settings


def pooled(group: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mean and range of each number of all classes that every run of a group has."""

    def key_of(number: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(number[name] for name in ("stage", "metric", "space", "against", "better", "n"))

    tables = [{key_of(each): each for each in run["numbers"] if each["label"] is None} for run in group]
    rows = []
    for key in tables[0]:
        if all(key in table for table in tables):
            values = [table[key]["value"] for table in tables]
            ratios = [table[key]["ratio"] for table in tables]
            unseen = [table[key]["unseen"] for table in tables]  # equal for runs on the same data
            rows.append(
                {
                    **dict(zip(("stage", "metric", "space", "against", "better", "n"), key, strict=True)),
                    "mean": mean(values),
                    "low": min(values),
                    "high": max(values),
                    "values": values,
                    "ratio": None if None in ratios else mean(ratios),
                    "people": min(table[key]["people"] for table in tables),
                    "trained": any(table[key].get("trained") for table in tables),  # older ones lack it
                    "unseen": {
                        "mean": mean(each["mean"] for each in unseen),
                        "low": min(each["low"] for each in unseen),
                        "high": max(each["high"] for each in unseen),
                    },
                }
            )
    return rows


def best_arm(utility: dict[str, Any]) -> dict[str, Any]:
    """The mixture of real and synthetic images that helps a classifier most."""
    arms = [arm for arm in utility["arms"] if arm["name"].startswith("real + synthetic")]
    best = max(arms, key=lambda arm: arm["difference"]["mean"])
    about = {name: utility[name] for name in ("people", "detectable")}
    return {"name": best["name"], "verdict": best["verdict"], **best["difference"], **about}
