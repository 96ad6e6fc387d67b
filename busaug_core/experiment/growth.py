"""What more training images bring: real ones, by probes of some of them, and synthetic ones, by arms of shares."""

from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from busaug_core.experiment.arms import ORIGINAL, parse_arm
from busaug_core.experiment.findings import COMPARED, METRICS, MISSING, Findings, cell
from busaug_core.experiment.tested import read_tested
from busaug_core.figures import write_png
from busaug_core.measure.report import markdown_table

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
REAL_SCANS = "real scans"
Point = tuple[float, dict[str, dict[str, float | None]]]
"""How many images a classifier was trained with, mean of the folds, and its metrics."""


def curves(findings: Findings) -> dict[str, list[Point]]:
    """Points by what is added: real scans, and the images of each variant of which arms take a share and nothing else.

    Those of a variant begin with the original. A curve has two points at least.
    """
    original = findings.rows[ORIGINAL.name]
    start: Point = (original[0], original[2])
    found: dict[str, list[Point]] = defaultdict(list)
    for runs in findings.fewer.values():
        n = float(np.mean([of_fold[0].result["n_train"] for of_fold in runs]))
        found[REAL_SCANS].append((n, read_tested({ORIGINAL.name: runs}).metrics[ORIGINAL.name]))
    if found:
        found[REAL_SCANS].append(start)
    for name, (n_train, _, metrics) in findings.rows.items():
        arm = parse_arm(name) if name != ORIGINAL.name else ORIGINAL
        if arm.include and arm.ratio and arm.fields.keys() == {"ratio"}:
            of_variant = found["+ " + "+".join(arm.include)]
            of_variant += [(n_train, metrics)] if of_variant else [start, (n_train, metrics)]
    return {name: sorted(line, key=lambda point: point[0]) for name, line in found.items()}


def points(findings: Findings) -> list[tuple[str, float, dict[str, dict[str, float | None]]]]:
    """The curves' points, each once: what was added, the number of training images, the metrics."""
    found = curves(findings)
    n = findings.rows[ORIGINAL.name][0]
    own = [(name, *point) for name, line in found.items() for point in line if point[0] != n]
    start = [(REAL_SCANS, n, findings.rows[ORIGINAL.name][2])] if found else []
    return sorted([*own, *start], key=lambda point: (point[0] != REAL_SCANS, point[0], point[1]))


def told(findings: Findings) -> list[str]:
    """A table of the points; nothing where there is no curve."""
    rows = [
        [name, f"{n:.0f}", *(cell(metrics.get(metric, MISSING), 3, True) for metric in COMPARED)]
        for name, n, metrics in points(findings)
    ]
    if not rows:
        return []
    header = ["trained with", "N", *(METRICS[metric] for metric in COMPARED)]
    real = "of real scans alone (the fewer among the more), and " if findings.fewer else ""
    note = (
        f"The same held-out scans by classifiers of more and more images: {real}of all real ones and a share of "
        "synthetic ones. In brackets 95 % intervals."
    )
    return [*markdown_table(header, rows), "", note]


def plot(findings: Findings, path: Path) -> None:
    """Write the curves as PNG, a panel a metric; nothing where there are none."""
    found = curves(findings)
    if not found:
        return
    figure = Figure(figsize=(4.2 * len(COMPARED), 3.2), layout="constrained")
    for panel, metric in zip(np.ravel(figure.subplots(1, len(COMPARED))), COMPARED, strict=True):
        for (name, line), color in zip(found.items(), COLORS * len(found), strict=False):
            known = [(n, values[metric]) for n, values in line if values.get(metric, {}).get("value") is not None]
            places, values = [n for n, _ in known], [estimate["value"] for _, estimate in known]
            panel.plot(places, values, "o-", color=color, markersize=4, linewidth=1.2, label=name)
            for n, estimate in known:
                if estimate["low"] is not None:
                    panel.plot([n, n], [estimate["low"], estimate["high"]], color=color, linewidth=0.8, alpha=0.5)
        panel.set_xlabel("training images", fontsize=9)
        panel.set_title(METRICS[metric], fontsize=9)
        panel.tick_params(labelsize=8, length=2)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(fontsize=7, frameon=False, loc="lower right")
    write_png(figure, path)
