"""The table of an experiment: an arm a line, its classifier's metrics beside its variant's distance."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

from busaug_core.experiment.arms import parse_arm
from busaug_core.experiment.claims import CLAIMED, Claim, Classifiers, answer, is_resampled, least_shown, metrics_of
from busaug_core.measure.report import markdown_table, sections
from busaug_core.measure.rows import COPIES, REAL, overall_distances

METRICS = {"accuracy": "accuracy", "f1": "F1", "auc": "AUC", "ppv": "PPV", "recall": "recall"}
"""A classifier's metrics, and what their columns are called."""
WITH_INTERVAL = "accuracy"
"""The metric whose interval the table shows too; the file has all of them."""
COMPARED = ("accuracy", "auc")
"""The metrics whose differences the table shows; the result has those of all."""
UNKNOWN = (
    "Whether an arm is better than the original is not known: each classifier was trained once, or all held-out images "
    "are of one scan. Set seeds for networks, or resamples of train_classifier for probes."
)
MISSING = dict.fromkeys(("value", "low", "high"))


def write_table(
    folder: Path,
    claims: list[Claim],
    arms: dict[str, Classifiers],
    distances: dict[str, Any],
    scores: dict[str, Any],
) -> list[str]:
    """Write `results.md` and `results.csv` into the folder; returns the lines of the first.

    Args:
        claims: the arms compared, or nothing where no two can be
        arms: the runs of each arm's classifiers, those without synthetic images first
        distances, scores: the results of `compute_fid` and `score_synthetic`
    """
    rows = overall_distances(distances)
    by_variant = {r["variant"]: r for r in rows}
    original = next(iter(arms))
    header = ["arm", "N", distances["metric"], *METRICS.values()]
    table, file = [], [[*header[:2], *(f"{c}{part}" for c in header[2:] for part in ("", " low", " high"))]]
    for arm, runs in arms.items():
        distance = by_variant.get(REAL if arm == original else _only_variant(arm), MISSING)
        metrics = metrics_of(runs)
        metrics = {name: metrics.get(name, MISSING) for name in METRICS}
        n_train = sum(of_fold[0].result["n_train"] for of_fold in runs) / len(runs)
        named = [arm if arm == original else f"+ {arm}", f"{n_train:.0f}"]
        cells = [_cell(e, 3, name == WITH_INTERVAL) for name, e in metrics.items()]
        table.append([*named, _cell(distance, 2, True, "floor, " if arm == original else ""), *cells])
        file.append([*named, *(e[part] for e in (distance, *metrics.values()) for part in MISSING)])
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows(file)
    n = max((r["n"] for r in rows), default=0)
    shown = answer(claims) if claims else UNKNOWN
    lines = [shown, "", *markdown_table(header, table), "", *_notes(n, arms, distances, scores)]
    for title, told in {**_differences(claims), **sections(distances)}.items():
        lines += ["", f"{title}:", "", *told]
    lines += ["", "Research use only; no number here says anything about patients."]
    (folder / "results.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


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


def _notes(
    n: int,
    arms: dict[str, Classifiers],
    distances: dict[str, Any],
    scores: dict[str, Any],
) -> list[str]:
    """What the numbers are, and what was looked at besides."""
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
        f"Metrics: {_trained(runs)}, on {tested}. F1, AUC, PPV and recall are macro means.",
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
        "probability that the arm is right no more often, after a flat prior. Both take each image by itself."
    )
    if least := least_shown(claims):
        note += f" An arm that is better by {least:.2f} would be shown to be so about four times in five."
    return {f"Compared with the {first.baseline}": [*markdown_table(header, rows), "", note]}
