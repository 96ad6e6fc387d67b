"""The job `train_classifier`: a torchvision classifier on real and, if asked, synthetic images."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from busaug_core.base.loading import make_readable
from busaug_core.classify.config import TrainClassifier
from busaug_core.classify.model import FILE, Classifier, predict
from busaug_core.errors import UserError
from busaug_core.images import PREPROCESSING, load_batch
from busaug_core.jobs.checkpoint import restore_checkpoint, save_checkpoint
from busaug_core.jobs.device import describe, pick_device
from busaug_core.jobs.events import Event, Notice, Progress
from busaug_core.jobs.run import CHECKPOINT, Run
from busaug_core.metrics.classification import figures
from busaug_core.records import Record, count_labels, of_split

NEVER = {"rejected", "evaluation"}
"""Tags of synthetic images that no classifier is trained with."""


def training_set(records: list[Record], include: list[str]) -> list[Record]:
    """The training split and the synthetic images of the variants in `include`.

    Raises UserError where a named variant has no image to train with.
    """
    chosen = of_split(records, "train")
    for variant in include:
        members = [r for r in records if r.synthetic and r.variant == variant]
        added = [r for r in members if not NEVER & set(r.tags)]
        if not added:
            known = ", ".join(sorted({r.variant for r in records if r.synthetic})) or "no synthetic image"
            why = f"all {len(members)} are tagged 'rejected' or 'evaluation'" if members else f"there is {known}"
            raise UserError(f"No synthetic image of variant '{variant}' can be trained with ({why}); generate some.")
        chosen += added
    return chosen


def train_classifier(config: TrainClassifier, run: Run) -> Iterator[Event]:
    """Train with Adam and cross-entropy for a fixed number of epochs, then report on held-out images.

    Returns the `metrics` of `figures` on `evaluated_on`, `classes`, `n_train`, `train_counts` and the settings.
    Raises UserError where a split is empty, a variant has no image, or the architecture is unknown.
    """
    records = run.records
    training = training_set(records, config.include)
    held_out = of_split(records, config.evaluate_on)
    if not training or not held_out:
        raise UserError(
            f"A classifier needs samples tagged 'train' and '{config.evaluate_on}'; choose others, tag some, or load a "
            "dataset with a split."
        )
    classes = sorted({r.label for r in training})
    unknown = sorted({r.label for r in held_out} - set(classes))
    if unknown:
        raise UserError(f"The split '{config.evaluate_on}' has the class(es) {', '.join(unknown)}, training has not.")
    device = pick_device()
    torch.manual_seed(config.seed)
    model = Classifier(config.arch, classes, config.resolution, config.pretrained).to(device)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    run.record_environment(device=describe(device))
    if rejected := sum(r.variant in config.include and "rejected" in r.tags for r in records):
        yield Notice(f"{rejected} images that a filter has rejected are left out.")
    yield Progress(0, config.epochs, "Training the classifier")
    images = load_batch([r.path for r in training], config.resolution)
    truth = np.array([classes.index(r.label) for r in training])
    start = restore_checkpoint(run.folder / CHECKPOINT, model.state_dict(), optimizer)
    for epoch in range(start, config.epochs):
        loss = _epoch(model, optimizer, images, truth, config, epoch, device)
        save_checkpoint(run.folder / CHECKPOINT, epoch + 1, model.state_dict(), optimizer)
        yield Progress(epoch + 1, config.epochs, "Training the classifier", {"loss": loss})
    model.eval()
    model.save(run.folder)
    make_readable(run.folder / FILE)
    logits = predict(model, load_batch([r.path for r in held_out], config.resolution), config.batch_size, device)
    return {
        "weights": str(run.folder / FILE),
        "classes": classes,
        "metrics": figures(np.array([classes.index(r.label) for r in held_out]), logits),
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
    return float(np.mean(losses))
