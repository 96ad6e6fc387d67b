"""What an experiment tells in words and tables: of each arm its classifiers' metrics and its variant's distance."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

from busaug_core.experiment.arms import ORIGINAL, parse_arm
from busaug_core.experiment.claims import (
    CLAIMED,
    Claim,
    Classifiers,
    answer,
    confusion,
    held_out_of,
    is_resampled,
    least_shown,
    logits_of,
    metrics_of,
)
from busaug_core.measure.report import markdown_table, sections
from busaug_core.measure.rows import COPIES, REAL, overall_distances

METRICS = {"accuracy": "accuracy", "f1": "F1", "auc": "AUC", "ppv": "PPV", "recall": "recall"}
"""A classifier's metrics, and what their columns are called."""
IN_FILE = {**METRICS, "specificity": "specificity", "ece": "ECE"}
"""Those of the file, which has room for more."""
ARMS, COMPARISON, BY_CLASS = "Arms", f"Compared with the {ORIGINAL.name}", "By class"
"""Titles of what is told."""
WITH_INTERVAL = "accuracy"
"""The metric whose interval the table shows too; the file has all of them."""
COMPARED = ("accuracy", "auc")
"""The metrics whose differences the table shows; the result has those of all."""
UNKNOWN = (
    "Whether an arm is better than the original is not known: each classifier was trained once, or all held-out images "
    "are of one scan. Set seeds for networks, or resamples of train_classifier for probes."
)
MISSING = dict.fromkeys(("value", "low", "high"))


def told_of(
    claims: list[Claim], arms: dict[str, Classifiers], distances: dict[str, Any], scores: dict[str, Any]
) -> tuple[str, dict[str, list[str]]]:
    """The answer in words, and what it rests on: lines of Markdown by their title.

    Args:
        claims: the arms compared, or nothing where no two can be
        arms: the runs of each arm's classifiers, those without synthetic images first
        distances, scores: the results of `compute_fid` and `score_synthetic`
    """
    header = ["arm", "N", distances["metric"], *METRICS.values()]
    table = []
    for arm, (n_train, distance, metrics) in _rows(arms, distances).items():
        word = "floor, " if arm == next(iter(arms)) else ""
        cells = [_cell(metrics[name], 3, name == WITH_INTERVAL) for name in METRICS]
        table.append([_named(arm, arms), f"{n_train:.0f}", _cell(distance, 2, True, word), *cells])
    told = {
        ARMS: [*markdown_table(header, table), "", *_notes(arms, distances, scores)],
        **_differences(claims),
        BY_CLASS: _by_class(arms),
        **sections(distances),
    }
    return answer(claims) if claims else UNKNOWN, told


def write_file(path: Path, arms: dict[str, Classifiers], distances: dict[str, Any]) -> None:
    """Write the table as CSV, each figure with its interval."""
    parts = [f"{name}{part}" for name in (distances["metric"], *IN_FILE.values()) for part in ("", " low", " high")]
    lines = [["arm", "N", *parts]]
    for arm, (n_train, distance, metrics) in _rows(arms, distances).items():
        estimates = [distance, *(metrics[name] for name in IN_FILE)]
        lines.append([_named(arm, arms), n_train, *(e[part] for e in estimates for part in MISSING)])
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)


def _rows(arms: dict[str, Classifiers], distances: dict[str, Any]) -> dict[str, tuple[float, dict, dict[str, dict]]]:
    """Each arm's number of training images, its variant's distance and its metrics."""
    by_variant = {row["variant"]: row for row in overall_distances(distances)}
    found = {}
    for arm, runs in arms.items():
        variant = REAL if arm == next(iter(arms)) else _only_variant(arm)
        metrics = metrics_of(runs)
        n_train = sum(of_fold[0].result["n_train"] for of_fold in runs) / len(runs)
        found[arm] = n_train, by_variant.get(variant, MISSING), {m: metrics.get(m, MISSING) for m in IN_FILE}
    return found


def _named(arm: str, arms: dict[str, Classifiers]) -> str:
    return arm if arm == next(iter(arms)) else f"+ {arm}"


def _by_class(arms: dict[str, Classifiers]) -> list[str]:
    """A table of each class's sensitivity and specificity by each arm."""
    _, truth, _ = held_out_of(next(iter(arms.values())))
    classes = next(iter(arms.values()))[0][0].result["classes"]
    present = [i for i in range(len(classes)) if 0 < (truth == i).sum() < len(truth)]
    rows = []
    for arm, runs in arms.items():
        shares = confusion(truth, logits_of(runs))
        negatives = [(truth != i).sum() for i in present]
        called = [sum(shares[j, i] * (truth == j).sum() for j in range(len(classes)) if j != i) for i in present]
        specific = [1 - wrong / n for wrong, n in zip(called, negatives, strict=True)]
        cells = [f"{shares[i, i]:.2f} / {value:.2f}" for i, value in zip(present, specific, strict=True)]
        rows.append([_named(arm, arms), *cells])
    header = ["sensitivity / specificity", *(f"{classes[i]} ({(truth == i).sum()})" for i in present)]
    return [*markdown_table(header, rows), "", "Means over the trainings; in brackets the number of scans."]


