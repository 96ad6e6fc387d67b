"""The job `score_synthetic`: what each synthetic image is worth by itself.

The classifier behind the scores and its features never saw a synthetic image; real images are those of the
training split, save for an evaluation image's influence on FID, which is against the held-out reference.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from busaug_core.classify.load import Trained, load_classifier
from busaug_core.errors import UserError
from busaug_core.features.cache import Features, Seen, extract, longest_side
from busaug_core.features.extractor import Extractor
from busaug_core.features.extractors import make_extractor
from busaug_core.files import write_rows
from busaug_core.jobs.device import pick_device
from busaug_core.jobs.events import Notice, Progress, Steps
from busaug_core.jobs.roles import TRAIN, is_evaluation, of_split
from busaug_core.jobs.run import Run
from busaug_core.measure.config import NEAR_COPY, SCORES, ScoreSynthetic
from busaug_core.measure.copies import Originals
from busaug_core.measure.embeddings import selected
from busaug_core.measure.grids import pair_grid
from busaug_core.measure.sets import matched, of_class
from busaug_core.metrics.herding import herding
from busaug_core.metrics.influence import fid_influence, fid_influence_of_new
from busaug_core.metrics.neighbours import nearest
from busaug_core.metrics.realism import realism, typical_distance
from busaug_core.parallel import in_order
from busaug_core.records import Record, Scores

PAIRS = 12


def score_synthetic(config: ScoreSynthetic, run: Run) -> Steps[dict[str, Any]]:
    """Write `scores.jsonl`, a line for each synthetic image, and `nearest.png`, the likeliest copies.

    `nearest_real_distance` is the Euclidean distance of features to the nearest training image or its mirror
    image (`nearest_real_path`); `copy_ratio` that distance over the median distance of training images to their
    nearest in another group, mirrored or not, so that 0 is a copy. `likeness` is that of pictures, whatever the
    extractor, to the most alike training image (`most_alike_real_path`); from `NEAR_COPY` on it is a near-copy.
    `realism` is that of Kynkäänniemi et al. 2019, equation 4. `herding` is the image's place among those of its
    variant and class (evaluation images apart) in the order of kernel herding, as a share from 0: those below a
    quarter are the quarter that together represents the training images of the class best, these reduced to the
    variant's size (those of all classes, where there are none of it, with a notice). `influence` is by how much the
    image raises its variant's Fréchet distance, exactly: that of the evaluation set to the reference for its own
    images, that to the training split for one more (a balancing image, whose choice must not know the reference).
    """
    everything = selected(run.records, config.variants)
    synthetic = [r for r in everything if r.synthetic]
    training, reference = of_split(everything, TRAIN), of_split(everything, config.reference)
    device = pick_device()
    classifier = _classifier_of(run, {r.label for r in synthetic}, device)
    extractor = make_extractor(config.extractor, run, device, config.preprocessing)
    records = synthetic + training + [r for r in reference if config.reference != "train"]
    features = yield from extract(records, extractor, run, config.batch_size)
    mirrored = yield from extract(training, extractor, run, config.batch_size, Seen(mirrored=True))
    sides = _sides(synthetic)
    reduced = {}
    for side in sorted({*sides.values()}):
        reduced[side] = yield from extract(training, extractor, run, config.batch_size, Seen(side=side))
    logits = yield from classifier.logits_of(synthetic, run, config.batch_size)
    if not run.is_main:
        return {}
    likeness, most_alike = yield from Originals(training).nearest(synthetic)
    by_training = features.standardised(extractor, training)
    by_reference = features.standardised(extractor, reference)
    made, real = by_training.of(synthetic), by_training.of(training)
    turned = extractor.standardise(mirrored.matrix, features.of(training))
    distance, place = nearest(made, np.concatenate([real, turned]))
    ratio = distance / typical_distance(real, turned, [r.split_group for r in training])
    realistic = realism(real, made, config.neighbors)
    places = yield from _herding(synthetic, features, {v: reduced[side] for v, side in sides.items()}, extractor)
    influence = yield from _influence(config, synthetic, reference, training, by_reference, by_training)
    probabilities = _class_probabilities(classifier.classes, synthetic, logits)
    scores = [
        {
            **probabilities[i],
            "nearest_real_distance": float(distance[i]),
            "nearest_real_path": training[place[i] % len(training)].path,
            "copy_ratio": float(ratio[i]),
            "likeness": float(likeness[i]),
            "most_alike_real_path": most_alike[i].path,
            "realism": float(realistic[i]),
            "herding": places[record.path],
            "influence": influence.get(record.path),
            "run": run.key,
            "extractor": extractor.name,
        }
        for i, record in enumerate(synthetic)
    ]
    rows = ({"path": record.path, **score} for record, score in zip(synthetic, scores, strict=True))
    write_rows(run.folder / SCORES, rows)
    run.write_products([replace(r, scores=Scores.from_json(score)) for r, score in zip(synthetic, scores, strict=True)])
    likeliest = sorted(range(len(scores)), key=lambda i: copy_order(scores[i]))[:PAIRS]
    pair_grid(
        [
            (synthetic[i].path, likely_original(scores[i]), f"likeness {likeness[i]:.2f}, copy ratio {ratio[i]:.2f}")
            for i in likeliest
        ],
        run.folder / "nearest.png",
        "Left: synthetic. Right: the training image whose near-copy it is, or else the nearest by features.",
        synthetic=True,
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


def copy_order(score: dict) -> tuple[float, float]:
    """What sorts the likeliest copies first: near-copies by likeness, then all others by copy ratio."""
    return (-score["likeness"] if score["likeness"] >= NEAR_COPY else 0.0, score["copy_ratio"])


def likely_original(score: dict) -> str:
    """The path of the training image that an image is a near-copy of, or else its nearest by features."""
    return score["most_alike_real_path" if score["likeness"] >= NEAR_COPY else "nearest_real_path"]


def _classifier_of(run: Run, labels: set[str], device: torch.device) -> Trained:
    """The classifier that the config names; raises UserError where it lacks a class."""
    used = run.used["classifier"]
    model = load_classifier(used.path, run, device)
    unknown = sorted(labels - set(model.classes))
    if unknown:
        raise UserError(
            f"Classifier '{used.given}' does not know the class(es) {', '.join(unknown)}; train one on scans of these, "
            "or choose samples without them."
        )
    return model


def _sides(synthetic: list[Record]) -> dict[str | None, int]:
    """The longest side of each variant's images, in pixels."""
    sides: dict[str | None, int] = {}
    for record, side in zip(synthetic, in_order(lambda r: longest_side(r.path), synthetic), strict=True):
        sides[record.variant] = max(side, sides.get(record.variant, 0))
    return sides


