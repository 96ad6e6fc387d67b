"""The job `apply_classifier`: a trained classifier's predictions of every image."""

import json
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from scipy.special import softmax

from busaug_core.classify.config import ApplyClassifier
from busaug_core.classify.model import Classifier, load_classifier, predict
from busaug_core.errors import UserError
from busaug_core.images import load_gray
from busaug_core.jobs.device import pick_device
from busaug_core.jobs.events import Event, Notice, Progress
from busaug_core.jobs.run import Run
from busaug_core.metrics.classification import figures
from busaug_core.parallel import in_order
from busaug_core.records import Record

FILE = "predictions.jsonl"


def apply_classifier(config: ApplyClassifier, run: Run) -> Iterator[Event]:
    """Write `predictions.jsonl`: path, label, confidence and logits of each image, and whether it is evaluated.

    Evaluated are the real images that bear the tag `evaluate_on` and that the classifier was not trained on.
    Returns `n`, the `classes`, the `classifier`, the `metrics` of `figures`, and of each variant the share
    `recognised` as its class.
    """
    device = pick_device()
    trained = run.sibling(config.classifier)
    model = load_classifier(trained).to(device)
    records = run.records
    if not records:
        raise UserError("There is no sample to classify.")
    logits = yield from predict_files(model, [r.path for r in records], config.batch_size, device)
    predicted = [model.classes[i] for i in logits.argmax(1)]
    summary = {"classes": model.classes, "classifier": run.name_of(trained), "n": len(records)}
    held_out = yield from _held_out(records, config.evaluate_on, trained, model.classes)
    if held_out:
        truth = np.array([model.classes.index(records[i].label) for i in held_out])
        summary["metrics"] = figures(truth, logits[held_out])
    evaluated = set(held_out)
    probabilities = softmax(logits, axis=1)
    with (run.folder / FILE).open("w", encoding="utf-8") as f:
        for i, (record, label, row) in enumerate(zip(records, predicted, logits, strict=True)):
            prediction = {
                "path": record.path,
                "label": label,
                "confidence": float(probabilities[i].max()),
                "logits": [float(x) for x in row],
                "evaluated": i in evaluated,
            }
            f.write(json.dumps(prediction) + "\n")
    agreement: dict[str, list[bool]] = {}
    for record, label in zip(records, predicted, strict=True):
        if record.synthetic and record.label:
            agreement.setdefault(record.variant, []).append(label == record.label)
    summary["recognised"] = {variant: float(np.mean(hits)) for variant, hits in sorted(agreement.items())}
    return summary


def _held_out(records: list[Record], tag: str, trained: Run, classes: list[str]) -> Iterator[Event]:
    """The places of the images that are evaluated; yields a notice where some or all are not."""
    tagged = [i for i, r in enumerate(records) if tag in r.tags and r.label and not r.synthetic]
    seen = {r.path for r in trained.seen([records[i] for i in tagged])}
    held_out = [i for i in tagged if records[i].path not in seen]
    unknown = sorted({records[i].label for i in held_out} - set(classes))
    if not held_out or unknown:
        reason = "no real image of a known class has this tag"
        if unknown:
            reason = f"the classifier does not know {', '.join(unknown)}"
        elif tagged:
            reason = "the classifier was trained on all of these images"
        yield Notice(f"Nothing is evaluated on '{tag}': {reason}.")
        return []
    if known := len(tagged) - len(held_out):
        yield Notice(
            f"{known} of {len(tagged)} images of '{tag}' are not evaluated: the classifier was trained on them."
        )
    return held_out


def predict_files(model: Classifier, paths: list[str], batch_size: int, device: torch.device) -> Iterator[Event]:
    """Yield progress; returns logits, float32 N × classes, of image files."""
    logits = []
    images = in_order(lambda path: load_gray(path, model.resolution), paths)
    for done in range(0, len(paths), batch_size):
        batch = np.stack(list(islice(images, batch_size)))
        logits.append(predict(model, batch, batch_size, device))
        yield Progress(done + len(batch), len(paths), "Classifying images")
    return np.concatenate(logits)
