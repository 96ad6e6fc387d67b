"""What an experiment does in a fold: it trains generators and classifiers, and in the first it measures the images."""

from dataclasses import dataclass
from typing import Any

from busaug_core.classify.config import APPLY_CLASSIFIER
from busaug_core.experiment.arms import BEST, BEST_ARM, HELD_OUT, ORIGINAL, Arm
from busaug_core.experiment.chain import Chain
from busaug_core.experiment.classifiers import Choice, best_arm, choose, train_arm, train_networks, train_on_fewer
from busaug_core.experiment.images import Images, make_images, make_variants
from busaug_core.experiment.looks import look
from busaug_core.experiment.report import MASKS, VARIANTS
from busaug_core.features.extractors import LITE0, default_extractor
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.roles import of_split
from busaug_core.jobs.run import Run
from busaug_core.measure.config import COMPUTE_EMBEDDINGS, COMPUTE_FID, SCORE_SYNTHETIC
from busaug_core.measure.grids import mask_grid, variant_grid


@dataclass
class Fold:
    """What a fold has given.

    Attributes:
        components: the runs that trained the generators, by the fields of `generate` that name them
        trained: the classifiers of each arm, one for each seed
        best: the choice of the arm whose variant stood for the best, where one was to
        fewer: a probe of each share of the real training images alone
        networks: those of the original and the best arm, one for each seed, where they were asked for
        winner: the choice of the latter
        distances, scores: of the first fold, the results of `compute_fid` and `score_synthetic`
        looks: of the first fold, the runs that map where each arm's classifier looks, where they were asked for
    """

    components: dict[str, Run]
    trained: dict[str, list[Run]]
    best: Choice | None
    fewer: dict[float, Run]
    networks: dict[str, list[Run]]
    winner: Choice | None
    distances: dict[str, Any]
    scores: dict[str, Any]
    looks: dict[str, Run]


def compare_in_fold(chain: Chain, arms: list[Arm]) -> Steps[Fold]:
    """Train all that the arms need in the fold at hand, and their classifiers; measure the images of the first."""
    config, by_name = chain.config, {arm.name: arm for arm in arms}
    images = yield from make_images(chain)
    # A filter goes by the classifier of the original; what stands for the best can be said when the others are trained.
    trained = {ORIGINAL.name: (yield from train_arm(chain, ORIGINAL, images))}
    images.original = trained[ORIGINAL.name][0]
    of_best = [arm.name for arm in arms if BEST in arm.include]
    others = [name for name in by_name if name not in (ORIGINAL.name, *of_best)]
    trained |= yield from chain.each("arms", others, lambda name: train_arm(chain, by_name[name], images))
    best = None
    if of_best:
        best = yield from choose(chain, images, trained)
        with_best = {name: by_name[name].with_best(best.arm) for name in of_best}
        trained |= yield from chain.each("arms", of_best, lambda name: train_arm(chain, with_best[name], images))
    fewer = (yield from train_on_fewer(chain)) if config.learning_curve else {}
    networks, winner = {}, None
    if config.networks:
        winner = best_arm(config, trained)
        pair = {ORIGINAL.name: ORIGINAL, BEST_ARM: winner.arm.with_best(best and best.arm)}
        networks = yield from chain.each("networks", pair, lambda name: train_networks(chain, name, pair[name], images))
    distances, scores, looks = {}, {}, {}
    if chain.fold == 1:
        distances, scores = yield from _measure(chain, images)
        if config.heatmaps:
            firsts = {arm: runs[0] for arm, runs in trained.items()}
            looks = yield from look(chain, firsts, of_split(chain.records, HELD_OUT))
    return Fold(images.components, trained, best, fewer, networks, winner, distances, scores, looks)


def _measure(chain: Chain, images: Images) -> Steps[tuple[dict[str, Any], dict[str, Any]]]:
    """Make sets to measure and measure them; returns the results of `compute_fid` and `score_synthetic`."""
    original, held_out = images.original, of_split(chain.records, HELD_OUT)
    text = "Generate sets to measure, in the validation split's class counts, of"
    values = dict(images.parts, mode="evaluation")
    evaluation = yield from make_variants(chain, text, "evaluation", chain.config.measured, **values)
    text = "Classify every image with the classifier of the loaded scans alone"
    yield from chain.call(text, APPLY_CLASSIFIER, "predictions", classifier=original.key)
    extractor = yield from _choose_extractor()
    text = "Compute features and their UMAP"
    yield from chain.call(text, COMPUTE_EMBEDDINGS, f"embeddings_{extractor}", extractor=extractor)
    text = "Measure the variants: Fréchet distance, its companions and the floor"
    distances = yield from chain.call(text, COMPUTE_FID, f"fid_{extractor}", extractor=extractor, on_copies="leave_out")
    values = dict(extractor=extractor, classifier=original.key)
    scores = yield from chain.call("Score every synthetic image", SCORE_SYNTHETIC, f"scores_{extractor}", **values)
    variant_grid(held_out + evaluation, chain.run.folder / VARIANTS)
    mask_grid(chain.records, chain.run.folder / MASKS)
    return distances.result, scores.result


def _choose_extractor() -> Steps[str]:
    """The default extractor; says so where it is not FID's."""
    extractor = default_extractor()
    if extractor == LITE0:
        yield Notice(
            "There are no Inception weights here, so no FID: the distance is FD (EfficientNet-Lite0). `check_setup` "
            "says where to put the weights."
        )
    return extractor
