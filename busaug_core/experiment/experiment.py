"""The job `run_experiment`: an arm of real images alone and others, from loading to the table."""

from collections import defaultdict
from dataclasses import asdict
from typing import Any

from busaug_core.classify.config import APPLY_CLASSIFIER
from busaug_core.data.config import FIRST_FOLD, LOAD_BUSI, SIMULATED
from busaug_core.experiment.arms import BEST, BEST_ARM, HELD_OUT, ORIGINAL
from busaug_core.experiment.chain import Chain
from busaug_core.experiment.claims import compare
from busaug_core.experiment.classifiers import best_arm, choose, train_arm, train_networks, train_on_fewer
from busaug_core.experiment.config import RunExperiment
from busaug_core.experiment.external import external_images, try_elsewhere
from busaug_core.experiment.findings import External, Findings, Networks
from busaug_core.experiment.images import Images, make_images
from busaug_core.experiment.looks import look
from busaug_core.experiment.plan import planned, told
from busaug_core.experiment.report import write_report
from busaug_core.experiment.tested import Classifiers, read_tested
from busaug_core.features.extractors import LITE0, default_extractor
from busaug_core.generate.config import GENERATE
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.roles import of_split
from busaug_core.jobs.run import Run
from busaug_core.measure.config import (
    COMPUTE_EMBEDDINGS,
    COMPUTE_FID,
    SCORE_SYNTHETIC,
)
from busaug_core.measure.grids import variant_grid

UNTUNED = "base"
"""The variant that is measured beside the others, to show what tuning gains."""


def run_experiment(config: RunExperiment, run: Run) -> Steps[dict[str, Any]]:
    """Run the chain; each link is a run of its own, so that one that was stopped goes on where it was.

    Returns the keys of the `runs` that land in the dataset, and of those that do not, of further folds and on another
    dataset, as `further_runs`; the lines of the `table`, of which the first says what it shows; `rows` with each metric
    of each of the arms' classifiers on all training images, those on another dataset as means; the `claims` that
    compare the arms, `network_claims` and `external_claims`; and the folder of `results`. Writes `report.html`,
    `results.md`, `results.csv` and their pictures, among them a grid of the variants, `variants.png`.
    """
    arms = [ORIGINAL, *config.compared]
    folds = range(1, (config.folds or 1) + 1)
    chain = Chain(run, config, planned(config))
    text = f"Load {'simulated' if config.source == SIMULATED else 'BUSI'} scans"
    values = dict(source=config.source, dataset_name=config.dataset_name)
    if config.folds is not None:
        values |= dict(folds=config.folds, split=FIRST_FOLD)
    loaded = yield from chain.make(text, LOAD_BUSI, "load", **values)
    yield Notice(told(config, loaded, run.folder.parent))
    others = None
    if config.external is not None:
        others = yield from external_images(config.external, run, loaded)
    classifiers: dict[str, Classifiers] = {arm.name: [] for arm in arms}
    as_networks: dict[str, Classifiers] = {ORIGINAL.name: [], BEST_ARM: []}
    fewer: dict[float, Classifiers] = defaultdict(list)
    chosen: list[str] = []
    winners: list[str] = []
    looks: dict[str, Run] = {}
    for fold in folds:
        chain.enter(fold, loaded)
        images = yield from make_images(chain)
        trained, best = {}, None
        # What stands for the best can be said when the others are trained.
        for arm in sorted(arms, key=lambda arm: BEST in arm.include):
            if BEST in arm.include and best is None:
                best = yield from choose(chain, images, trained)
                chosen.append(best.name)
            trained[arm.name] = yield from train_arm(chain, arm.with_best(best), images)
            classifiers[arm.name].append(trained[arm.name])
            if arm is ORIGINAL:
                images.original = trained[arm.name][0]
        if config.learning_curve:
            for share, run_on_share in (yield from train_on_fewer(chain)).items():
                fewer[share].append([run_on_share])
        if config.networks:
            winner = best_arm(config, trained)
            winners.append(winner.name)
            for name, arm in ((ORIGINAL.name, ORIGINAL), (BEST_ARM, winner.with_best(best))):
                as_networks[name].append((yield from train_networks(chain, name, arm, images)))
        if fold == 1:
            distances, scores = yield from _measure(chain, images)
            if config.heatmaps:
                looks = yield from look(chain, classifiers, of_split(chain.records, HELD_OUT))
    chain.leave()
    tested = read_tested(classifiers)
    claims = compare(tested)
    networks = None
    if config.networks:
        of_networks = read_tested(as_networks)
        networks = Networks(as_networks, winners, of_networks, compare(of_networks))
    elsewhere = None
    if others is not None:
        elsewhere = yield from try_elsewhere(chain, classifiers, tested, others)
    # A share counts that every fold could be trained on.
    whole = {share: runs for share, runs in fewer.items() if len(runs) == len(folds)}
    findings = Findings(classifiers, tested, claims, distances, scores, elsewhere, chosen, whole, networks, looks)
    table = write_report(run, config, findings)
    return {
        "dataset": config.dataset_name,
        "runs": chain.keys,
        "further_runs": chain.keys_apart,
        "table": table,
        "rows": _metrics_by_run(classifiers) + ([] if elsewhere is None else _metrics_elsewhere(elsewhere)),
        "claims": [asdict(claim) for claim in claims],
        "network_claims": [asdict(claim) for claim in networks.claims] if networks else [],
        "external_claims": [asdict(claim) for claim in elsewhere.claims] if elsewhere else [],
        "results": str(run.folder),
    }


