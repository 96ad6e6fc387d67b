"""The job `score_synthetic`: what each synthetic image is worth by itself.

The classifier behind the scores and its features never saw a synthetic image; real images are those of the
training split, save for the influence on FID, which is taken against the held-out reference.
"""

import json
from collections.abc import Iterator

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import softmax

from busaug_core.classify.model import load_classifier, predict
from busaug_core.data.records import Record, of_split, write_records
from busaug_core.device import pick_device
from busaug_core.errors import UserError
from busaug_core.events import Event, Notice, Progress
from busaug_core.figures import pair_grid
from busaug_core.images import load_batch
from busaug_core.job import Run
from busaug_core.measure.config import ScoreSynthetic
from busaug_core.measure.embeddings import selected
from busaug_core.measure.extractors import make_extractor
from busaug_core.measure.features import extract
from busaug_core.measure.influence import fid_influence, fid_influence_of_new
from busaug_core.measure.sets import matched

FILE = "scores.jsonl"
PAIRS = 12


def score_synthetic(config: ScoreSynthetic, run: Run) -> Iterator[Event]:
    """Write `scores.jsonl`, a line for each synthetic image, and `nearest.png`, the likeliest copies.

    `nearest_real_distance` is the Euclidean distance of features to the nearest training image or its mirror
    image (`nearest_real_path`); `copy_ratio` that distance over the median distance of training images to their
    nearest in another group, so that 0 is a copy. `realism` is that of Kynkäänniemi et al. 2019, equation 4.
    `fid_influence` is by how much the image raises its variant's Fréchet distance to the reference, exactly.
    """
    everything = selected(run.records, config.variants)
    synthetic = [r for r in everything if r.synthetic]
    training, reference = of_split(everything, "train"), of_split(everything, config.reference)
    if not synthetic:
        raise UserError("There is no synthetic image to score; generate some first.")
    if len(training) <= config.neighbors or not reference:
        raise UserError(f"Scores need real images tagged 'train' (over {config.neighbors}) and '{config.reference}'.")
    device = pick_device()
    extractor = make_extractor(config.extractor, run, device)
    records = synthetic + training + [r for r in reference if config.reference != "train"]
    features, _ = yield from extract(records, extractor, run, config.batch_size)
    mirrored, _ = yield from extract(training, extractor, run, config.batch_size, mirrored=True)
    if not run.is_main:
        return {}
    of = {record.path: i for i, record in enumerate(records)}

    def rows(members: list[Record]) -> np.ndarray:
        return features[[of[r.path] for r in members]]

    distances = cdist(rows(synthetic), np.concatenate([rows(training), mirrored]))
    nearest = distances.argmin(1)
    distance = distances[np.arange(len(synthetic)), nearest]
    ratio = distance / typical_distance(rows(training), [r.split_group for r in training])
    real = realism(rows(training), rows(synthetic), config.neighbors)
    influence = yield from _influence(config, synthetic, reference, rows)
    probabilities = yield from _class_probabilities(config, run, synthetic, device)
    scores = [
        {
            **probabilities[i],
            "nearest_real_distance": float(distance[i]),
            "nearest_real_path": training[nearest[i] % len(training)].path,
            "copy_ratio": float(ratio[i]),
            "realism": float(real[i]),
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
    likeliest = np.argsort(ratio)[:PAIRS]
    pair_grid(
        [(synthetic[i].path, scores[i]["nearest_real_path"], f"copy ratio {ratio[i]:.2f}") for i in likeliest],
        run.folder / "nearest.png",
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


def typical_distance(real: np.ndarray, groups: list[str | None]) -> float:
    """The median distance of real images to their nearest outside their own group.

    Args:
        real: features, N×D
        groups: what ties images of one scan, None for an image of its own

    Raises UserError where all images are of one group.
    """
    names = np.array([g if g is not None else f"#{i}" for i, g in enumerate(groups)])
    distances = cdist(real, real)
    distances[names[:, None] == names] = np.inf
    median = float(np.median(distances.min(1)))
    if not np.isfinite(median) or median == 0:
        raise UserError("The training images are all of one group, or all alike; a copy ratio needs others.")
    return median


def realism(real: np.ndarray, synthetic: np.ndarray, k: int) -> np.ndarray:
    """The greatest ratio of a real image's radius to its distance, float M; 1 and above lies within a ball.

    The radius reaches to the k-th nearest other real image; the half with the larger radii is left out
    (Kynkäänniemi et al. 2019, equation 4). Features are N×D and M×D, N over k.
    """
    within = np.sort(cdist(real, real), axis=1)[:, k]
    compact = within <= np.median(within)
    between = cdist(synthetic, real[compact])
    return (within[compact] / np.maximum(between, np.finfo(float).tiny)).max(1).clip(max=1e6)


def _influence(config: ScoreSynthetic, synthetic: list[Record], reference: list[Record], rows) -> Iterator[Event]:
    """Each image's influence by its path: of an evaluation set's own as it is, of others as one more image."""
    rng = np.random.default_rng(config.seed)
    influence: dict[str, float] = {}
    variants = sorted({r.variant for r in synthetic})
    for done, variant in enumerate(variants, 1):
        members = [r for r in synthetic if r.variant == variant]
        real, own = matched(reference, [r for r in members if "evaluation" in r.tags], rng)
        if len(own) < 3:
            yield Notice(f"{variant} has no evaluation set, so its images have no influence on a FID.")
            continue
        moved = fid_influence(rows(real), rows(own))[1]
        influence |= {r.path: float(value) for r, value in zip(own, moved, strict=True)}
        others = [r for r in members if r.path not in influence]
        if others:
            added = fid_influence_of_new(rows(real), rows(own), rows(others))
            influence |= {r.path: float(value) for r, value in zip(others, added, strict=True)}
        yield Progress(done, len(variants), "Weighing each image's influence on FID")
    return influence


def _class_probabilities(config: ScoreSynthetic, run: Run, synthetic: list[Record], device) -> Iterator[Event]:
    """The probability of each image's own class, and whether it is the likeliest.

    Raises UserError where the classifier was trained with synthetic images or does not know a class.
    """
    trained = run.sibling(config.classifier)
    model = load_classifier(trained).to(device)
    if trained.config.get("include"):
        raise UserError(
            f"Classifier '{config.classifier}' was trained with synthetic images, which would flatter them; name one "
            "that was trained on real images alone."
        )
    unknown = sorted({r.label for r in synthetic} - set(model.classes))
    if unknown:
        raise UserError(f"Classifier '{config.classifier}' does not know the class(es) {', '.join(unknown)}.")
    found = []
    for i in range(0, len(synthetic), config.batch_size):
        batch = synthetic[i : i + config.batch_size]
        logits = predict(model, load_batch([r.path for r in batch], model.resolution), config.batch_size, device)
        for record, row in zip(batch, softmax(logits, axis=1), strict=True):
            own = model.classes.index(record.label)
            found.append({"class_probability": float(row[own]), "class_consistent": bool(row.argmax() == own)})
        yield Progress(min(i + config.batch_size, len(synthetic)), len(synthetic), "Classifying images")
    return found


def _means(synthetic: list[Record], scores: list[dict]) -> list[dict]:
    """The mean of each score by variant."""
    names = ("class_probability", "class_consistent", "copy_ratio", "realism")
    rows = []
    for variant in sorted({r.variant for r in synthetic}):
        of_variant = [s for r, s in zip(synthetic, scores, strict=True) if r.variant == variant]
        means = {name: float(np.mean([s[name] for s in of_variant])) for name in names}
        rows.append({"variant": variant, "n": len(of_variant), **means})
    return rows
