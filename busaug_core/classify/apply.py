"""The job `apply_classifier`: a trained classifier's predictions of every image."""

from dataclasses import asdict
from typing import Any

import numpy as np

from busaug_core.classify.attention import TARGETS, attention_rows, measure_attention
from busaug_core.classify.config import HEATMAP_GRID, ApplyClassifier
from busaug_core.classify.heatmap_grid import heatmap_grid
from busaug_core.classify.heatmaps import GradCam, write_heatmaps
from busaug_core.classify.load import load_classifier
from busaug_core.classify.predictions import write_predictions, write_resampled
from busaug_core.classify.remarks import remarks_on_evaluation
from busaug_core.classify.resampling import held_out_draws
from busaug_core.jobs.device import pick_device
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.lineage import seen_by
from busaug_core.jobs.run import Run
from busaug_core.metrics.classification import classification_metrics, metrics_over_draws
from busaug_core.records import Record


def apply_classifier(config: ApplyClassifier, run: Run) -> Steps[dict[str, Any]]:
    """Write `predictions.jsonl`: path, label, confidence and logits of each image, and whether it is evaluated.

    Evaluated are the real images that bear the tag `evaluate_on` and that the classifier was not trained on.
    Returns `n`, the `classes`, the `classifier`, the `metrics` of `classification_metrics` on `evaluated_on` with
    `remarks` on what they cannot tell, and of each variant the share `recognised` as its class. Of a probe that was
    also trained on draws, `resampled` has the metrics over these, whose logits `resampled.safetensors` keeps.

    With `heatmaps` there are a map of each image in the folder `heatmaps`, a picture of some, and of each in
    `attention.jsonl` how much lies on the lesion and on burnt-in marks. The result then has `heatmap_layer`, in which
    the maps are, `empty_heatmaps`, how many show nothing for the predicted class, and the rows of `attention_rows`:
    `attention` of lesions and `attention_to_marks`, each where there are any.
    """
    classifier, device = run.used["classifier"], pick_device()
    model = load_classifier(classifier.path, run, device)
    records = run.records
    cam = GradCam(model, model.load(records[0].path)) if config.heatmaps else None
    logits = yield from model.logits_of(records, run, config.batch_size)
    predicted = [model.classes[i] for i in logits.argmax(1)]
    summary = {"classes": model.classes, "classifier": run.name_of(classifier), "n": len(records)}
    summary["evaluated_on"] = config.evaluate_on
    held_out = yield from _held_out(records, config.evaluate_on, classifier.run, model.classes)
    if held_out:
        truth = np.array([model.classes.index(records[i].label) for i in held_out])
        summary["metrics"] = classification_metrics(truth, logits[held_out])
        summary["remarks"] = remarks_on_evaluation([records[i] for i in held_out], model.classes, config.evaluate_on)
        yield from map(Notice, summary["remarks"])
        if model.draws and classifier.run is not None:
            evaluated = [records[i] for i in held_out]
            of_draws = yield from model.logits_of_draws(evaluated, run, config.batch_size)
            write_resampled(run, of_draws)
            estimates = metrics_over_draws(truth, of_draws, held_out_draws(evaluated, classifier.run.config["seed"]))
            summary["resampled"] = {name: asdict(estimate) for name, estimate in estimates.items()}
    write_predictions(run, records, logits, model.classes, set(held_out))
    agreement: dict[str, list[bool]] = {}
    for record, label in zip(records, predicted, strict=True):
        if record.synthetic and record.label:
            agreement.setdefault(record.variant, []).append(label == record.label)
    summary["recognised"] = {variant: float(np.mean(hits)) for variant, hits in sorted(agreement.items())}
    if cam is not None:
        yield from write_heatmaps(cam, records, logits.argmax(1), run, config.batch_size, device)
        found = measure_attention(run, records, predicted)
        shown = held_out or range(len(records))
        heatmap_grid([records[i] for i in shown], [found[i] for i in shown], run.folder, run.folder / HEATMAP_GRID)
        summary["heatmap_layer"] = cam.layer
        summary["empty_heatmaps"] = sum(one.empty for one in found)
        for target in TARGETS:
            if rows := attention_rows(run, records, found, held_out, target):
                summary[target.rows] = rows
    return summary


def _held_out(records: list[Record], tag: str, trained: Run | None, classes: list[str]) -> Steps[list[int]]:
    """The places of the images that are evaluated; yields a notice where some or all are not."""
    tagged = [i for i, r in enumerate(records) if tag in r.tags and r.label and not r.synthetic]
    seen = {r.path for r in seen_by(trained, [records[i] for i in tagged])} if trained else set()
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