def _herding(
    synthetic: list[Record], features: Features, training: dict[str | None, Features], extractor: Extractor
) -> Steps[dict[str, float]]:
    """Each image's place in its group's order, as a share, by its path; training images are as each variant's size."""
    groups: dict[tuple[str | None, str | None, bool], list[Record]] = {}
    for record in synthetic:
        groups.setdefault((record.variant, record.label, is_evaluation(record)), []).append(record)
    places: dict[str, float] = {}
    for done, ((variant, label, _), members) in enumerate(groups.items(), 1):
        real = training[variant]
        of_label = of_class(real.records, label)
        if not of_label:
            yield Notice(f"{variant}: no training image is {label}, so herding compares with those of all classes.")
        pair = real.of(of_label or real.records), features.of(members)
        order = herding(*(extractor.standardise(matrix, real.matrix) for matrix in pair))
        places |= {members[row].path: place / len(members) for place, row in enumerate(order)}
        yield Progress(done, len(groups), "Choosing images that represent the training split")
    return places


def _influence(
    config: ScoreSynthetic,
    synthetic: list[Record],
    reference: list[Record],
    training: list[Record],
    by_reference: Features,
    by_training: Features,
) -> Steps[dict[str, float]]:
    """Each image's influence by its path; features are in the units of what they are compared with."""
    rng = np.random.default_rng(config.seed)
    influence: dict[str, float] = {}
    variants = sorted({r.variant for r in synthetic})
    for done, variant in enumerate(variants, 1):
        evaluation = [r for r in synthetic if r.variant == variant and is_evaluation(r)]
        others = [r for r in synthetic if r.variant == variant and not is_evaluation(r)]
        real, own = matched(reference, evaluation, rng)
        if len(own) < 3:
            yield Notice(f"{variant} has no evaluation set, so its images have no influence on a FID.")
            continue
        moved = fid_influence(by_reference.of(real), by_reference.of(own))
        influence |= {r.path: float(value) for r, value in zip(own, moved, strict=True)}
        real, own = matched(training, evaluation, rng)
        if others and len(own) >= 3:
            added = fid_influence_of_new(*map(by_training.of, (real, own, others)))
            influence |= {r.path: float(value) for r, value in zip(others, added, strict=True)}
        yield Progress(done, len(variants), "Weighing each image's influence on FID")
    return influence


def _class_probabilities(classes: list[str], synthetic: list[Record], logits: np.ndarray) -> list[dict]:
    """The probability of each image's own class, and whether it is the likeliest; logits are N × classes."""
    own = [classes.index(r.label) for r in synthetic]
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
