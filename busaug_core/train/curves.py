"""The losses of a training as a picture."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from busaug_core.figures import write_png
from busaug_core.jobs.events import Steps
from busaug_core.jobs.run import Run
from busaug_core.train.loop import OVERHEAD, Check
from busaug_core.train.validation import BANDS, Validation

CURVES = "losses.png"
WINDOW = 20
"""Steps that the line through the losses is a mean of, at least; a twentieth of all where that is more."""

INTERVAL = 10.0
"""Least seconds between two pictures; more where drawing one takes more than a twentieth of them."""

SIDES = {"training": "#2f6fb0", "held out": "#b0302f"}
STYLES = (":", "-.", "--")


class Curves(Check):
    """`losses.png` in the run's folder, drawn again from time to time while the training goes on."""

    def __init__(self, run: Run, message: str, steps: int, validation: Validation | None):
        self.run, self.message, self.validation = run, message, validation
        self.steps = range(1, steps)
        self._drawn, self._took = time.monotonic(), 0.0

    def look(self, step: int) -> Steps[bool]:
        yield from ()
        if time.monotonic() - self._drawn > max(INTERVAL, OVERHEAD * self._took):
            self.draw()
        return False

    def draw(self) -> None:
        """Draw what is known by now."""
        if self.run.writes and self.run.has_begun:
            begun = time.monotonic()
            draw_curves(self.run, self.message, self.validation.rows() if self.validation else [])
            self._drawn = time.monotonic()
            self._took = self._drawn - begun


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
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    path = run.folder / CURVES
    write_png(figure, path)
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
