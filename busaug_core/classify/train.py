"""The job `train_classifier`: a network or a probe on real and, if asked, synthetic images."""

from typing import Any

from busaug_core.classify.config import WEIGHTS, TrainClassifier
from busaug_core.classify.predictions import write_predictions
from busaug_core.classify.remarks import remarks_on_evaluation
from busaug_core.classify.task import Task
from busaug_core.classify.train_network import NetworkTraining
from busaug_core.classify.train_probe import ProbeTraining
from busaug_core.features.extractors import PROBE
from busaug_core.files import refuse_missing
from busaug_core.jobs.device import describe, pick_device
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.roles import REJECTED, of_split, remarks_on_training
from busaug_core.jobs.run import Run
from busaug_core.metrics.classification import classification_metrics
from busaug_core.records import count_labels
from busaug_core.words import counted


def train_classifier(config: TrainClassifier, run: Run) -> Steps[dict[str, Any]]:
    """Train on the training images, save the weights, then report on held-out images.

    Keeps the logits of the held-out images in `predictions.jsonl`. Returns the `metrics` of `classification_metrics`
    on `evaluated_on`, `remarks` on what these cannot tell, `classes`, `n_train`, `train_counts`, and the settings that
    its kind of classifier has; of a probe with `resamples` also `resampled`, see `ProbeTraining`.
    """
    records = run.records
    task = Task(config.training_set(records), of_split(records, config.evaluate_on))
    refuse_missing(r.path for r in task.training + task.held_out)
    device = pick_device()
    kind = ProbeTraining if config.arch == PROBE else NetworkTraining
    training = kind(config, run, task, device)
    run.record_environment(device=describe(device))
    if rejected := sum(r.variant in config.include and REJECTED in r.tags for r in records):
        n = counted(rejected, "image that a filter has rejected is", "images that a filter has rejected are")
        yield Notice(f"{n} left out.")
    remarks = remarks_on_training(task.training)
    remarks += remarks_on_evaluation(task.held_out, task.classes, config.evaluate_on)
    yield from map(Notice, remarks)
    logits, told = yield from training.steps()
    write_predictions(run, task.held_out, logits, task.classes, range(len(task.held_out)))
    return {
        "weights": str(run.folder / WEIGHTS),
        "classes": task.classes,
        "metrics": classification_metrics(task.held_out_truth, logits),
        "remarks": [*remarks, *told.pop("remarks", [])],
        "evaluated_on": config.evaluate_on,
        "n_train": len(task.training),
        "n_synthetic": sum(r.synthetic for r in task.training),
        "train_counts": count_labels(task.training),
        "arch": config.arch,
        **told,
    }
