"""The job `run_experiment`: an arm of real images alone and others, from loading to the table."""

from dataclasses import asdict
from typing import Any

from busaug_core.data.config import FIRST_FOLD, LOAD_BUSI, SIMULATED
from busaug_core.experiment.arms import HELD_OUT, ORIGINAL
from busaug_core.experiment.chain import Chain
from busaug_core.experiment.claims import compare
from busaug_core.experiment.config import RunExperiment
from busaug_core.experiment.external import external_images, try_elsewhere
from busaug_core.experiment.findings import Findings, Networks
from busaug_core.experiment.fold import Fold, compare_in_fold
from busaug_core.experiment.links import of_job
from busaug_core.experiment.plan import planned, told
from busaug_core.experiment.report import write_report
from busaug_core.experiment.tested import read_tested
from busaug_core.generate.config import GENERATE
from busaug_core.generate.plan import classes_of, refuse_others
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.processes import locked
from busaug_core.jobs.run import Run


def run_experiment(config: RunExperiment, run: Run) -> Steps[dict[str, Any]]:
    """Run the chain; each link is a run of its own, so that one that was stopped goes on where it was.

    Returns the keys of the `runs` that land in the dataset, and of those that do not, of further folds and on another
    dataset, as `further_runs`; the lines of the `table`, of which the first says what it shows; `rows` with each metric
    of each of the arms' classifiers on all training images, those on another dataset as means; the `claims` that
    compare the arms, `network_claims` and `external_claims`; and the folder of `results`. Writes `report.html`,
    `results.md`, `results.csv`, `claims.csv` and their pictures, among them grids of the variants, `variants.png`,
    and of what was made from masks, `masks.png`.
    """
    arms = [ORIGINAL, *config.compared]
    chain = Chain(run, config, planned(config))
    text = f"Load {'simulated' if config.source == SIMULATED else 'BUSI'} scans"
    values = dict(source=config.source, dataset_name=config.dataset_name)
    if config.folds is not None:
        values |= dict(folds=config.folds, split=FIRST_FOLD)
    loaded = yield from chain.make(text, LOAD_BUSI, "load", **values)
    for generation in config.generations(run.folder.parent):
        with of_job(GENERATE):
            refuse_others(generation, classes_of(run, loaded))
    yield Notice(told(config, loaded, run.folder.parent))
    others = None
    if config.external is not None:
        others = yield from external_images(config.external, run, loaded)

    def compare_in(number: int) -> Steps[Fold]:
        chain.enter(number, loaded)
        fold = yield from compare_in_fold(chain, arms)
        chain.leave()
        return fold

    numbers = range(1, (config.folds or 1) + 1)
    folds = list((yield from chain.each("folds", numbers, compare_in)).values())
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
        folds[0].distances,
        folds[0].scores,
        elsewhere,
        components={name: [fold.components[name] for fold in folds] for name in config.trained},
        chosen=[fold.best for fold in folds if fold.best],
        fewer={share: [[fold.fewer[share]] for fold in folds] for share in shares},
        networks=networks,
        looks=folds[0].looks,
    )
    with locked(run.folder / "turn_report"):
        if run.state == "done":  # by another worker
            return run.result
        table = write_report(run, config, findings)
    return {
        "dataset": config.dataset_name,
        "runs": chain.keys,
        "further_runs": chain.keys_apart,
        "table": table,
        "rows": [*_metrics_by_run(findings), *_metrics_elsewhere(findings)],
        "claims": [asdict(claim) for claim in findings.claims],
        "network_claims": [asdict(claim) for claim in networks.claims] if networks else [],
        "external_claims": [asdict(claim) for claim in elsewhere.claims] if elsewhere else [],
        "results": str(run.folder),
    }


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


def _metrics_elsewhere(findings: Findings) -> list[dict[str, Any]]:
    if findings.external is None:
        return []
    return [
        dict(
            arm=arm,
            classifier=findings.arms[arm][0][0].config["arch"],
            fold=None,
            seed=None,
            split=findings.external.name,
            metric=metric,
            value=estimate["value"],
        )
        for arm, metrics in findings.external.tested.metrics.items()
        for metric, estimate in metrics.items()
    ]
