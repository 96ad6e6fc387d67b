"""The job `train_classifier`: a torchvision classifier on real and, if asked, synthetic images."""

from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from busaug_core.classify.config import WEIGHTS, TrainClassifier
from busaug_core.classify.model import Classifier, predict, refuse_resolution
from busaug_core.classify.predictions import write_predictions
from busaug_core.classify.remarks import remarks_on_evaluation
from busaug_core.errors import UserError
from busaug_core.files import refuse_missing
from busaug_core.images import PREPROCESSING, load_batch
from busaug_core.jobs.checkpoint import restore_checkpoint, save_checkpoint
from busaug_core.jobs.device import describe, pick_device
from busaug_core.jobs.events import Notice, Progress, Steps
from busaug_core.jobs.roles import REJECTED, of_split, remarks_on_training, training_set
from busaug_core.jobs.run import CHECKPOINT, Run
from busaug_core.metrics.classification import classification_metrics
from busaug_core.records import count_labels


def train_classifier(config: TrainClassifier, run: Run) -> Steps[dict[str, Any]]:
    """Train with Adam and cross-entropy for a fixed number of epochs, then report on held-out images.

    Keeps the logits of the held-out images in `predictions.jsonl`. Returns the `metrics` of `classification_metrics`
    on `evaluated_on`, `remarks` on what these cannot tell, `classes`, `n_train`, `train_counts` and the settings.
    Raises UserError where the architecture is unknown or takes no images of that size.
    """
    records = run.records
    training = training_set(records, config.include)
    held_out = of_split(records, config.evaluate_on)
    classes = sorted({r.label for r in training})
    refuse_missing(r.path for r in training + held_out)
    device = pick_device()
    torch.manual_seed(config.seed)
    model = Classifier(config.arch, classes, config.resolution, config.pretrained).to(device)
    refuse_resolution(model)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    run.record_environment(device=describe(device))
    if rejected := sum(r.variant in config.include and REJECTED in r.tags for r in records):
        yield Notice(f"{rejected} images that a filter has rejected are left out.")
    remarks = [*remarks_on_training(training), *remarks_on_evaluation(held_out, classes, config.evaluate_on)]
    yield from map(Notice, remarks)
    yield Progress(0, config.epochs, "Training the classifier")
    images = load_batch([r.path for r in training], config.resolution)
    truth = np.array([classes.index(r.label) for r in training])
    start = restore_checkpoint(run.folder / CHECKPOINT, model.state_dict(), [optimizer])
    for epoch in range(start, config.epochs):
        loss = _epoch(model, optimizer, images, truth, config, epoch, device)
        save_checkpoint(run.folder / CHECKPOINT, epoch + 1, model.state_dict(), [optimizer])
        yield Progress(epoch + 1, config.epochs, "Training the classifier", {"loss": loss})
    model.eval()
    model.save(run.folder)
    logits = predict(model, load_batch([r.path for r in held_out], config.resolution), config.batch_size, device)
    write_predictions(run, held_out, logits, classes, range(len(held_out)))
    return {
        "weights": str(run.folder / WEIGHTS),
        "classes": classes,
        "metrics": classification_metrics(np.array([classes.index(r.label) for r in held_out]), logits),
        "remarks": remarks,
        "evaluated_on": config.evaluate_on,
        "n_train": len(training),
        "train_counts": count_labels(training),
        "arch": config.arch,
        "pretrained": config.pretrained,
        "epochs": config.epochs,
        "resolution": config.resolution,
        "preprocessing": PREPROCESSING,
    }


def _epoch(
    model: Classifier,
    optimizer: torch.optim.Optimizer,
    images: np.ndarray,
    truth: np.ndarray,
    config: TrainClassifier,
    epoch: int,
    device: torch.device,
) -> float:
    """One pass, its order and dropout drawn from (seed, epoch); returns the mean loss."""
    model.train()
    rng = np.random.default_rng([config.seed, epoch])
    torch.manual_seed(int(rng.integers(2**31)))
    order = rng.permutation(len(images))
    losses = []
    for i in range(0, len(order), config.batch_size):
        chosen = order[i : i + config.batch_size]
        if len(chosen) == 1:
            continue  # batch normalisation cannot train on a single image
        batch = images[chosen]
        if config.flip:
            mirrored = rng.random(len(chosen)) < 0.5
            batch[mirrored] = batch[mirrored, :, ::-1]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = model(torch.from_numpy(batch).to(device))
        loss = cross_entropy(logits.float(), torch.from_numpy(truth[chosen]).to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if not np.isfinite(losses[-1]):
            raise UserError(f"The loss is {losses[-1]} in epoch {epoch + 1}; lower learning_rate.")
    return float(np.mean(losses))
