"""The job `run_experiment`: an arm of real images alone and others, from loading to the table."""

from dataclasses import asdict
from typing import Any

from busaug_core.classify.config import APPLY_CLASSIFIER, TRAIN_CLASSIFIER
from busaug_core.data.config import FIRST_FOLD, LOAD_BUSI, SIMULATED
from busaug_core.errors import UserError
from busaug_core.experiment.arms import ORIGINAL, Arm
from busaug_core.experiment.chain import Chain
from busaug_core.experiment.claims import compare
from busaug_core.experiment.config import CHAINED, TRAININGS, RunExperiment
from busaug_core.experiment.external import external_images, try_elsewhere
from busaug_core.experiment.findings import External, Findings
from busaug_core.experiment.report import write_report
from busaug_core.experiment.tested import Classifiers, read_tested
from busaug_core.features.extractors import LITE0, default_extractor
from busaug_core.generate.config import GENERATE
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.roles import REJECTED, TRAIN, amounts_of, first_of, of_split, training_images
from busaug_core.jobs.run import Run
from busaug_core.measure.config import (
    COMPUTE_EMBEDDINGS,
    COMPUTE_FID,
    FILTER_SYNTHETIC,
    NEAR_COPY,
    SCORE_SYNTHETIC,
)
from busaug_core.measure.grids import variant_grid
from busaug_core.records import Record, count_labels
from busaug_core.words import counted

HELD_OUT = "val"
"""The split that every arm is tested on, which no generator has seen."""
TITLES = {
    "lora": "Fine-tune the base: LoRA",
    "token": "Learn a token of the modality: textual inversion",
    "unet": "Fine-tune the base: the whole UNet",
    "controlnet": "Learn to follow lesion masks: ControlNet",
}
UNTUNED = "base"
"""The variant that is measured beside the others, to show what tuning gains."""
OF_THE_FIRST = 6
"""Runs besides those of each fold: the loading, and what measures the first fold's images."""


