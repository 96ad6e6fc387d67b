"""The images of a fold's arms: what is trained and generated for them, and which of it each arm takes."""

from dataclasses import dataclass, field
from typing import Any

from busaug_core.errors import UserError
from busaug_core.experiment.arms import Arm
from busaug_core.experiment.chain import Chain
from busaug_core.experiment.links import LINKS, TRAININGS
from busaug_core.experiment.plan import fill_to, still_missing
from busaug_core.features.extractors import default_extractor
from busaug_core.generate.config import GENERATE
from busaug_core.generate.recipes import RECIPES, by_sampling
from busaug_core.jobs.events import Steps
from busaug_core.jobs.roles import REJECTED, TRAIN, amounts_of, training_images
from busaug_core.jobs.run import Run
from busaug_core.measure.config import FILTER_SYNTHETIC, NEAR_COPY, SCORE_SYNTHETIC
from busaug_core.records import Record, count_labels
from busaug_core.words import counted

NAMED = 4
"""Variants that are told by name."""
OTHER_SEEDS = 1_000_000
"""What lies between the seeds of runs that make images of one variant."""


@dataclass
class Images:
    """What a fold's arms train with.

    Attributes:
        parts: the fields of `generate` that name what was trained
        components: the runs that trained it, by these fields
        filling: the real images, and those that fill each class up
        shares: the variants of which there are also as many as the largest share takes
        passing: of a variant the real images and what a filter has made of its own
        original: the classifier of the real images alone, once it is trained
    """

    parts: dict[str, Any]
    components: dict[str, Run]
    filling: list[Record]
    shares: set[str] = field(default_factory=set)
    passing: dict[str, list[Record]] = field(default_factory=dict)
    original: Run | None = None


def make_images(chain: Chain) -> Steps[Images]:
    """Train what the variants need on the fold's training images, and fill the classes up by images of each variant."""
    config = chain.config
    components: dict[str, Run] = {}
    yield from chain.each("trainings", config.trained, lambda name: _train_component(chain, name, components))
    parts = {"base_model": config.base_model, **{name: components[name].key for name in config.trained}}
    largest = fill_to(count_labels(training_images(chain.records)))
    text = f"Fill each class up to {largest} by images of"
    yield from make_variants(chain, text, "balancing", config.filling, balance_to=largest, **parts)
    return Images(parts, components, chain.records)


def make_variants(chain: Chain, title: str, run_key: str, variants: list[str], **values: Any) -> Steps[list[Record]]:
    """Make images of variants, which join the chain's; returns them.

    Those of a tuned UNet are made in a run of their own: in one with others they would be sampled as these are, and
    other arms would decide what an arm is given.
    """
    made = []
    for slugs in by_sampling(variants):
        key = f"{run_key}_tuned" if RECIPES[slugs[0]].is_tuned else run_key
        text = f"{title} {', '.join(slugs) if len(slugs) <= NAMED else counted(len(slugs), 'variant')}"
        made += yield from chain.make(text, GENERATE, key, chain.config.unused_by(slugs), variants=slugs, **values)
    return made


def _train_component(chain: Chain, name: str, components: dict[str, Run]) -> Steps[None]:
    """Train a component, and before it what it is trained on, if `components` do not have it yet; joins their runs."""
    if name in components:
        return
    training = TRAININGS[name]
    trained = chain.config.trained
    own = chain.config.beside(name) & set(LINKS[training.job]) & set(trained[: trained.index(name)])
    for other in own:
        yield from _train_component(chain, other, components)
    values = {"base_model": chain.config.base_model, **{field: components[field].key for field in own}}
    components[name] = yield from chain.call(training.title, training.job, name, **values)


def images_of(chain: Chain, arm: Arm, images: Images) -> Steps[list[Record]]:
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
    counts = still_missing(wanted, count_labels([r for r in given if r.synthetic]))
    if counts:
        # Other seeds than those of the images that are there.
        seed = GENERATE.config_class().model_fields["seed"].default
        seed = config.settings.get(GENERATE.name, {}).get("seed", seed)
        fixed = dict(config.unused_by([slug]), seed=(seed + OTHER_SEEDS) % 2**31)
        text = f"Make images of {slug} for all shares"
        values = dict(variants=[slug], counts=counts, **images.parts)
        yield from chain.make(text, GENERATE, f"shares_{slug}", fixed, given, **values)
    else:
        chain.skip(GENERATE)
    images.shares.add(slug)


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
