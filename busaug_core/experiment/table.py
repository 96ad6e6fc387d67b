"""The table of an experiment: an arm a line, its classifier's metrics beside its variant's distance."""

import csv
from pathlib import Path
from typing import Any

from busaug_core.experiment.claims import level_of
from busaug_core.measure.report import markdown_table, sections
from busaug_core.measure.rows import COPIES, REAL, overall_distances

METRICS = {"accuracy": "accuracy", "f1": "F1", "auc": "AUC", "ppv": "PPV", "recall": "recall"}
"""A classifier's metrics, and what their columns are called."""
WITH_INTERVAL = "accuracy"
"""The metric whose interval the table shows too; the file has all of them."""
MISSING = dict.fromkeys(("value", "low", "high"))


def write_table(
    folder: Path,
    shown: str,
    arms: dict[str, dict[str, Any]],
    distances: dict[str, Any],
    scores: dict[str, Any],
) -> list[str]:
    """Write `results.md` and `results.csv` into the folder; returns the lines of the first.

    Args:
        shown: what the table shows, in words
        arms: the result of each arm's `train_classifier`, that without synthetic images first
        distances, scores: the results of `compute_fid` and `score_synthetic`
    """
    rows = overall_distances(distances)
    by_variant = {r["variant"]: r for r in rows}
    original = next(iter(arms))
    header = ["arm", "N", distances["metric"], *METRICS.values()]
    table, file = [], [[*header[:2], *(f"{c}{part}" for c in header[2:] for part in ("", " low", " high"))]]
    for arm, result in arms.items():
        distance = by_variant.get(REAL if arm == original else arm, MISSING)
        metrics = {name: _estimate(result, name) for name in METRICS}
        named = [arm if arm == original else f"+ {arm}", str(result["n_train"])]
        cells = [_cell(e, 3, name == WITH_INTERVAL) for name, e in metrics.items()]
        table.append([*named, _cell(distance, 2, True, "floor, " if arm == original else ""), *cells])
        file.append([*named, *(e[part] for e in (distance, *metrics.values()) for part in MISSING)])
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows(file)
    n = max((r["n"] for r in rows), default=0)
    lines = [shown, "", *markdown_table(header, table), "", *_notes(n, arms, distances, scores)]
    for title, told in sections(distances).items():
        lines += ["", f"{title}:", "", *told]
    lines += ["", "Research use only; no number here says anything about patients."]
    (folder / "results.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def _estimate(result: dict[str, Any], name: str) -> dict[str, float | None]:
    """A metric of an arm with its interval, where the arm has one."""
    return result.get("resampled", {}).get(name) or {**MISSING, "value": result["metrics"][name]}


def _cell(estimate: dict[str, Any], digits: int, with_interval: bool, word: str = "") -> str:
    if estimate["value"] is None:
        return "–"
    text = f"{estimate['value']:.{digits}f}"
    if with_interval and estimate["low"] is not None:
        text += f" ({word}{estimate['low']:.{digits}f}–{estimate['high']:.{digits}f})"
    return text


def _notes(
    n: int,
    arms: dict[str, dict[str, Any]],
    distances: dict[str, Any],
    scores: dict[str, Any],
) -> list[str]:
    """What the numbers are, and what was looked at besides."""
    copies = {r["variant"]: r["value"] for r in distances["rows"] if r["metric"] == COPIES}
    nearest = {r["variant"]: r["copy_ratio"] for r in scores["means"]}
    original = next(iter(arms.values()))
    return [
        f"N: training images of the arm. {distances['metric']}: {n} images of an evaluation set against {n} validation "
        f"scans, features of {distances['extractor']} ({distances['preprocessing']}), seed {distances['seed']}.",
        f"In brackets 95 % intervals. Floor: {distances['floor']}.",
        f"Metrics: {_trained(original)}, on {original['metrics']['n']} {original['evaluated_on']} scans. F1, AUC, PPV "
        "and recall are macro means.",
        *_compared(original, len(arms) - 1),
        "Near-copies of training scans: " + ", ".join(f"{v} {share:.0%}" for v, share in copies.items()) + ".",
        "Mean copy ratio (0 a copy of a training scan, 1 as far as these lie apart): "
        + ", ".join(f"{v} {ratio:.2f}" for v, ratio in nearest.items())
        + ".",
    ]


def _trained(original: dict[str, Any]) -> str:
    """How the arms' classifiers were trained."""
    side = f" of images at {original['resolution']} px" if original["resolution"] else ""
    if "extractor" not in original:
        start = "ImageNet weights" if original["pretrained"] else "from random weights"
        return f"{original['arch']}, {original['epochs']} epochs{side}, {start}, one seed"
    probe = f"logistic regression on the features of {original['extractor']}{side}"
    if "resampled" not in original:
        return f"{probe}, trained once"
    return f"{probe}, means over {original['resamples']} trainings on training images drawn anew with replacement"


def _compared(original: dict[str, Any], others: int) -> list[str]:
    """What the first line of the table and the intervals of the metrics are taken over."""
    if "resampled" not in original:
        return []
    together = f" so that 95 % hold for all {others} arms at once (Bonferroni)" if others > 1 else ""
    return [
        f"Intervals of the metrics: over these trainings and draws of the {original['evaluated_on']} scans, images of "
        "one scan together. Better or worse: in accuracy, on the same draws, where the interval of the difference, "
        f"{100 * level_of(others):.4g} %{together}, leaves out 0."
    ]
