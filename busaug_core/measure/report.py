"""The tables and the plot of a measurement: JSON, CSV, Markdown and PNG."""

import csv
import textwrap
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from busaug_core.figures import write_png
from busaug_core.files import write_json
from busaug_core.measure.config import DISTANCES
from busaug_core.measure.rows import COLUMNS, COPIES, REAL, overall
from busaug_core.measure.sets import ALL

PANELS, NAMES = 4, 1.2
"""Panels in a row, and inches for the variants' names beside the first."""
LADDER = "Where the distance comes from"
"""The title of the ladder."""


def write_report(folder: Path, summary: dict) -> None:
    """Write `fid.json`, `fid.csv`, `fid.md`, `fid.png` and `ladder.png` from the result of `compute_fid`."""
    rows = summary["rows"]
    write_json(folder / DISTANCES, summary)
    with (folder / "fid.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    lines = []
    for split in dict.fromkeys(r["reference"] for r in rows):
        for label in dict.fromkeys(r["class"] for r in rows if r["reference"] == split):
            lines += [f"## Against {split}, {'all classes' if label == ALL else label}", ""]
            lines += [*markdown([r for r in rows if (r["reference"], r["class"]) == (split, label)]), ""]
    lines += [
        f"Features of {summary['extractor']} ({summary['preprocessing']}; weights {summary['weights'][:16]}), seed "
        f"{summary['seed']}. In brackets 95 % intervals that take images as independent. real: the floor, with the "
        f"{summary['floor']}.",
        "Research use only; no number here says anything about patients.",
    ]
    for title, told in sections(summary).items():
        lines += ["", f"## {title}", "", *told]
    if summary["moved"]:
        lines += ["", *_moved(summary)]
    if summary["left_out"]:
        lines += ["", "Left out as near-copies of real images:", ""]
        lines += [f"- {c['variant']}: {c['path']} of {c['real']} ({c['likeness']:.2f})" for c in summary["left_out"]]
    (folder / "fid.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if shown := overall(summary):
        caption = (
            f"All classes, {shown[0]['n']} images a side, against '{summary['reference']}', in the features of "
            f"{summary['extractor']}. Dots and lines: values and 95 % intervals. Gray: what real images give, and its "
            "range."
        )
        plot_metrics(shown, folder / "fid.png", caption)
    if ladders := summary["ladders"]:
        panels = []
        for found in ladders:
            base = found["base"] if found["vae"] is None else f"{found['base']} with {found['vae']}"
            way = f", {base} at {found['side']} px" if len(ladders) > 1 else ""
            panels += [{**r, "metric": f"{r['metric']} against {r['reference']}{way}"} for r in found["rows"]]
        caption = (
            f"All classes, {panels[0]['n']} images a side, 95 % intervals. Gray: as many other real images. First "
            "these in the generated ones' size and out of the autoencoder, then the variants."
        )
        plot_metrics(panels, folder / "ladder.png", caption)


def brief(summary: dict, folder: Path) -> list[str]:
    """What a terminal shows: the table over all classes without the speckle, and what its numbers are."""
    rows = [r for r in overall(summary) if not r["metric"].startswith("speckle")]
    copies = [r for r in summary["rows"] if r["metric"] == COPIES and r["reference"] != summary["reference"]]
    moved = [
        f"{variant} moved most in " + ", ".join(f"{f['family']} {_shift(f)}" for f in families[:3]) + "."
        for variant, families in summary.get("moved", {}).items()
    ]
    return [
        *markdown(rows + copies),
        *(line for told in sections(summary).values() for line in ["", *told]),
        *([""] if moved else []),
        *moved,
        "",
        f"All classes against '{summary['reference']}', features of {summary['extractor']}; in brackets 95 % "
        f"intervals, for the floor the {summary['floor']}.",
        f"Left out as near-copies of real images: {len(summary.get('left_out', ()))}. By class and with all "
        f"references: {folder}/fid.md; plots beside it.",
    ]


def sections(summary: dict) -> dict[str, list[str]]:
    """What is told beside the metrics, lines of Markdown by their title: the ladder, the judge's verdict, remarks."""
    told = {LADDER: steps_of(summary), "Recognised as their class": recognised(summary)}
    told["The sets"] = [f"- {remark}" for remark in summary.get("remarks", ())]
    return {title: lines for title, lines in told.items() if lines}


def steps_of(summary: dict) -> list[str]:
    """A table of each ladder, and in words what its steps cost; nothing where there is none."""
    lines = []
    for found in summary.get("ladders", ()):
        rows = [r for r in found["rows"] if r["value"] is not None]
        references = list(dict.fromkeys(r["reference"] for r in rows))
        cells = {(r["variant"], r["reference"]): _cell(r) for r in rows}
        steps = dict.fromkeys(r["variant"] for r in rows)
        lines += markdown_table(
            ["step", *(f"{summary['metric']} against {reference}" for reference in references)],
            [[_name(step), *(cells.get((step, reference), "") for reference in references)] for step in steps],
        )
        values = {r["variant"]: r["value"] for r in rows if r["reference"] == summary["reference"]}
        lines += ["", *_prices([v for v in found["variants"] if v in values], values), ""]
    return lines[:-1]


def _prices(variants: list[str], values: dict[str, float]) -> list[str]:
    """For each variant, what every step adds to the distance of the one before."""
    steps = [step for step in values if step not in variants]
    told = []
    for variant in variants:
        added = [f"{values[b] - values[a]:+.3g} {b.removeprefix(f'{REAL} ')}" for a, b in pairwise(steps)]
        added.append(f"{values[variant] - values[steps[-1]]:+.3g} by what it generates")
        told.append(f"- {variant}: {values[variant]:.3g} = {values[REAL]:.3g} as real images, {', '.join(added)}")
    return told


def recognised(summary: dict) -> list[str]:
    """A table of what the judges recognise, and who they are; nothing where there are none."""
    lines = []
    for verdict in summary.get("judges", ()):
        rows = verdict["rows"]
        labels = list(dict.fromkeys(r["class"] for r in rows))
        cells = {(r["variant"], r["class"]): f"{_cell(r)}, n = {r['n']}" for r in rows}
        lines += markdown_table(
            ["recall of", *labels],
            [[v, *(cells.get((v, label), "–") for label in labels)] for v in dict.fromkeys(r["variant"] for r in rows)],
        )
        lines += [
            "",
            f"By a linear probe of {verdict['extractor']}, fitted to {verdict['n_train']} real training images at "
            f"{verdict['side']} px and to nothing else. The real images are those of '{summary['reference']}'.",
            "",
        ]
    return lines[:-1]


def _moved(summary: dict) -> list[str]:
    """A table with the families of features that each variant has moved in most, and what they mean."""
    variants = summary["moved"]
    cells = [[f"{f['family']} {_shift(f)}" for f in families] for families in variants.values()]
    return [
        f"## What moved most, all classes against {summary['reference']}",
        "",
        *markdown_table(list(variants), zip(*cells, strict=True)),
        "",
        "By how many standard deviations of the real images a feature's mean differs from theirs, averaged over the "
        "family; in brackets, real images of other splits. FRD is a squared distance, d², in these units, which its "
        "intervals take as given: compare it against one reference only. frd-score prints ln d², its paper takes ln d.",
    ]


def _shift(family: dict) -> str:
    return f"{family['shift']:.2f}" + ("" if family["floor"] is None else f" ({family['floor']:.2f})")


def markdown(rows: list[dict]) -> list[str]:
    """A table with a line for each metric and a column for each variant; reasons below it."""
    variants = _variants(rows)
    cells = {(r["metric"], r["variant"]): _cell(r) for r in rows}
    counts = {v: next(r["n"] for r in rows if r["variant"] == v) for v in variants}
    lines = markdown_table(
        ["metric", *(f"{_name(v)} (n = {counts[v]})" for v in variants)],
        [[m, *(cells.get((m, v), "") for v in variants)] for m in dict.fromkeys(r["metric"] for r in rows)],
    )
    notes = dict.fromkeys(f"{r['metric']}: {r['note']}" for r in rows if r.get("note"))
    return [*lines, *([""] if notes else []), *(f"- {note}" for note in notes)]


def plot_metrics(rows: list[dict], path: Path, caption: str) -> None:
    """Write a PNG with a panel for each metric: a dot with its interval for each variant, the floor as a band."""
    metrics = [m for m in dict.fromkeys(r["metric"] for r in rows) if any(_drawn(r, m) for r in rows)]
    variants = [v for v in _variants(rows) if v != REAL]
    if not metrics:
        return
    columns = min(PANELS, len(metrics))
    lines = -(-len(metrics) // columns)
    caption = textwrap.fill(caption, 45 * columns + 20)
    margin, height = 0.15 * (caption.count("\n") + 2), (0.9 + 0.28 * len(variants)) * lines
    figure = Figure(figsize=(2.6 * columns + NAMES, height + margin))
    panels = figure.subplots(lines, columns, squeeze=False)
    for panel in panels.flat[len(metrics) :]:
        panel.axis("off")
    for place, (panel, metric) in enumerate(zip(panels.flat, metrics, strict=False)):
        for row in (r for r in rows if _drawn(r, metric)):
            if row["variant"] == REAL:
                if row["low"] is not None:
                    panel.axvspan(row["low"], row["high"], color="0.85", linewidth=0)
                panel.axvline(row["value"], color="0.55", linewidth=1)
                continue
            y = variants.index(row["variant"])
            if row["low"] is not None:
                panel.plot([row["low"], row["high"]], [y, y], color="#0072b2", linewidth=1.5)
            panel.plot(row["value"], y, "o", color="#0072b2", markersize=4)
        if all(row["value"] == 0 for row in rows if _drawn(row, metric)):
            panel.set_xlim(-0.05, 1)
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.set_title(textwrap.fill(metric, 24), fontsize=9)
        panel.set_yticks(range(len(variants)), variants if place % columns == 0 else [""] * len(variants), fontsize=8)
        panel.set_ylim(len(variants) - 0.5, -0.5)
        panel.tick_params(labelsize=8, length=2)
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout(pad=0.6, rect=(0, margin / (height + margin), 1, 1))
    figure.text(0.01, 0.01, caption, fontsize=7, color="0.35", va="bottom")
    write_png(figure, path)


def _drawn(row: dict, metric: str) -> bool:
    return row["metric"] == metric and row["value"] is not None and not metric.startswith("speckle")


def _variants(rows: list[dict]) -> list[str]:
    """The variants in the rows' order, the floor first."""
    found = list(dict.fromkeys(r["variant"] for r in rows))
    return sorted(found, key=lambda v: v != REAL)


def markdown_table(head: list[str], lines: Iterable[Iterable[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)]


def _name(variant: str) -> str:
    return "floor: real" if variant == REAL else variant


def _cell(row: dict) -> str:
    if row["value"] is None:
        return "–"
    interval = "" if row["low"] is None else f" ({row['low']:.3g} to {row['high']:.3g})"
    return f"{row['value']:.3g}{interval}"
