"""The job `generate`: hybrid text2img → img2img images of each class and variant."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from busaug_core.base.loading import add_lora, add_token, fingerprint, load_pipeline, refuse_long
from busaug_core.generate.config import Generate
from busaug_core.generate.plan import Item, class_counts, work_list
from busaug_core.generate.recipes import RECIPES
from busaug_core.generate.sampler import Sampler
from busaug_core.images import content_hash, read_synthesis, save_synthetic
from busaug_core.jobs.device import describe, dtype_of, pick_device
from busaug_core.jobs.events import Event, Made, Notice, Progress
from busaug_core.jobs.run import Run, find_product
from busaug_core.prompts import prompt_of, with_token
from busaug_core.records import Record, count_labels, write_records
from busaug_core.train.lora import FILE as LORA_FILE
from busaug_core.train.textual_inversion import FILE as TOKEN_FILE


def generate(config: Generate, run: Run) -> Iterator[Event]:
    """Yield a record for every image; what an earlier attempt has written is not made again.

    Returns `images`, their `counts` by class and the `variants`. Raises UserError where a class has no prompt or
    one that is too long, or base, LoRA or token cannot be loaded.
    """
    given = run.records
    counts = class_counts(config, given)
    for label in counts:
        prompt_of(label, config.prompts)
    store = Store(run, config)
    items = work_list(counts, config.mode, config.seed)
    batches = [items[i : i + config.batch_size] for i in range(0, len(items), config.batch_size)]
    total, done = len(items) * len(config.variants), 0

    def is_made(batch: list[Item]) -> bool:
        return all(store.path(slug, item).exists() for slug in config.variants for item in batch)

    producer = None if all(map(is_made, batches)) else Producer(config, run, list(counts))
    made: dict[tuple[str, Item], Record] = {}
    present = {(r.variant, r.synthesis["seed"]) for r in given if r.synthesis}
    doubled = sum((slug, item.seed) in present for slug in config.variants for item in items)
    learned = producer.lora_prompts if producer else {}
    if other := {c: prompt for c, prompt in learned.items() if c in counts and prompt != config.prompts[c]}:
        its_own = json.dumps(other, ensure_ascii=False)
        yield Notice(f"The LoRA was trained with other prompts; for these set prompts to {its_own}.")
    if doubled:
        yield Notice(f"{doubled} images have the seed of one that is there already; set another seed for new ones.")
    for batch in batches:
        if not is_made(batch):
            for slug, pixels in producer.produce(batch):
                for item, image in zip(batch, pixels, strict=True):
                    store.write(slug, item, image, producer.synthesis(slug, item))
        for slug in config.variants:
            for item in batch:
                made[slug, item] = store.record(slug, item)
                yield Made(made[slug, item])
        done += len(batch) * len(config.variants)
        yield Progress(done, total, "Generating images")
    records = [made[slug, item] for slug in config.variants for item in items]
    write_records(run.folder / "products.jsonl", records)
    return {"images": len(records), "counts": count_labels(records), "variants": list(config.variants)}


class Store:
    """Where the images of a run lie: `images/<variant>/<variant>_<class>_<index>.png`."""

    def __init__(self, run: Run, config: Generate):
        self.run, self.config = run, config

    def path(self, slug: str, item: Item) -> Path:
        return self.run.folder / "images" / slug / f"{slug}_{item.label}_{item.index:05d}.png"

    def write(self, slug: str, item: Item, pixels: np.ndarray, synthesis: dict) -> None:
        save_synthetic(self.path(slug, item), pixels, synthesis)

    def record(self, slug: str, item: Item) -> Record:
        """The record of an image on disk, with the provenance that the image itself carries."""
        path = self.path(slug, item)
        tags = ["synthetic", slug] + (["evaluation"] if self.config.mode == "evaluation" else [])
        return Record(
            str(path),
            item.label,
            origin="synthetic",
            variant=slug,
            tags=tags,
            pair=f"{self.run.key}-{item.label}-{item.index:05d}",
            synthesis=read_synthesis(path),
        )


class Producer:
    """The loaded model, and the provenance of what it makes."""

    def __init__(self, config: Generate, run: Run, labels: list[str]):
        self.config, self.run = config, run
        device = pick_device()
        pipe = load_pipeline(config.base_model, device, dtype_of(config.precision, device))
        self.token = None
        recipes = [RECIPES[slug] for slug in config.variants]
        if any(r.token for r in recipes):
            token = find_product(run, config.token, TOKEN_FILE)
            self.token = add_token(pipe, token)
            run.pin(token_weights=content_hash(token))
        uses_lora = any(r.lora for r in recipes)
        self.lora_prompts: dict[str, str] = {}
        if uses_lora:
            lora = find_product(run, config.lora, LORA_FILE)
            add_lora(pipe, lora)
            run.pin(lora_weights=content_hash(lora))
            trained = Run(lora.parent)
            self.lora_prompts = trained.config["prompts"] if trained.state != "new" else {}
        refuse_long(pipe, [config.negative_prompt, *(self.prompt(name, r.token) for name in labels for r in recipes)])
        self.sampler = Sampler(pipe, config, has_lora=uses_lora)
        run.pin(base_weights=fingerprint(config.base_model))
        run.record_environment(device=describe(device))

    def produce(self, batch: list[Item]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each variant's slug and images (uint8 N×H×W); text2img runs once for all that grow from it."""
        for source in dict.fromkeys(RECIPES[slug].source for slug in self.config.variants):
            self.sampler.switch(source)
            prompts = [self.prompt(item.label, source.token) for item in batch]
            seeds = [item.seed for item in batch]
            latents = self.sampler.text_to_image(prompts, seeds)
            for slug in self.config.variants:
                recipe = RECIPES[slug]
                if recipe.source == source:
                    refine = self.sampler.image_to_image
                    yield (
                        slug,
                        self.sampler.decode(refine(latents, prompts, seeds) if recipe.refine else latents),
                    )

    def prompt(self, label: str, with_learned_token: bool) -> str:
        prompt = prompt_of(label, self.config.prompts)
        return with_token(prompt, self.token) if with_learned_token else prompt

    def synthesis(self, slug: str, item: Item) -> dict:
        """The provenance of an image, as stored in the sample and in the PNG."""
        config, recipe = self.config, RECIPES[slug]
        return {
            "run": self.run.key,
            "index": item.index,
            "prompt": self.prompt(item.label, recipe.token),
            "negative_prompt": config.negative_prompt,
            "seed": item.seed,
            "scheduler": type(self.sampler.pipe.scheduler).__name__,
            "steps": config.steps,
            "guidance_scale": config.guidance_scale,
            "strength": config.strength if recipe.refine else None,
            "width": config.resolution,
            "height": config.resolution,
            "batch_size": config.batch_size,
            "base_model": config.base_model,
            "lora": config.lora if recipe.lora else None,
            "token": config.token if recipe.token else None,
            "controlnet": None,
            "mask_sample_id": None,
            "init_sample_id": None,
            "handoff": config.handoff if recipe.refine else None,
        }
