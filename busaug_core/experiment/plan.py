"""What an experiment will run, before it begins, and how long what is left of it will take."""

from collections import Counter, defaultdict
from pathlib import Path
from statistics import mean

from busaug_core.base.defaults import defaults_of
from busaug_core.classify.config import APPLY_CLASSIFIER, TRAIN_CLASSIFIER
from busaug_core.data.config import LOAD_BUSI
from busaug_core.experiment.arms import BEST, HELD_OUT, ORIGINAL, variants_of
from busaug_core.experiment.config import RunExperiment
from busaug_core.experiment.links import TRAININGS
from busaug_core.generate.config import GENERATE
from busaug_core.generate.recipes import by_sampling
from busaug_core.jobs.roles import amounts_of, of_split, training_images
from busaug_core.measure.config import COMPUTE_EMBEDDINGS, COMPUTE_FID, FILTER_SYNTHETIC, SCORE_SYNTHETIC
from busaug_core.records import Record, count_labels
from busaug_core.words import counted, lasting

BYTES = 0.75
"""Bytes a pixel of a gray scan as PNG; 0.7 on BUSI and on what mini makes."""
SHARES = (0.25, 0.5)
"""Of the real training images, on which probes are trained alone too."""


def planned(config: RunExperiment) -> Counter[str]:
    """The runs of an experiment by job, in their order."""
    arms, folds = [ORIGINAL, *config.compared], config.folds or 1
    classifiers = len(arms) * (1 if config.of_probes else config.seeds)
    compared = {arm.name for arm in arms} if config.of_probes else set()
    judged = sum(arm.name not in compared for arm in config.candidate_arms)
    filtered = {slug for arm in arms if arm.filtered for slug in arm.include}
    of_fold = Counter({TRAININGS[name].job.name: 1 for name in config.trained})
    of_fold[GENERATE.name] = len(by_sampling(config.filling)) + len(_shared(config))
    of_fold[TRAIN_CLASSIFIER.name] = classifiers + judged
    if config.learning_curve:
        of_fold[TRAIN_CLASSIFIER.name] += len(SHARES)
    if config.networks:
        of_fold[TRAIN_CLASSIFIER.name] += 2 * config.seeds
    of_fold[SCORE_SYNTHETIC.name] = of_fold[FILTER_SYNTHETIC.name] = len(filtered)
    found = Counter({LOAD_BUSI.name: 1})
    found.update({name: folds * n for name, n in of_fold.items()})
    # What is measured is of the first fold.
    found.update({job.name: 1 for job in (APPLY_CLASSIFIER, COMPUTE_EMBEDDINGS, COMPUTE_FID, SCORE_SYNTHETIC)})
    found[GENERATE.name] += len(by_sampling(config.measured))
    if config.heatmaps:
        found[APPLY_CLASSIFIER.name] += len(arms)
    if config.external:
        found[APPLY_CLASSIFIER.name] += folds * classifiers
    return +found


def images_planned(config: RunExperiment, loaded: list[Record]) -> int:
    """How many images will be generated; of folds, which are not quite even, about so many."""
    training, held_out = count_labels(training_images(loaded)), len(of_split(loaded, HELD_OUT))
    if config.folds:
        dealt = [r for r in loaded if r.splits and "fold_1" not in r.tags]
        training, held_out = count_labels(dealt), sum("fold_1" in r.tags for r in loaded)
    filling = amounts_of(training, None, fill_to(training))
    shared = amounts_of(training, config.largest_share, None)
    further = sum(still_missing(shared, filling).values())
    of_fold = len(config.filling) * sum(filling.values())
    for slug in _shared(config):
        may_be = variants_of(config.candidate_arms) if slug == BEST else [slug]
        of_fold += further if set(may_be) <= set(config.filling) else sum(shared.values())
    return (config.folds or 1) * of_fold + held_out * len(config.measured)


def _shared(config: RunExperiment) -> set[str]:
    """The variants of which shares are taken; the best counts where those among which it is chosen have no shares."""
    found = {slug for arm in config.all_arms if arm.ratio for slug in arm.include}
    return found - {BEST} if {slug for arm in config.candidate_arms for slug in arm.include} <= found else found


def still_missing(wanted: dict[str, int], there: dict[str, int]) -> dict[str, int]:
    """Images of each class that are wanted beyond those that are there; none of a class of which there are enough."""
    return {label: n - there.get(label, 0) for label, n in wanted.items() if n > there.get(label, 0)}


def fill_to(training: dict[str, int]) -> int:
    """The number that each class is filled up to: the next ten above the largest; on BUSI 350, as in its paper."""
    return max(training.values()) // 10 * 10 + 10


def told(config: RunExperiment, loaded: list[Record], runs_folder: Path) -> str:
    """What will be run and made of the loaded scans, in words."""
    runs, images = planned(config), images_planned(config, loaded)
    most = "at most " if _shared(config) else ""  # what fills classes up may be share enough
    side = config.settings.get(GENERATE.name, {}).get("resolution")
    side = side or defaults_of(config.base_model, runs_folder).resolution
    return (
        f"Planned: {most}{counted(runs.total(), 'run')} ({', '.join(f'{n} {name}' for name, n in runs.items())}); "
        f"about {images} images of {side} px, about {images * side**2 * BYTES / 1e6:.0f} MB. How long it takes is told "
        "when the first of each kind is done; what was done before is not done again."
    )


class Pace:
    """How long runs take by job, and so those that are left.

    Attributes:
        left: the runs that are left, by job
    """

    def __init__(self, runs: Counter[str]):
        self.left = Counter(runs)
        self._took: dict[str, list[float]] = defaultdict(list)

    def ended(self, job: str, seconds: float | None) -> None:
        """A run is done; `seconds` is None where it was so before."""
        self.left[job] -= 1
        if seconds is not None:
            self._took[job].append(seconds)

    def outlook(self) -> str | None:
        """How long what is left will take, as far as some run of each kind has told; None where none has."""
        known = {job: n * mean(self._took[job]) for job, n in (+self.left).items() if self._took[job]}
        seconds = sum(known.values())
        if not seconds:
            return None
        return f"{'about' if len(known) == len(+self.left) else 'at least'} {lasting(seconds)} left"