def run_experiment(config: RunExperiment, run: Run) -> Steps[dict[str, Any]]:
    """Run the chain; each link is a run of its own, so that one that was stopped goes on where it was.

    Returns the keys of the `runs` that land in the dataset, and of those that do not, of further folds and on another
    dataset, as `further_runs`; the lines of the `table`, of which the first says what it shows; `rows` with each metric
    of each classifier on all training images, those on another dataset as means; the `claims` that compare the arms,
    and `external_claims`; and the folder of `results`. Writes `report.html`, `results.md`, `results.csv` and their
    pictures, among them a grid of the variants, `variants.png`.
    """
    arms = [ORIGINAL, *config.compared]
    folds = range(1, (config.folds or 1) + 1)
    of_each = bool(config.filling) + bool(config.shared) + len(config.trained) + len(arms) * config.seeds
    of_each += 2 * bool(config.filtered)
    external = len(folds) * len(arms) * config.seeds if config.external else 0
    chain = Chain(run, config, OF_THE_FIRST + len(folds) * of_each + external)
    text = f"Load {'simulated' if config.source == SIMULATED else 'BUSI'} scans"
    values = dict(source=config.source, dataset_name=config.dataset_name)
    if config.folds is not None:
        values |= dict(folds=config.folds, split=FIRST_FOLD)
    loaded = yield from chain.make(text, LOAD_BUSI, "load", **values)
    others = None
    if config.external is not None:
        others = yield from external_images(config.external, run, loaded)
    classifiers: dict[str, Classifiers] = {arm.name: [] for arm in arms}
    for fold in folds:
        chain.enter(fold, loaded)
        largest, parts = yield from _make_images(chain)
        passing: list[Record] = []
        for arm in arms:
            trained = yield from _classifiers(chain, arm, largest, passing if arm.filtered else chain.records)
            classifiers[arm.name].append(trained)
            if arm is ORIGINAL and config.filtered:
                passing = yield from _filter(chain, trained[0], largest)
        if fold == 1:
            original = classifiers[ORIGINAL.name][0][0]
            distances, scores = yield from _measure(chain, parts, original)
    chain.leave()
    tested = read_tested(classifiers)
    claims = compare(tested)
    elsewhere = None
    if others is not None:
        elsewhere = yield from try_elsewhere(chain, classifiers, tested, others)
    findings = Findings(classifiers, tested, claims, distances, scores, elsewhere)
    table = write_report(run, config, findings)
    return {
        "dataset": config.dataset_name,
        "runs": chain.keys,
        "further_runs": chain.keys_apart,
        "table": table,
        "rows": _metrics_by_run(classifiers) + ([] if elsewhere is None else _metrics_elsewhere(elsewhere)),
        "claims": [asdict(claim) for claim in claims],
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


def _make_images(chain: Chain) -> Steps[tuple[int, dict[str, Any]]]:
    """Train what the variants need on the fold's training images, and make images to train classifiers with.

    Returns the number that each class is filled up to, and the fields of `generate` that name what was trained.
    """
    config = chain.config
    # The next ten above the largest class: on BUSI 350, as in the hybrid-diffusion paper.
    training = count_labels(training_images(chain.records))
    largest = max(training.values()) // 10 * 10 + 10
    parts: dict[str, Any] = dict(base_model=config.base_model)
    for name in config.trained:
        own = {"base_model", *config.beside(name)} & set(CHAINED[TRAININGS[name]])
        values = {field: parts[field] for field in parts if field in own}
        trained = yield from chain.call(TITLES[name], TRAININGS[name], name, **values)
        parts[name] = trained.key
    if plain := config.filling:
        text = f"Fill each class up to {largest} by images of {counted(len(plain), 'variant')}"
        yield from chain.make(text, GENERATE, "balancing", variants=plain, balance_to=largest, **parts)
    if config.shared:
        # For arms that fill classes up, and for those that take a share.
        filled = amounts_of(training, None, largest)
        shared = amounts_of(training, config.largest_share, None)
        counts = {label: max(filled[label], shared[label]) for label in training}
        text = f"Make images of {counted(len(config.shared), 'variant')} for all shares"
        yield from chain.make(text, GENERATE, "shares", variants=config.shared, counts=counts, **parts)
    return largest, parts


def _measure(chain: Chain, parts: dict[str, Any], original: Run) -> Steps[tuple[dict[str, Any], dict[str, Any]]]:
    """Make sets to measure and measure them; returns the results of `compute_fid` and `score_synthetic`."""
    held_out = of_split(chain.records, HELD_OUT)
    parts["variants"] = list(dict.fromkeys([*chain.config.variants, UNTUNED]))
    text = "Generate sets to measure, also of the untuned base, in the validation split's class counts"
    evaluation = yield from chain.make(text, GENERATE, "evaluation", mode="evaluation", **parts)
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


def _filter(chain: Chain, original: Run, largest: int) -> Steps[list[Record]]:
    """Score and filter the images that fill the classes up; returns real and these, the rejected ones tagged so.

    The scores are of the fold's training images alone. Nothing of this lands: other arms take the images as they are.
    Raises UserError where none of a variant passes.
    """
    config = chain.config
    real = [r for r in chain.records if not r.synthetic]
    amounts = amounts_of(count_labels(training_images(real)), None, largest)
    made = []
    for slug in config.filtered:
        made += first_of([r for r in chain.records if r.synthetic and r.variant == slug], slug, amounts)
    text = "Score the images that a filter is to choose from"
    values = dict(classifier=original.key, extractor=default_extractor(), reference=TRAIN)
    scored = yield from chain.apart(text, SCORE_SYNTHETIC, "filter_scores", real + made, **values)
    # What the settings say of the filter is all that it does.
    limits = {} if config.settings.get(FILTER_SYNTHETIC.name) else dict(class_consistent=True, max_likeness=NEAR_COPY)
    given = real + scored.products
    chosen = (yield from chain.apart("Filter them", FILTER_SYNTHETIC, "filter", given, **limits)).products
    for slug in config.filtered:
        if all(REJECTED in r.tags for r in chosen if r.variant == slug):
            where = f" in fold {chain.fold}" if config.folds else ""
            raise UserError(
                f"No image of {slug} passes the filter{where}: train longer, leave its filtered arm "
                "out, or set limits of filter_synthetic in settings (class_consistent: false)."
            )
    return real + chosen


def _classifiers(chain: Chain, arm: Arm, largest: int, among: list[Record]) -> Steps[list[Run]]:
    """Train the classifiers of an arm, one for each seed; returns their runs.

    An arm without a share fills each class up to `largest`; a filtered one takes of `among` what passed.
    """
    config = chain.config
    with_what = " and ".join(["the loaded scans", *arm.include]) + ("" if arm.include else " alone")
    values = dict(evaluate_on=HELD_OUT, **config.probes(chain.run.folder.parent))
    fixed: dict[str, Any] = dict(include=list(arm.include), **arm.fields)
    if arm.ratio is None and not arm.filtered and set(arm.include) & set(config.shared):
        fixed["balance_to"] = largest
    # What an arm does not take changes nothing of it, nor whether its classifiers serve another experiment too.
    records = [r for r in among if not r.synthetic or r.variant in arm.include]
    runs = []
    for number in range(config.seeds):
        text, key = f"Train a classifier on {with_what}", arm.run_key
        if arm.fields or arm.filtered:
            text += f" ({arm.name})"
        if config.seeds > 1:
            text += f", seed {number + 1} of {config.seeds}"
        if number:
            key += f"_seed{number + 1}"
            fixed["seed"] = runs[0].config["seed"] + number
        runs.append((yield from chain.call(text, TRAIN_CLASSIFIER, key, fixed, records, **values)))
    return runs


def _choose_extractor() -> Steps[str]:
    """The default extractor; says so where it is not FID's."""
    extractor = default_extractor()
    if extractor == LITE0:
        yield Notice(
            "There are no Inception weights here, so no FID: the distance is FD (EfficientNet-Lite0). `check_setup` "
            "says where to put the weights."
        )
    return extractor
