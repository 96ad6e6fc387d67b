"""How long a generation will take, by what earlier runs of the dataset on the same base took."""

import json
from contextlib import suppress
from itertools import pairwise
from statistics import mean, median

from busaug_core.generate.config import STEP, Generation
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import list_runs

JOBS = ("generate", "train_lora", "train_textual_inversion", "finetune_unet")
"""Whose steps tell, the nearest first."""
TRAINING = 3
"""Forward passes that a step of a training takes about as long as."""
LAST = 200
"""Steps that are looked at."""


def expected_seconds(config: Generation, images: int, dataset: str) -> float | None:
    """Seconds that so many images of each variant take; None where no run tells.

    Args:
        config: a resolved one
        images: of each variant
        dataset: the dataset whose runs are looked at
    """
    for job in JOBS:
        for run in list_runs(dataset, job, done=True):
            alike = all(run.config.get(name) == getattr(config, name) for name in ("base_model", "resolution"))
            if alike and (seconds := _seconds_per_image(run)) is not None:
                return seconds / _forwards_in_step(run, type(config)) * images * config.forwards
    return None


def _forwards_in_step(run: Run, kind: type[Generation]) -> float:
    if run.job != JOBS[0]:
        return TRAINING
    values = {name: value for name, value in run.config.items() if name in kind.model_fields}
    earlier = kind.parse({**kind.before, **values})
    return earlier.forwards / earlier.passes


def _seconds_per_image(run: Run) -> float | None:
    """The mean time of a step, but for interruptions, over the images in it."""
    if not run.has_begun:
        return None
    told = []
    for line in (run.folder / "events.jsonl").read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # a kill may have cut it short
            told.append(json.loads(line))
    progress = [event for event in told if event["event"] == "Progress"]
    steps = [event for event in progress if event["message"] == STEP or "loss" in event["values"]][-LAST:]
    took = [b["time"] - a["time"] for a, b in pairwise(steps) if b["done"] == a["done"] + 1]
    # Of a generation some steps take twice as long as others.
    return mean(min(seconds, 3 * median(took)) for seconds in took) / run.config["batch_size"] if took else None
