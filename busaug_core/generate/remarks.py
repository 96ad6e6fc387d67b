"""What the user should know before the images are made."""

import json
from collections.abc import Collection
from typing import Any

from busaug_core.base.components import LORA, UNET, VAE
from busaug_core.base.defaults import defaults_of
from busaug_core.generate.config import Generation
from busaug_core.generate.plan import Item
from busaug_core.generate.recipes import IN_TURN, RECIPES, by_sampling
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.run import Run
from busaug_core.prompts import MODALITY, named, prompt_of, wordings_of
from busaug_core.words import counted

GROUND = frozenset({LORA.field, UNET.field})
"""Components that change the weights which others are trained on."""


def remarks(config: Generation, run: Run, items: list[Item]) -> Steps[None]:
    """What the user should know before the images are made."""
    labels = {item.label for item in items}
    for component in config.components:
        trained = run.used[component.field].run
        learned = trained.config.get("prompts", {}) if trained is not None else {}
        if trained is not None and (slugs := _on_other_ground(component.field, config, run, trained)):
            yield Notice(
                f"'{run.used[component.field].given}' was trained on other weights ({_told(trained)}) than those that "
                f"{', '.join(slugs)} puts it on, and may be of little use there."
            )
        its_modality = trained.config.get("modality", MODALITY) if trained is not None else MODALITY
        known = {label: name for label in sorted(labels) if (name := named(label, learned))}
        other = {
            label: learned[name]
            for label, name in known.items()
            if prompt_of(label, config.prompts, config.modality) not in wordings_of(name, learned, its_modality)
        }
        if other:
            its_own = json.dumps(other, ensure_ascii=False)
            its_own += f", and modality to '{its_modality}'" if its_modality != config.modality else ""
            name = component.called.split(" ", 1)[1]
            yield Notice(f"The {name} was trained with other prompts; for these set prompts to {its_own}.")
    if told := _sampled_as_others(config, run):
        yield Notice(told)
    present = {(r.variant, r.synthesis.seed) for r in run.records if r.synthesis}
    if doubled := sum((slug, item.seed) in present for slug in config.variants for item in items):
        yield Notice(
            f"{counted(doubled, 'image has', 'images have')} the seed of one that is there already; set another seed "
            "for new ones."
        )
    if any(RECIPES[slug].adjective == IN_TURN for slug in config.variants) and len(items) < len(config.adjectives):
        yield Notice(
            f"Only {len(items)} of {len(config.adjectives)} adjectives get an image; make more, or name fewer."
        )
    for slug in (slug for slug in config.variants if config.takes_mask(slug)):
        masked = {r.path for r in run.records if r.lesions}
        bare = sorted({item.label for item in items if item.mask not in masked})
        if bare:
            yield Notice(f"No image of {' and '.join(bare)} has a mask: {slug} makes them with the empty one.")


def _sampled_as_others(config: Generation, run: Run) -> str | None:
    """That images of a tuned UNet have the settings of the base's own, beside which they are made; None otherwise."""
    defaults, kinds = defaults_of(config.base_model, run.folder.parent), by_sampling(config.variants)
    own, tuned = defaults.sampling, defaults.tuned_sampling
    names = [name for name in ("steps", "spacing", "guidance_scale") if getattr(own, name) != getattr(tuned, name)]
    if len(kinds) == 1 or not any(getattr(config, name) == getattr(own, name) for name in names):
        return None
    suiting = ", ".join(f"{name} {getattr(tuned, name):g}" for name in names)
    return (
        f"Images of {', '.join(kinds[1])} are sampled in the steps and by the guidance of {', '.join(kinds[0])}; where "
        f"these are left open, a tuned UNet has its own in a run without others: {suiting}."
    )


def _on_other_ground(field: str, config: Generation, run: Run, trained: Run) -> list[str]:
    """The variants whose other weights are not those that a component was trained on, as far as both are known."""
    learned_on = ground(trained.environment, {part for part in GROUND if trained.config.get(part)}, field)
    found = []
    for slug in config.variants:
        parts = config.parts(slug)
        if field in parts:
            now = ground(run.environment, parts & GROUND - {field}, field)
            if learned_on and now and learned_on != now:
                found.append(slug)
    return found


def ground(environment: dict[str, Any], parts: Collection[str], without: str) -> dict[str, Any]:
    """The hashes of a base's weights with some parts put on, by file, less what the component `without` replaces.

    What replaces the decoder was trained on the autoencoder alone.
    """
    weights = dict(environment.get("base_weights", {}))
    if not weights:
        return {}
    if without == VAE.field:
        return {name: value for name, value in weights.items() if name.startswith("vae/")}
    if UNET.field in parts:
        weights = {name: value for name, value in weights.items() if not name.startswith("unet/")}
        own = environment["unet_weights"]
        own = own if isinstance(own, dict) else {"diffusion_pytorch_model.safetensors": own}
        weights |= {f"unet/{name}": value for name, value in own.items()}
    if LORA.field in parts:
        weights[LORA.field] = environment["lora_weights"]
    return {name: value for name, value in weights.items() if not (without == UNET.field and name.startswith("unet/"))}


def _told(trained: Run) -> str:
    """The base of a training and what lay on it, in words."""
    parts = [f"{part} {given}" for part in sorted(GROUND) if (given := trained.config.get(part))]
    return ", ".join([trained.config["base_model"], *parts])
