"""The job `score_synthetic`: what each synthetic image is worth by itself.

The classifier behind the scores and its features never saw a synthetic image; real images are those of the
training split, save for an evaluation image's influence on FID, which is against the held-out reference.
"""

import json
from collections.abc import Iterator

import numpy as np
import torch
from scipy.special import softmax

from busaug_core.classify.apply import predict_files
from busaug_core.classify.model import Classifier, load_classifier
from busaug_core.errors import UserError
from busaug_core.features.cache import Features, extract
from busaug_core.features.extractors import make_extractor
from busaug_core.jobs.device import pick_device
from busaug_core.jobs.events import Event, Notice, Progress
from busaug_core.jobs.run import Run
from busaug_core.measure.config import NEAR_COPY, ScoreSynthetic
from busaug_core.measure.copies import Originals
from busaug_core.measure.embeddings import selected
from busaug_core.measure.grids import pair_grid
from busaug_core.measure.sets import matched
from busaug_core.metrics.influence import fid_influence, fid_influence_of_new
from busaug_core.metrics.neighbours import blocks, nearest, squared_distances
from busaug_core.records import Record, of_split, write_records

FILE = "scores.jsonl"
PAIRS = 12
TINY = 1e-30
"""Squared distance that stands for none."""


def score_synthetic(config: ScoreSynthetic, run: Run) -> Iterator[Event]:
    """Write `scores.jsonl`, a line for each synthetic image, and `nearest.png`, the likeliest copies.

    `nearest_real_distance` is the Euclidean distance of features to the nearest training image or its mirror
    image (`nearest_real_path`); `copy_ratio` that distance over the median distance of training images to their
    nearest in another group, mirrored or not, so that 0 is a copy. `likeness` is that of pictures, whatever the
    extractor, to the most alike training image (`likest_real_path`); from `NEAR_COPY` on it is a near-copy.
    `realism` is that of Kynkäänniemi et al. 2019, equation 4. `fid_influence` is by how much the image raises its
    variant's Fréchet distance, exactly: that of the evaluation set to the reference for its own images, that to the
    training split for one more (a balancing image, whose choice must not know the reference).
    """
    everything = selected(run.records, config.variants)
    synthetic = [r for r in everything if r.synthetic]
    training, reference = of_split(everything, "train"), of_split(everything, config.reference)
    if not synthetic:
        raise UserError("There is no synthetic image to score; generate some first.")
    if len(training) <= config.neighbors or not reference:
        raise UserError(f"Scores need real images tagged 'train' (over {config.neighbors}) and '{config.reference}'.")
    device = pick_device()
    classifier = load_judge(run, config.classifier, {r.label for r in synthetic}).to(device)
    extractor = make_extractor(config.extractor, run, device, config.preprocessing)
    records = synthetic + training + [r for r in reference if config.reference != "train"]
    features = yield from extract(records, extractor, run, config.batch_size)
    mirrored = yield from extract(training, extractor, run, config.batch_size, mirrored=True)
    if not run.is_main:
        return {}
    likeness, likest = yield from Originals(training).nearest(synthetic)
    made, real = features.of(synthetic), features.of(training)
    distance, place = nearest(made, np.concatenate([real, mirrored.matrix]))
    ratio = distance / typical_distance(real, mirrored.matrix, [r.split_group for r in training])
    realistic = realism(real, made, config.neighbors)
    influence = yield from _influence(config, synthetic, reference, training, features)
    judged = yield from _class_probabilities(classifier, synthetic, config.batch_size, device)
    scores = [
        {
            **judged[i],
            "nearest_real_distance": float(distance[i]),
            "nearest_real_path": training[place[i] % len(training)].path,
            "copy_ratio": float(ratio[i]),
            "likeness": float(likeness[i]),
            "likest_real_path": likest[i].path,
            "realism": float(realistic[i]),
            "fid_influence": influence.get(record.path),
            "run": run.key,
            "extractor": extractor.name,
        }
        for i, record in enumerate(synthetic)
    ]
    with (run.folder / FILE).open("w", encoding="utf-8") as file:
        for record, score in zip(synthetic, scores, strict=True):
            file.write(json.dumps({"path": record.path, **score}) + "\n")
    write_records(run.folder / "products.jsonl", synthetic)
    likeliest = sorted(range(len(scores)), key=lambda i: suspicion(scores[i]))[:PAIRS]
    pair_grid(
        [
            (synthetic[i].path, suspected(scores[i]), f"likeness {likeness[i]:.2f}, copy ratio {ratio[i]:.2f}")
            for i in likeliest
        ],
        run.folder / "nearest.png",
        "Left: synthetic. Right: the training image whose near-copy it is, or else the nearest by features.",
    )
    return {
        "n": len(synthetic),
        "extractor": extractor.name,
        "weights": extractor.weights,
        "preprocessing": extractor.preprocessing,
        "classifier": config.classifier,
        "reference": config.reference,
        "means": _means(synthetic, scores),
    }


def suspicion(score: dict) -> tuple[float, float]:
    """What sorts the likeliest copies first: near-copies by likeness, then all others by copy ratio."""
    return (-score["likeness"] if score["likeness"] >= NEAR_COPY else 0.0, score["copy_ratio"])