def _metrics_by_run(classifiers: dict[str, Classifiers]) -> list[dict[str, Any]]:
    return [
        dict(arm=arm, fold=fold, seed=one.config["seed"], split=HELD_OUT, metric=metric, value=value)
        for arm, of_folds in classifiers.items()
        for fold, runs in enumerate(of_folds, 1)
        for one in runs
        for metric, value in one.result["metrics"].items()
        if metric != "n"
    ]


def _metrics_elsewhere(elsewhere: External) -> list[dict[str, Any]]:
    return [
        dict(arm=arm, fold=None, seed=None, split=elsewhere.name, metric=metric, value=estimate["value"])
        for arm, metrics in elsewhere.tested.metrics.items()
        for metric, estimate in metrics.items()
    ]


def _measure(chain: Chain, images: Images) -> Steps[tuple[dict[str, Any], dict[str, Any]]]:
    """Make sets to measure and measure them; returns the results of `compute_fid` and `score_synthetic`."""
    original, held_out = images.original, of_split(chain.records, HELD_OUT)
    variants = list(dict.fromkeys([*chain.config.variants, UNTUNED]))
    text = "Generate sets to measure, also of the untuned base, in the validation split's class counts"
    values = dict(images.parts, variants=variants, mode="evaluation")
    evaluation = yield from chain.make(text, GENERATE, "evaluation", **values)
    text = "Classify every image with the classifier of the loaded scans alone"
    yield from chain.call(text, APPLY_CLASSIFIER, "predictions", classifier=original.key)
    extractor = yield from _choose_extractor()
    text = "Compute features and their UMAP"
    yield from chain.call(text, COMPUTE_EMBEDDINGS, f"embeddings_{extractor}", extractor=extractor)
    text = "Measure the variants: Fréchet distance, its companions and the floor"
    distances = yield from chain.call(text, COMPUTE_FID, f"fid_{extractor}", extractor=extractor, on_copies="leave_out")
    values = dict(extractor=extractor, classifier=original.key)
    scores = yield from chain.call("Score every synthetic image", SCORE_SYNTHETIC, f"scores_{extractor}", **values)
    variant_grid(held_out + evaluation, chain.run.folder / "variants.png")
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
