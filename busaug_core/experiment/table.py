"""The table of an experiment: an arm a line, its classifier's metrics beside its variant's distance."""

import csv
from pathlib import Path
from typing import Any

from busaug_core.measure.rows import COPIES, REAL, overall_distances

COLUMNS = ("arm", "N", "{distance}", "accuracy", "F1", "AUC", "PPV", "recall")
METRICS = ("accuracy", "f1", "auc", "ppv", "recall")


def write_table(
    folder: Path,
    arms: dict[str, dict[str, Any]],
    distances: dict[str, Any],
    applied: dict[str, Any],
    scores: dict[str, Any],
) -> list[str]:
    """Write `results.md` and `results.csv` into the folder; returns the lines of the first.

    Args:
        arms: the result of each arm's `train_classifier`, that without synthetic images first
        distances, applied, scores: the results of `compute_fid`, `apply_classifier` and `score_synthetic`
    """
    rows = overall_distances(distances)
    by_variant = {r["variant"]: r for r in rows}
    metric = distances["metric"]
    original = next(iter(arms))
    header = [c.format(distance=metric) for c in COLUMNS]
    table = []
    for arm, result in arms.items():
        distance = by_variant.get(REAL if arm == original else arm)
        cell = "–" if distance is None else f"{distance['value']:.2f}"
        if distance is not None:
            cell += f" ({'floor, ' if arm == original else ''}{distance['low']:.2f}–{distance['high']:.2f})"
        metrics = [f"{result['metrics'][name]:.3f}" for name in METRICS]
        table.append([arm if arm == original else f"+ {arm}", str(result["n_train"]), cell, *metrics])
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *table])
    widths = [max(len(row[i]) for row in [header, *table]) for i in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in [header, *table]]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    n = max((r["n"] for r in rows), default=0)
    lines += ["", *_notes(n, arms[original], distances, applied, scores)]
    (folder / "results.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def _notes(
    n: int, original: dict[str, Any], distances: dict[str, Any], applied: dict[str, Any], scores: dict[str, Any]
) -> list[str]:
    """What the numbers are, and what was looked at besides."""
    copies = {r["variant"]: r["value"] for r in distances["rows"] if r["metric"] == COPIES}
    nearest = {r["variant"]: r["copy_ratio"] for r in scores["means"]}
    return [
        f"N: training images of the arm. {distances['metric']}: {n} images of an evaluation set against {n} validation "
        f"scans, features of {distances['extractor']} ({distances['preprocessing']}), seed {distances['seed']}.",
        f"In brackets 95 % intervals. Floor: {distances['floor']}.",
        f"Metrics: {original['arch']}, {original['epochs']} epochs at {original['resolution']} px, "
        f"{'ImageNet weights' if original['pretrained'] else 'from random weights'}, one seed, on "
        f"{original['metrics']['n']} {original['evaluated_on']} scans. F1, AUC, PPV and recall are macro means.",
        "Near-copies of training scans: " + ", ".join(f"{v} {share:.0%}" for v, share in copies.items()) + ".",
        "Mean copy ratio (0 a copy of a training scan, 1 as far as these lie apart): "
        + ", ".join(f"{v} {ratio:.2f}" for v, ratio in nearest.items())
        + ".",
        f"Recognised as their class by {applied['classifier']}: "
        + ", ".join(f"{variant} {share:.0%}" for variant, share in applied["recognised"].items())
        + ".",
        "Research use only; no number here says anything about patients.",
    ]
