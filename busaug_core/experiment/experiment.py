"""The job `run_experiment`: an arm of real images alone and others, from loading to the table."""

from dataclasses import asdict, dataclass, field
from typing import Any

from busaug_core.classify.config import APPLY_CLASSIFIER, TRAIN_CLASSIFIER
from busaug_core.data.config import FIRST_FOLD, LOAD_BUSI, SIMULATED
from busaug_core.errors import UserError
from busaug_core.experiment.arms import BEST, HELD_OUT, ORIGINAL, Arm
from busaug_core.experiment.chain import Chain
from busaug_core.experiment.claims import compare
from busaug_core.experiment.config import CHAINED, TRAININGS, RunExperiment
from busaug_core.experiment.external import external_images, try_elsewhere
from busaug_core.experiment.findings import External, Findings
from busaug_core.experiment.looks import look
from busaug_core.experiment.plan import fill_to, planned, told
from busaug_core.experiment.report import write_report
from busaug_core.experiment.tested import Classifiers, read_tested
from busaug_core.features.extractors import LITE0, default_extractor
from busaug_core.generate.config import GENERATE
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.roles import REJECTED, TRAIN, amounts_of, of_split, training_images
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

UNTUNED = "base"
"""The variant that is measured beside the others, to show what tuning gains."""
OTHER_SEEDS = 1_000_000
"""What lies between the seeds of runs that make images of one variant."""


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
    chosen: list[str] = []
    looks: dict[str, Run] = {}
    for fold in folds:
        chain.enter(fold, loaded)
        images = yield from _make_images(chain)
        best = None
        # What stands for the best can be said when the others are trained.
        for arm in sorted(arms, key=lambda arm: BEST in arm.include):
            if BEST in arm.include and best is None:
                best = _best(config.chosen, classifiers)
                chosen.append(best)
            trained = yield from _classifiers(chain, arm.with_best(best), images)
            classifiers[arm.name].append(trained)
            if arm is ORIGINAL:
                images.original = trained[0]
        if fold == 1:
            distances, scores = yield from _measure(chain, images)
            if config.heatmaps:
                looks = yield from look(chain, classifiers, of_split(chain.records, HELD_OUT))
    chain.leave()
    tested = read_tested(classifiers)
    claims = compare(tested)
    elsewhere = None
    if others is not None:
        elsewhere = yield from try_elsewhere(chain, classifiers, tested, others)
    findings = Findings(classifiers, tested, claims, distances, scores, elsewhere, chosen, looks)
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


@dataclass
class Images:
    """What a fold's arms train with.

    Attributes:
        parts: the fields of `generate` that name what was trained
        largest: the number that each class is filled up to
        filling: the real images, and those that fill each class up
        shares: the variants of which there are also as many as the largest share takes
        passing: of a variant the real images and what a filter has made of its own
        original: the classifier of the real images alone, once it is trained
    """

    parts: dict[str, Any]
    largest: int
    filling: list[Record]
    shares: set[str] = field(default_factory=set)
    passing: dict[str, list[Record]] = field(default_factory=dict)
    original: Run | None = None


def _make_images(chain: Chain) -> Steps[Images]:
    """Train what the variants need on the fold's training images, and fill the classes up by images of each variant."""
    config = chain.config
    largest = fill_to(count_labels(training_images(chain.records)))
    parts: dict[str, Any] = dict(base_model=config.base_model)
    for name in config.trained:
        training = TRAININGS[name]
        own = {"base_model", *config.beside(name)} & set(CHAINED[training.job])
        values = {field: parts[field] for field in parts if field in own}
        trained = yield from chain.call(training.title, training.job, name, **values)
        parts[name] = trained.key
    if filling := config.filling:
        text = f"Fill each class up to {largest} by images of {counted(len(filling), 'variant')}"
        yield from chain.make(text, GENERATE, "balancing", variants=filling, balance_to=largest, **parts)
    return Images(parts, largest, chain.records)


def _images_of(chain: Chain, arm: Arm, images: Images) -> Steps[list[Record]]:
    """The images that an arm's classifiers are given: real ones, and of the synthetic those of its variants.

    What an arm does not take changes nothing of it, nor whether its classifiers serve another experiment too.
    """
    for slug in arm.include:
        if arm.ratio is not None and slug not in images.shares:
            yield from _make_shares(chain, images, slug)
        if arm.filtered and slug not in images.passing:
            images.passing[slug] = yield from _filter(chain, images, slug)
    given = chain.records if arm.ratio is not None else images.filling
    if arm.filtered:
        given = list({r.path: r for slug in arm.include for r in images.passing[slug]}.values())
    return [r for r in given if not r.synthetic or r.variant in arm.include]


