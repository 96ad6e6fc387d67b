"""The report card of an experiment: its answer, tables, plots and protocol as Markdown, CSV and one page of HTML.

The page holds its pictures, so that it can be sent as it is and printed.
"""

import base64
import html
import json
from pathlib import Path

import numpy as np
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from busaug_core.base.defaults import scales_in_words
from busaug_core.data.config import LOAD_BUSI
from busaug_core.experiment import growth
from busaug_core.experiment.claims import Claim
from busaug_core.experiment.config import RunExperiment
from busaug_core.experiment.findings import COMPARED, METRICS, Findings
from busaug_core.experiment.table import (
    ARMS,
    BY_CLASS,
    COMPARISON,
    GROWTH,
    told_of,
    write_claims,
    write_file,
)
from busaug_core.experiment.tested import Tested
from busaug_core.figures import write_png
from busaug_core.generate.config import Generation
from busaug_core.jobs.run import Run
from busaug_core.measure.report import LADDER, plot_metrics
from busaug_core.measure.rows import REAL

VARIANTS = "variants.png"
MASKS = "masks.png"
RESEARCH = "Research use only; no number here says anything about patients."
COLUMNS = 5
"""Confusion matrices in a row."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.3rem } h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid #ddd }
.answer { font-size: 1.15rem; font-weight: 600; background: #eef4fa; padding: .8rem 1rem; border-radius: 4px }
table { border-collapse: collapse; font-size: .85rem; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .7rem; text-align: left } th { border-bottom-color: #888 }
img { max-width: 100%; display: block; margin: 1rem 0 } pre { font-size: .75rem; white-space: pre-wrap }
p { max-width: 48rem } figcaption { font-size: .8rem; color: #555 } figure { margin: 1rem 0; break-inside: avoid }
@media print { body { margin: 0; max-width: none; font-size: 11px } h2 { break-after: avoid } }
"""


