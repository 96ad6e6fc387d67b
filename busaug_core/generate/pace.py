"""How long a generation will take, by what earlier runs of the dataset on the same base took."""

import json
from contextlib import suppress
from itertools import pairwise
from statistics import median

from busaug_core.generate.config import STEP, Generation
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import list_runs

SHARES = {"generate": 1.0, "train_lora": 2 / 3, "train_textual_inversion": 2 / 3, "finetune_unet": 2 / 3}
"""A denoising step over a step of each job: guidance takes two forward passes, a training step some three."""
LAST = 200
"""Steps that are looked at."""


def expected_seconds(config: Generation, images: int, dataset: str) -> float | None:
    """Seconds that so many images of each variant take; None where no run tells.

    Args:
        config: a resolved one
        images: of each variant
        dataset: the dataset whose runs are looked at
    """
    for job, share in SHARES.items():
        for run in list_runs(dataset, job, done=True):
            alike = all(run.config.get(name) == getattr(config, name) for name in ("base_model", "resolution"))
            if alike and (seconds := _seconds_per_image(run)) is not None:
                return share * seconds * images * config.passes
    return None


def _seconds_per_image(run: Run) -> float | None:
    """The median time of a step over the images in it."""
    if not run.has_begun:
        return None
    told = []
    for line in (run.folder / "events.jsonl").read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # a kill may have cut it short
            told.append(json.loads(line))
    progress = [event for event in told if event["event"] == "Progress"]
    steps = [event for event in progress if event["message"] == STEP or "loss" in event["values"]][-LAST:]
    took = [b["time"] - a["time"] for a, b in pairwise(steps) if b["done"] == a["done"] + 1]
    return median(took) / run.config["batch_size"] if took else None
