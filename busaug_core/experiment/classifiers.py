"""The classifiers of an experiment: those of the arms, and beside them what chooses and what sets these in relation."""

import hashlib
from dataclasses import dataclass
from typing import Any

from busaug_core.classify.config import TRAIN_CLASSIFIER
from busaug_core.errors import UserError
from busaug_core.experiment.arms import BEST, HELD_OUT, Arm
from busaug_core.experiment.chain import Chain
from busaug_core.experiment.config import RunExperiment
from busaug_core.experiment.images import Images, images_of
from busaug_core.experiment.plan import SHARES
from busaug_core.features.extractors import PROBE
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.roles import training_images
from busaug_core.jobs.run import Run
from busaug_core.records import Record, count_labels


def train_arm(chain: Chain, arm: Arm, images: Images) -> Steps[list[Run]]:
    """Train the classifiers of an arm, one for each seed; returns their runs."""
    config = chain.config
    count = 1 if config.of_probes else config.seeds
    values = config.probes(chain.run.folder.parent) if config.of_probes else {}
    return (yield from _train(chain, arm, images, arm.run_key, count, values))


def train_networks(chain: Chain, name: str, arm: Arm, images: Images) -> Steps[list[Run]]:
    """Train an arm of probes as networks under a name, one for each seed; returns their runs, which do not land."""
    config, key = chain.config, f"network_{name.replace(' ', '_')}"
    values = config.network_values(chain.run.folder.parent)
    return (yield from _train(chain, arm, images, key, config.seeds, values, lands=False, with_settings=False))


@dataclass(frozen=True)
class Choice:
    """The arm of the least log-loss, in folds of the fold's own real training images, and the losses of all, by arm."""

    arm: Arm
    losses: dict[str, float]


def choose(chain: Chain, images: Images, trained: dict[str, list[Run]]) -> Steps[Choice]:
    """The candidate whose probe does best.

    `trained` are the classifiers of the fold's arms, which serve where they are probes; others are trained for it.
    """
    config = chain.config
    candidates = {arm.name: arm for arm in config.candidate_arms}
    values = config.probes(chain.run.folder.parent)

    def probe(name: str) -> Steps[list[Run]]:
        key = candidates[name].run_key if config.of_probes else f"probe_{candidates[name].run_key}"
        return _train(chain, candidates[name], images, key, 1, values, lands=False, with_settings=config.of_probes)

    there = trained if config.of_probes else {}
    more = yield from chain.each("candidates", [name for name in candidates if name not in there], probe)
    runs = {name: {**there, **more}[name][0] for name in candidates}
    return _of_least_loss(config.candidate_arms, runs, f"Name a variant instead of {BEST}")


def best_arm(config: RunExperiment, trained: dict[str, list[Run]]) -> Choice:
    """The arm that does best by the same measure, of those that differ from the original by synthetic images alone."""
    arms = [arm for arm in config.compared if arm.differs_by_synthetic]
    return _of_least_loss(arms, {arm.name: trained[arm.name][0] for arm in arms}, "Leave networks out")


def _of_least_loss(arms: list[Arm], runs: dict[str, Run], way_out: str) -> Choice:
    """The arm whose probe has the least loss; raises UserError where a probe has none."""
    if old := [run.key for run in runs.values() if "inner_loss" not in run.result]:
        raise UserError(f"Run '{old[0]}' is of an earlier version, which kept no losses to choose by; delete it.")
    losses = {name: run.result["inner_loss"] for name, run in runs.items()}
    if None in losses.values():
        raise UserError(
            f"The best of {', '.join(losses)} cannot be told: there are too few scans to part the training images "
            f"again. {way_out}, or load more."
        )
    return Choice(min(arms, key=lambda arm: losses[arm.name]), losses)


def train_on_fewer(chain: Chain) -> Steps[dict[float, Run]]:
    """Train probes on shares of the real training images alone, where each class keeps two scans; returns their runs.

    What more real images bring, beside which stands what synthetic ones do.
    """
    training, kept = training_images(chain.records), {}
    for share in SHARES:
        members = _fewer(training, share)
        if min(len({r.cluster for r in members if r.label == label}) for label in count_labels(members)) < 2:
            chain.skip(TRAIN_CLASSIFIER)
            yield Notice(f"No probe is trained on {share:.0%} of the training scans: of some class these are too few.")
            continue
        kept[share] = {r.path for r in members}

    def train(share: float) -> Steps[Run]:
        records = [r for r in chain.records if not r.synthetic and (r.path in kept[share] or HELD_OUT in r.tags)]
        values = dict(evaluate_on=HELD_OUT, **chain.config.probes(chain.run.folder.parent))
        text, key = f"Train a classifier on {share:.0%} of the training scans", f"clf_original_{share:.0%}".rstrip("%")
        return chain.apart(text, TRAIN_CLASSIFIER, key, records, values)

    return (yield from chain.each("fewer", kept, train))


def _fewer(training: list[Record], share: float) -> list[Record]:
    """So great a share of each class's images, whole scans or patients; a larger share holds those of a smaller."""
    kept, counts = [], count_labels(training)
    for label, n in counts.items():
        members = sorted((r for r in training if r.label == label), key=lambda r: (_place(r.cluster), r.path))
        last = members[max(round(share * n), 1) - 1].cluster
        end = max(i for i, r in enumerate(members) if r.cluster == last)
        kept += members[: end + 1]
    return kept


def _place(cluster: str) -> str:
    return hashlib.sha256(cluster.encode()).hexdigest()


def _train(
    chain: Chain,
    arm: Arm,
    images: Images,
    key: str,
    count: int,
    values: dict[str, Any],
    lands: bool = True,
    with_settings: bool = True,
) -> Steps[list[Run]]:
    """Train `count` classifiers of an arm, of one seed each; see `Chain.call` for the rest."""
    records = yield from images_of(chain, arm, images)
    real = [] if arm.fields.get("synthetic_only") else ["the loaded scans"]
    with_what = " and ".join([*real, *arm.include]) + ("" if arm.include and real else " alone")
    if arm.fields or arm.filtered or BEST in arm.name:
        with_what += f" ({arm.name})"
    values = dict(evaluate_on=HELD_OUT, **values)
    fixed: dict[str, Any] = dict(include=list(arm.include), **arm.fields)
    kind = "a network" if values.get("arch") != PROBE and not with_settings else "a classifier"

    def train(number: int) -> Steps[Run]:
        text, own, seed = f"Train {kind} on {with_what}", key, {}
        if count > 1:
            text += f", seed {number + 1} of {count}"
        if number:
            own += f"_seed{number + 1}"
            seed = dict(seed=first.config["seed"] + number)
        if lands:
            return chain.call(text, TRAIN_CLASSIFIER, own, {**fixed, **seed}, records, **values)
        return chain.apart(text, TRAIN_CLASSIFIER, own, records, values, with_settings, **fixed, **seed)

    first = yield from train(0)
    others = yield from chain.each(f"seeds_{key}", range(1, count), train)
    return [first, *others.values()]
