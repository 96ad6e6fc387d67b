"""The losses of a training as a picture."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from busaug_core.files import write_whole
from busaug_core.jobs.run import Run
from busaug_core.train.validation import BANDS

CURVES = "losses.png"
WINDOW = 20
"""Steps that the line through the losses is a mean of, at least; a twentieth of all where that is more."""

SIDES = {"training": "#2f6fb0", "held out": "#b0302f"}
STYLES = (":", "-.", "--")


def draw_curves(run: Run, message: str, rows: list[dict[str, float]]) -> Path:
    """Write `losses.png` into the run's folder: the loss of each step, and those on fixed noise where there are any.

    Args:
        run: the training's, whose log holds the steps' losses
        message: what the progress of a step is called
        rows: see `Validation.rows`
    """
    steps, losses = _logged(run, message)
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots(1, 2 if rows else 1, squeeze=False)[0]
    axes[0].plot(steps, losses, color="#c9ced6", linewidth=0.8, label="each step")
    window = max(WINDOW, len(losses) // 20)
    if len(losses) > window:
        smooth = np.convolve(losses, np.ones(window) / window, "valid")
        axes[0].plot(steps[window - 1 :], smooth, color="#f07f2f", label=f"mean of {window}")
    axes[0].set_title("loss in training")
    if rows:
        at = [row["step"] for row in rows]
        for side, color in SIDES.items():
            axes[1].plot(at, [row[side] for row in rows], color=color, marker=".", label=f"{side} images")
            for band, style in zip(BANDS, STYLES, strict=True):
                axes[1].plot(at, [row[f"{side}, {band}"] for row in rows], style, color=color)
        for band, style in zip(BANDS, STYLES, strict=True):
            axes[1].plot([], [], style, color="#5a6b7c", label=f"{band} timesteps alone")
        axes[1].set_title("loss on fixed noise")
    for ax in axes:
        ax.set_xlabel("step")
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    path = run.folder / CURVES
    write_whole(path, lambda partial: figure.savefig(partial, format="png", dpi=110))
    return path


def _logged(run: Run, message: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and losses of a run's log; of a step that was done again after a kill, the last."""
    found: dict[int, float] = {}
    for line in (run.folder / "events.jsonl").read_text(encoding="utf-8").splitlines():
        event: dict[str, Any] = {}
        with suppress(ValueError):  # a kill may have cut it short
            event = json.loads(line)
        if event.get("message") == message and "loss" in event.get("values", {}):
            found[event["done"]] = event["values"]["loss"]
    steps = sorted(found)
    return np.array(steps), np.array([found[step] for step in steps])
