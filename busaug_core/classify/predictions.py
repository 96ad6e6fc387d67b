"""A classifier's predictions as a file of JSON lines, kept by the runs that make them."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.special import softmax

from busaug_core.classify.config import PREDICTIONS, RESAMPLED
from busaug_core.files import read_rows, write_rows, write_whole
from busaug_core.jobs.run import Run
from busaug_core.records import Record


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of an image: its likeliest class, that one's probability, and the logits of all.

    `truth` is the image's own class; `evaluated` says whether the run's metrics are on it.
    """

    path: str
    label: str
    confidence: float
    logits: list[float]
    evaluated: bool
    truth: str | None = None


def write_predictions(
    run: Run, records: list[Record], logits: np.ndarray, classes: list[str], evaluated: Collection[int]
) -> None:
    """Write `predictions.jsonl`: logits float N × classes of N records, of which the places `evaluated` count."""
    probabilities = softmax(logits, axis=1)
    rows = (
        Prediction(
            record.path,
            classes[int(row.argmax())],
            float(probabilities[i].max()),
            [float(x) for x in row],
            i in evaluated,
            record.label or None,
        )
        for i, (record, row) in enumerate(zip(records, logits, strict=True))
    )
    write_rows(run.folder / PREDICTIONS, map(asdict, rows))


def read_predictions(folder: Path) -> list[Prediction]:
    """The predictions that a run's folder holds."""
    return [Prediction(**row) for row in read_rows(folder / PREDICTIONS)]


def write_resampled(run: Run, logits: np.ndarray, **tensors: np.ndarray) -> None:
    """Write `resampled.safetensors`: logits of images by probes trained on draws, float32 R × N × classes, and tensors.

    The N images are the evaluated ones of `predictions.jsonl`, in its order.
    """
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in (("logits", logits), *tensors.items())}
    write_whole(run.folder / RESAMPLED, lambda partial: save_file(tensors, partial))


def read_resampled(folder: Path) -> np.ndarray:
    """The logits that `write_resampled` wrote into a run's folder."""
    return load_file(folder / RESAMPLED)["logits"]