def write_report(run: Run, config: RunExperiment, findings: Findings) -> list[str]:
    """Write `report.html` and its plots, `results.md`, `results.csv` and `claims.csv` into the run's folder.

    The folder has the grids of the variants and of the masks already. Returns the lines of `results.md`.
    """
    folder = run.folder
    answer, told = told_of(findings)
    write_file(folder / "results.csv", findings)
    write_claims(folder / "claims.csv", findings)
    lines = [answer]
    for title, text in told.items():
        lines += ["", *([f"{title}:", ""] if len(lines) > 1 else []), *text]
    lines += ["", RESEARCH]
    (folder / "results.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    plot_differences(findings.claims, folder / "differences.png")
    plot_confusion(findings.tested, folder / "confusion.png")
    growth.plot(findings, folder / "growth.png")
    pictures = {
        ARMS: [
            (folder / VARIANTS, "Held-out scans and what was made, by class. A row of made images shares its seed."),
            (folder / MASKS, "Masks of training images, these images, and what was made to train with and to measure."),
        ],
        COMPARISON: [(folder / "differences.png", "What each arm gains over the original, with its 95 % interval.")],
        BY_CLASS: [(folder / "confusion.png", "Which class (columns) images of a class (rows) are taken for.")],
        GROWTH: [(folder / "growth.png", "What more training images bring, real and synthetic.")],
        LADDER: [(Path(findings.distances["folder"]) / "ladder.png", "")],
    }
    told["Protocol"] = _protocol(run, config)
    (folder / "report.html").write_text(_page(config.dataset_name, answer, told, pictures), encoding="utf-8")
    return lines


def plot_differences(claims: list[Claim], path: Path) -> None:
    """Write a forest plot as PNG: for each metric what the arms gain, with intervals; nothing without claims."""
    rows = []
    for claim in claims:
        if claim.metric in COMPARED:
            metric = f"{METRICS[claim.metric]} gained"
            rows.append(dict(variant=REAL, metric=metric, value=0, low=None, high=None))
            rows.append(dict(variant=claim.arm, metric=metric, value=claim.value, low=claim.low, high=claim.high))
    if rows:
        caption = (
            f"Against the {claims[0].baseline} (gray line), {claims[0].n} images, {claims[0].trainings} trainings."
        )
        plot_metrics(rows, path, caption)


def plot_confusion(tested: Tested, path: Path) -> None:
    """Write the arms' confusion matrices as PNG, in shares of the images of a class, mean over trainings."""
    arms, classes = list(tested.logits), tested.classes
    columns = min(COLUMNS, len(arms))
    lines = -(-len(arms) // columns)
    side = 0.5 + 0.55 * len(classes)
    figure = Figure(figsize=(side * columns + 0.9, (side + 0.7) * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for place, arm in enumerate(arms):
        panel, shares = panels[place], tested.confusion(arm)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.ndindex(shares.shape):
            color = "white" if shares[i, j] > 0.6 else "black"
            panel.text(j, i, f"{shares[i, j]:.2f}", ha="center", va="center", fontsize=8, color=color)
        panel.set_title(arm, fontsize=9)
        panel.set_xticks(range(len(classes)), classes, fontsize=7, rotation=45, ha="right")
        panel.set_yticks(range(len(classes)), classes if place % columns == 0 else [""] * len(classes), fontsize=7)
        panel.tick_params(length=0)
    for panel in list(panels)[len(arms) :]:
        panel.axis("off")
    write_png(figure, path)


def _protocol(run: Run, config: RunExperiment) -> list[str]:
    """How the figures came about, and with what."""
    by_image = config.settings.get(LOAD_BUSI.name, {}).get("split_by") == "image"
    sides = (
        "The split is by image, as was asked for: frames of one scan lie on both sides, and metrics are too good."
        if by_image
        else "Frames of one scan, and images of one patient where patients are known, lie on one side."
    )
    settings = json.dumps(config.model_dump(mode="json"), indent=1)
    versions = ", ".join(f"{name} {version}" for name, version in run.environment.get("versions", {}).items())
    return [
        f"{sides} No generator and no classifier has learned from the images that it is tested on; images that were "
        "made to be measured train nothing.",
        "",
        *(f"- {_sampling(generation)}" for generation in config.generations(run.folder.parent)),
        "",
        *([versions, ""] if versions else []),
        "```",
        settings,
        "```",
    ]


def _sampling(generation: Generation) -> str:
    """How images are sampled, in words."""
    told = [f"{generation.steps} steps", f"guidance {generation.guidance_scale:g}"]
    if generation.spacing > 1:
        told[0] += f" at spacing {generation.spacing:g}"
    if generation.guidance_end < 1:
        told[1] += f" until {generation.guidance_end:.0%} of them"
    if generation.departs:
        of_classes = generation.domain_guidance_width, generation.domain_guidance_widths
        told.append(f"domain guidance {scales_in_words(generation.domain_guidance, *of_classes)}")
    return f"Images of {', '.join(generation.variants)}: {', '.join(told)}."


def _page(name: str, answer: str, told: dict[str, list[str]], pictures: dict[str, list[tuple[Path, str]]]) -> str:
    """The report as HTML."""
    markdown = MarkdownIt("commonmark", {"breaks": True}).enable("table")
    parts = []
    for title, lines in told.items():
        parts += [f"<h2>{html.escape(title)}</h2>", markdown.render("\n".join(lines))]
        for path, caption in pictures.get(title, ()):
            if not path.exists():
                continue
            picture = base64.b64encode(path.read_bytes()).decode()
            parts.append(
                f'<figure><img alt="{path.stem}" src="data:image/png;base64,{picture}">'
                f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            )
    question = f"{name}: are the synthetic images worth training with?"
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{html.escape(question)}</title>'
        f"<style>{STYLE}</style><h1>{html.escape(question)}</h1>"
        f'<p class="answer">{html.escape(answer)}</p>{"".join(parts)}<p>{RESEARCH}</p></html>\n'
    )