def _make_shares(chain: Chain, images: Images, slug: str) -> Steps[None]:
    """Make as many images of a variant as the largest share takes, less those that fill classes up."""
    config = chain.config
    wanted = amounts_of(count_labels(training_images(images.filling)), config.largest_share, None)
    given = [r for r in images.filling if not r.synthetic or r.variant == slug]
    there = count_labels([r for r in given if r.synthetic])
    counts = {label: n - there.get(label, 0) for label, n in wanted.items() if n > there.get(label, 0)}
    if counts:
        # Other seeds than those of the images that are there.
        seed = GENERATE.config_class().model_fields["seed"].default
        seed = config.settings.get(GENERATE.name, {}).get("seed", seed)
        fixed = dict(seed=(seed + OTHER_SEEDS) % 2**31)
        text = f"Make images of {slug} for all shares"
        values = dict(variants=[slug], counts=counts, **images.parts)
        yield from chain.make(text, GENERATE, f"shares_{slug}", fixed, given, **values)
    images.shares.add(slug)


def _best(arms: list[Arm], classifiers: dict[str, Classifiers]) -> str:
    """The variant whose probe, in the fold at hand, has the least log-loss in folds of its own training images."""
    runs = {arm.include[0]: classifiers[arm.name][-1][0] for arm in arms}
    if old := [run.key for run in runs.values() if "inner_loss" not in run.result]:
        raise UserError(f"Run '{old[0]}' is of an earlier version, which kept no losses to choose by; delete it.")
    losses = {slug: run.result["inner_loss"] for slug, run in runs.items()}
    if None in losses.values():
        raise UserError(
            f"The best of {', '.join(losses)} cannot be told: there are too few scans to part the training images "
            f"again. Name a variant instead of {BEST}, or load more."
        )
    return min(losses, key=losses.__getitem__)


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


def _filter(chain: Chain, images: Images, slug: str) -> Steps[list[Record]]:
    """Score and filter a variant's images that fill the classes up; returns real and these, the rejected tagged so.

    The scores are of the fold's training images alone. Nothing of this lands: other arms take the images as they are.
    Raises UserError where none passes.
    """
    given = [r for r in images.filling if not r.synthetic or r.variant == slug]
    text = f"Score the images of {slug} that a filter is to choose from"
    values = dict(classifier=images.original.key, extractor=default_extractor(), reference=TRAIN)
    scored = yield from chain.apart(text, SCORE_SYNTHETIC, f"filter_scores_{slug}", given, **values)
    # What the settings say of the filter is all that it does.
    set_by_user = chain.config.settings.get(FILTER_SYNTHETIC.name)
    limits = {} if set_by_user else dict(class_consistent=True, max_likeness=NEAR_COPY)
    real = [r for r in given if not r.synthetic]
    given = real + scored.products
    chosen = yield from chain.apart(f"Filter those of {slug}", FILTER_SYNTHETIC, f"filter_{slug}", given, **limits)
    if all(REJECTED in r.tags for r in chosen.products if r.variant == slug):
        where = f" in fold {chain.fold}" if chain.config.folds else ""
        raise UserError(
            f"No image of {slug} passes the filter{where}: train longer, leave its filtered arm "
            "out, or set limits of filter_synthetic in settings (class_consistent: false)."
        )
    return real + chosen.products


def _classifiers(chain: Chain, arm: Arm, images: Images) -> Steps[list[Run]]:
    """Train the classifiers of an arm, one for each seed; returns their runs."""
    config = chain.config
    records = yield from _images_of(chain, arm, images)
    real = [] if arm.fields.get("synthetic_only") else ["the loaded scans"]
    with_what = " and ".join([*real, *arm.include]) + ("" if arm.include and real else " alone")
    values = dict(evaluate_on=HELD_OUT, **config.probes(chain.run.folder.parent))
    fixed: dict[str, Any] = dict(include=list(arm.include), **arm.fields)
    runs = []
    for number in range(config.seeds):
        text, key = f"Train a classifier on {with_what}", arm.run_key
        if arm.fields or arm.filtered or BEST in arm.name:
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