def _only_variant(arm: str) -> str | None:
    """The variant whose images an arm takes, if it is one alone."""
    include = parse_arm(arm).include
    return include[0] if len(include) == 1 else None


def _cell(estimate: dict[str, Any], digits: int, with_interval: bool, word: str = "") -> str:
    if estimate["value"] is None:
        return "–"
    text = f"{estimate['value']:.{digits}f}"
    if with_interval and estimate["low"] is not None:
        text += f" ({word}{estimate['low']:.{digits}f}–{estimate['high']:.{digits}f})"
    return text


def _notes(arms: dict[str, Classifiers], distances: dict[str, Any], scores: dict[str, Any]) -> list[str]:
    """What the numbers are, and what was looked at besides."""
    n = max((row["n"] for row in overall_distances(distances)), default=0)
    copies = {r["variant"]: r["value"] for r in distances["rows"] if r["metric"] == COPIES}
    nearest = {r["variant"]: r["copy_ratio"] for r in scores["means"]}
    runs = next(iter(arms.values()))
    folds = len(runs)
    original = runs[0][0].result
    tested = f"{sum(of_fold[0].result['metrics']['n'] for of_fold in runs)} {original['evaluated_on']} scans"
    if folds > 1:
        tested = f"{tested}, each by what was trained, generators too, on the other {folds - 1} of {folds} folds"
    return [
        f"N: training images of the arm{', mean of the folds' if folds > 1 else ''}. {distances['metric']}: {n} images "
        f"of an evaluation set against {n} validation scans{' of the first fold' if folds > 1 else ''}, features of "
        f"{distances['extractor']} ({distances['preprocessing']}), seed {distances['seed']}.",
        f"In brackets 95 % intervals. Floor: {distances['floor']}.",
        f"Metrics: {_trained(runs)}, on {tested}. F1, AUC, PPV and recall (balanced accuracy) are macro means.",
        *_compared(runs),
        "Near-copies of training scans: " + ", ".join(f"{v} {share:.0%}" for v, share in copies.items()) + ".",
        "Mean copy ratio (0 a copy of a training scan, 1 as far as these lie apart): "
        + ", ".join(f"{v} {ratio:.2f}" for v, ratio in nearest.items())
        + ".",
    ]


def _trained(runs: Classifiers) -> str:
    """How the arms' classifiers were trained."""
    original = runs[0][0].result
    side = f" of images at {original['resolution']} px" if original["resolution"] else ""
    if "extractor" not in original:
        start = "ImageNet weights" if original["pretrained"] else "from random weights"
        seeds = "one seed" if len(runs[0]) == 1 else f"means over {len(runs[0])} seeds"
        more = f"augmentation {original['augmentation']}, balance {original['balance']}; arms as they say"
        return f"{original['arch']}, {original['epochs']} epochs{side}, {start}, {seeds}, {more}"
    probe = f"logistic regression on the features of {original['extractor']}{side}"
    if "resampled" not in original:
        return f"{probe}, trained once"
    return f"{probe}, means over {original['resamples']} trainings on training images drawn anew with replacement"


def _compared(runs: Classifiers) -> list[str]:
    """What the intervals of the metrics are taken over."""
    if len(runs[0]) == 1 and not is_resampled(runs):
        return []
    split = runs[0][0].result["evaluated_on"]
    return [
        f"Intervals of the metrics: over these trainings and draws of the {split} scans, images of one scan together."
    ]


def _differences(claims: list[Claim]) -> dict[str, list[str]]:
    """The arms' differences to the original as a section, by its title."""
    if not claims:
        return {}
    first = claims[0]
    header = ["arm", *(f"{METRICS[metric]} gained" for metric in COMPARED), "p (Holm)", "McNemar", "P(no better)"]
    rows = []
    for arm in dict.fromkeys(claim.arm for claim in claims):
        of_arm = {claim.metric: claim for claim in claims if claim.arm == arm}
        chances = [of_arm[CLAIMED].p_holm, of_arm[CLAIMED].mcnemar, of_arm[CLAIMED].not_better]
        gained = [_cell(asdict(of_arm[m]), 3, True) if m in of_arm else "–" for m in COMPARED]
        rows.append([f"+ {arm}", *gained, *(f"{chance:.2g}" for chance in chances)])
    note = (
        f"In brackets each arm's own 95 % interval, over {first.trainings} trainings and {first.n} images of "
        f"{first.groups} scans or patients alike. p: of no difference in {CLAIMED}, over all arms (Holm); below .05 an "
        "arm is called better or worse. McNemar: the exact p-value of the first classifiers. P(no better): the "
        "probability that the arm is right no more often, after a flat prior. Both take each image by itself. One "
        f"image is {1 / first.n:.3f} of {CLAIMED}."
    )
    if least := least_shown(claims):
        note += f" An arm that is better by {least:.2f} would be shown to be so about four times in five."
    return {COMPARISON: [*markdown_table(header, rows), "", note]}