def suspected(score: dict) -> str:
    """The path of the training image that an image is a near-copy of, or else its nearest by features."""
    return score["likest_real_path" if score["likeness"] >= NEAR_COPY else "nearest_real_path"]


def typical_distance(real: np.ndarray, mirrored: np.ndarray, groups: list[str | None]) -> float:
    """The median distance of real images to their nearest outside their own group, as it is or mirrored.

    Args:
        real, mirrored: features of the images and of their mirror images, N×D each
        groups: what ties images of one scan, None for an image of its own

    Raises UserError where all images are of one group.
    """
    names = np.unique([g if g is not None else f"#{i}" for i, g in enumerate(groups)], return_inverse=True)[1]
    others, of_group = np.concatenate([real, mirrored]).astype(np.float64), np.tile(names, 2)
    least = np.empty(len(real))
    for rows in blocks(len(real)):
        found = squared_distances(real[rows].astype(np.float64), others)
        found[names[rows, None] == of_group] = np.inf
        least[rows] = np.sqrt(found.min(1))
    median = float(np.median(least))
    if not np.isfinite(median) or median == 0:
        raise UserError("The training images are all of one group, or all alike; a copy ratio needs others.")
    return median


def realism(real: np.ndarray, synthetic: np.ndarray, k: int) -> np.ndarray:
    """The greatest ratio of a real image's radius to its distance, float M; 1 and above lies within a ball.

    The radius reaches to the k-th nearest other real image; the half with the larger radii is left out
    (Kynkäänniemi et al. 2019, equation 4). Features are N×D and M×D, N over k.
    """
    real, synthetic = real.astype(np.float64), synthetic.astype(np.float64)
    radii = np.concatenate(
        [np.partition(squared_distances(real[rows], real), k, axis=1)[:, k] for rows in blocks(len(real))]
    )
    compact = radii <= np.median(radii)
    found = [
        (radii[compact] / np.maximum(squared_distances(synthetic[rows], real[compact]), TINY)).max(1)
        for rows in blocks(len(synthetic))
    ]
    return np.sqrt(np.concatenate(found)).clip(max=1e6)


def load_judge(run: Run, key: str, labels: set[str]) -> Classifier:
    """The classifier of a run beside this one.

    Raises UserError where it was trained with synthetic images or does not know a class.
    """
    model = load_classifier(run.sibling(key))
    if run.sibling(key).config.get("include"):
        raise UserError(
            f"Classifier '{key}' was trained with synthetic images, which would flatter them; name one that was "
            "trained on real images alone."
        )
    unknown = sorted(labels - set(model.classes))
    if unknown:
        raise UserError(
            f"Classifier '{key}' does not know the class(es) {', '.join(unknown)}; train one on scans of these, or "
            "choose samples without them."
        )
    return model


def _influence(
    config: ScoreSynthetic,
    synthetic: list[Record],
    reference: list[Record],
    training: list[Record],
    features: Features,
) -> Iterator[Event]:
    """Each image's influence by its path."""
    rng = np.random.default_rng(config.seed)
    influence: dict[str, float] = {}
    variants = sorted({r.variant for r in synthetic})
    for done, variant in enumerate(variants, 1):
        evaluation = [r for r in synthetic if r.variant == variant and "evaluation" in r.tags]
        others = [r for r in synthetic if r.variant == variant and "evaluation" not in r.tags]
        real, own = matched(reference, evaluation, rng)
        if len(own) < 3:
            yield Notice(f"{variant} has no evaluation set, so its images have no influence on a FID.")
            continue
        moved = fid_influence(features.of(real), features.of(own))[1]
        influence |= {r.path: float(value) for r, value in zip(own, moved, strict=True)}
        real, own = matched(training, evaluation, rng)
        if others and len(own) >= 3:
            added = fid_influence_of_new(*map(features.of, (real, own, others)))
            influence |= {r.path: float(value) for r, value in zip(others, added, strict=True)}
        yield Progress(done, len(variants), "Weighing each image's influence on FID")
    return influence


def _class_probabilities(
    classifier: Classifier, synthetic: list[Record], batch_size: int, device: torch.device
) -> Iterator[Event]:
    """The probability of each image's own class, and whether it is the likeliest."""
    logits = yield from predict_files(classifier, [r.path for r in synthetic], batch_size, device)
    own = [classifier.classes.index(r.label) for r in synthetic]
    probabilities = softmax(logits, axis=1)[np.arange(len(own)), own]
    return [
        {"class_probability": float(p), "class_consistent": bool(row.argmax() == i)}
        for p, row, i in zip(probabilities, logits, own, strict=True)
    ]


def _means(synthetic: list[Record], scores: list[dict]) -> list[dict]:
    """The mean of each score by variant."""
    names = ("class_probability", "class_consistent", "copy_ratio", "likeness", "realism")
    rows = []
    for variant in sorted({r.variant for r in synthetic}):
        of_variant = [s for r, s in zip(synthetic, scores, strict=True) if r.variant == variant]
        means = {name: float(np.mean([s[name] for s in of_variant])) for name in names}
        rows.append({"variant": variant, "n": len(of_variant), **means})
    return rows
