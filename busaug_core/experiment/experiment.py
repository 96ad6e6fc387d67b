"""The job `run_experiment`: an arm of real images alone and others, from loading to the table."""

from dataclasses import asdict, dataclass
from typing import Any

from busaug_core.classify.config import APPLY_CLASSIFIER
from busaug_core.data.config import FIRST_FOLD, LOAD_BUSI, SIMULATED
from busaug_core.experiment.arms import BEST, BEST_ARM, HELD_OUT, ORIGINAL, Arm
from busaug_core.experiment.chain import Chain
from busaug_core.experiment.claims import compare
from busaug_core.experiment.classifiers import best_arm, choose, train_arm, train_networks, train_on_fewer
from busaug_core.experiment.config import RunExperiment
from busaug_core.experiment.external import external_images, try_elsewhere
from busaug_core.experiment.findings import External, Findings, Networks
from busaug_core.experiment.images import Images, make_images
from busaug_core.experiment.looks import look
from busaug_core.experiment.plan import planned, told
from busaug_core.experiment.report import VARIANTS, write_report
from busaug_core.experiment.tested import read_tested
from busaug_core.features.extractors import LITE0, default_extractor
from busaug_core.generate.config import GENERATE
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.processes import locked
from busaug_core.jobs.roles import of_split
from busaug_core.jobs.run import Run
from busaug_core.measure.config import (
    COMPUTE_EMBEDDINGS,
    COMPUTE_FID,
    SCORE_SYNTHETIC,
)
from busaug_core.measure.grids import variant_grid
from busaug_core.records import Record

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
    found: dict[int, Fold] = {}
    for fold in map(int, chain.by_turns([str(number) for number in range(1, (config.folds or 1) + 1)])):
        chain.enter(fold, loaded)
        images = yield from make_images(chain)
        found[fold] = yield from _train(chain, arms, images)
        if fold == 1:
            distances, scores, pictured = yield from _measure(chain, images)
            looks = {}
            if config.heatmaps:
                first = {arm.name: found[fold].trained[arm.name][0] for arm in arms}
                looks = yield from look(chain, first, of_split(chain.records, HELD_OUT))
    chain.leave()
    folds = [found[fold] for fold in sorted(found)]
    classifiers = {arm.name: [fold.trained[arm.name] for fold in folds] for arm in arms}
    tested = read_tested(classifiers)
    networks = None
    if config.networks:
        as_networks = {name: [fold.networks[name] for fold in folds] for name in folds[0].networks}
        of_networks = read_tested(as_networks)
        networks = Networks(as_networks, [fold.winner for fold in folds], of_networks, compare(of_networks))
    elsewhere = None
    if others is not None:
        elsewhere = yield from try_elsewhere(chain, classifiers, tested, others)
    # A share counts that every fold could be trained on.
    shares = [share for share in folds[0].fewer if all(share in fold.fewer for fold in folds)]
    findings = Findings(
        classifiers,
        tested,
        compare(tested),
        distances,
        scores,
        elsewhere,
        chosen=[fold.chosen for fold in folds if fold.chosen],
        fewer={share: [[fold.fewer[share]] for fold in folds] for share in shares},
        networks=networks,
        looks=looks,
    )
    with locked(run.folder / "turn_report"):
        variant_grid(pictured, run.folder / VARIANTS)
        table = write_report(run, config, findings)
    return {
        "dataset": config.dataset_name,
        "runs": chain.keys,
        "further_runs": chain.keys_apart,
        "table": table,
        "rows": _metrics_by_run(findings) + ([] if elsewhere is None else _metrics_elsewhere(elsewhere)),
        "claims": [asdict(claim) for claim in findings.claims],
        "network_claims": [asdict(claim) for claim in networks.claims] if networks else [],
        "external_claims": [asdict(claim) for claim in elsewhere.claims] if elsewhere else [],
        "results": str(run.folder),
    }


@dataclass(frozen=True)
class Fold:
    """The classifiers that a fold validates.

    Attributes:
        trained: those of each arm, one for each seed
        chosen: the arm whose variant stood for the best, where one was to
        fewer: a probe of each share of the real training images alone
        networks: those of the original and the best arm, one for each seed
        winner: the latter's name
    """

    trained: dict[str, list[Run]]
    chosen: str | None
    fewer: dict[float, Run]
    networks: dict[str, list[Run]]
    winner: str | None


def _train(chain: Chain, arms: list[Arm], images: Images) -> Steps[Fold]:
    """Train the classifiers of the fold at hand."""
    config, by_name = chain.config, {arm.name: arm for arm in arms}
    trained = {ORIGINAL.name: (yield from train_arm(chain, ORIGINAL, images))}
    images.original = trained[ORIGINAL.name][0]
    # What stands for the best can be said when the others are trained.
    of_best = [arm.name for arm in arms if BEST in arm.include]
    for name in chain.by_turns([name for name in by_name if name not in (ORIGINAL.name, *of_best)]):
        trained[name] = yield from train_arm(chain, by_name[name], images)
    best = None
    if of_best:
        best = yield from choose(chain, images, trained)
    for name in chain.by_turns(of_best):
        trained[name] = yield from train_arm(chain, by_name[name].with_best(best), images)
    fewer = (yield from train_on_fewer(chain)) if config.learning_curve else {}
    networks, winner = {}, None
    if config.networks:
        winner = best_arm(config, trained)
        of_networks = {ORIGINAL.name: ORIGINAL, BEST_ARM: winner.with_best(best)}
        for name in chain.by_turns(list(of_networks)):
            networks[name] = yield from train_networks(chain, name, of_networks[name], images)
        networks = {name: networks[name] for name in of_networks}
    return Fold(trained, best and best.name, fewer, networks, winner and winner.name)


def _metrics_by_run(findings: Findings) -> list[dict[str, Any]]:
    fewer = {f"{ORIGINAL.name}@{share:.0%}": runs for share, runs in findings.fewer.items()}
    networks = findings.networks.arms if findings.networks else {}
    return [
        dict(
            arm=arm,
            classifier=one.config["arch"],
            fold=fold,
            seed=one.config["seed"],
            split=HELD_OUT,
            metric=metric,
            value=value,
        )
        for arms in (findings.arms, fewer, networks)
        for arm, of_folds in arms.items()
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


def _measure(chain: Chain, images: Images) -> Steps[tuple[dict[str, Any], dict[str, Any], list[Record]]]:
    """Make sets to measure and measure them.

    Returns the results of `compute_fid` and `score_synthetic`, and the images that were compared.
    """
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
    return distances.result, scores.result, held_out + evaluation


def _choose_extractor() -> Steps[str]:
    """The default extractor; says so where it is not FID's."""
    extractor = default_extractor()
    if extractor == LITE0:
        yield Notice(
            "There are no Inception weights here, so no FID: the distance is FD (EfficientNet-Lite0). `check_setup` "
            "says where to put the weights."
        )
    return extractor
