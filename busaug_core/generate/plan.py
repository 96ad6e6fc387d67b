"""How many images of which class a run makes, and what each of them starts from."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from busaug_core.errors import UserError
from busaug_core.generate.config import Generation
from busaug_core.generate.recipes import IN_TURN, RECIPES
from busaug_core.jobs.roles import TRAIN, amounts_of, of_split, refuse_unlabelled
from busaug_core.jobs.run import Run
from busaug_core.prompts import BUSI_PROMPTS, named, prompt_of, refuse_unknown_classes, refuse_unused_modality
from busaug_core.records import Record, count_labels
from busaug_core.words import counted


@dataclass(frozen=True)
class Item:
    """One text2img image to make, with the variants that grow from it; `index` counts within its class.

    `adjective` is for recipes that take them in turn, `mask` the file of the record whose lesions condition it, if any
    do.
    """

    label: str
    index: int
    seed: int
    adjective: str | None = None
    mask: str | None = None

    def adjective_of(self, slug: str) -> str | None:
        """What its prompt begins with in a variant."""
        own = RECIPES[slug].adjective
        return self.adjective if own == IN_TURN else own


def check(config: Generation, run: Run, records: list[Record]) -> None:
    """Raises UserError where `work_list` does, a class has no prompt, a prompt no class, or no prompt the modality."""
    if config.counts is None:
        refuse_unlabelled(records, config.label_field)
    _refuse_other_field(config, run, records)
    labels = {item.label for item in work_list(config, records)}
    refuse_others(config, labels | classes_of(run, records))
    used = [prompt_of(label, config.prompts, config.modality) for label in sorted(labels)]
    refuse_unused_modality(config.modality, used)


def classes_of(run: Run, records: list[Record]) -> set[str]:
    """The classes of images, and those that what a run uses has learned."""
    learned = {name for used in run.used.values() if used.run for name in used.run.config.get("prompts", {})}
    return learned | {r.label for r in records if r.label}


def refuse_others(config: Generation, classes: set[str]) -> None:
    """Raises UserError where a resolved config sets something of another class than these."""
    refuse_unknown_classes(config.prompts, classes)
    for name in config.domain_guidance_widths:
        if named(name, {*classes, *BUSI_PROMPTS}) is None:
            raise UserError(
                f"domain_guidance_widths names '{name}', which is no class of these images; they are {sorted(classes)}."
            )


def _refuse_other_field(config: Generation, run: Run, records: list[Record]) -> None:
    """Raises UserError where no image has a class where the config looks, but what is used has learned from some."""
    fields = {used.run.config.get("label_field") for used in run.used.values() if used.run} - {None, config.label_field}
    real = [r for r in records if not r.synthetic]
    if fields and real and not any(r.label for r in real):
        raise UserError(
            f"No sample has a class in the field {config.label_field}, while what is put on the base was trained with "
            f"the classes of {', '.join(sorted(fields))}; set label_field."
        )


def class_counts(config: Generation, count: Callable[[str], dict[str, int]]) -> dict[str, int]:
    """Images a variant of each class, as the config's mode and amount say.

    `count` tells how many real images of each class a split has. Raises UserError where the split that they refer to
    is empty, or nothing is left to make.
    """
    if config.counts is not None:
        counts = dict(config.counts)
    elif config.mode == "evaluation":
        counts = _counted(count, config.reference)
    else:
        training = _counted(count, TRAIN)
        counts = amounts_of(training, config.ratio, config.balance_to)
    negative = [label for label, n in counts.items() if n < 0]
    if negative:
        raise UserError(f"counts of {', '.join(negative)} are negative.")
    if not sum(counts.values()):
        reason = (
            f"every class has {counted(config.balance_to, 'image')} already"
            if config.balance_to
            else "counts are all 0"
        )
        raise UserError(f"Nothing to generate: {reason}.")
    return counts


def work_list(config: Generation, records: list[Record]) -> list[Item]:
    """All items, class by class; an item's seed depends on the run's mode and seed, its class and index alone.

    Raises UserError where `class_counts` does, or a class has no mask that a variant could take.
    """
    items = []
    masked = any(map(config.takes_mask, config.variants))
    adjectives = config.adjectives if any(RECIPES[slug].adjective == IN_TURN for slug in config.variants) else [None]
    counts = class_counts(config, lambda split: count_labels(of_split(records, split)))
    for label, n in sorted(_of_known_classes(counts, records).items()):
        masks = _masks_of(config, records, label) if masked and n else [None]
        for i in range(n):
            seed = item_seed(config.mode, config.seed, label, i)
            mask = masks[i // config.samples_per_mask % len(masks)]
            items.append(Item(label, i, seed, adjectives[i % len(adjectives)], mask))
    return items


def item_seed(mode: str, seed: int, label: str, index: int) -> int:
    """The first 31 bits of SHA-256 of mode, run seed, class and index: no image is in both kinds of set."""
    digest = hashlib.sha256(f"{mode}/{seed}/{label}/{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _of_known_classes(counts: dict[str, int], records: list[Record]) -> dict[str, int]:
    """The counts by the classes' own names, where these differ by case alone."""
    known = sorted({r.label for r in records if r.label})
    by_class = {named(label, known) or label: n for label, n in counts.items()}
    if len(by_class) < len(counts):
        raise UserError(f"counts name a class twice, case aside: {', '.join(counts)}.")
    return by_class


def _masks_of(config: Generation, records: list[Record], label: str) -> list[str]:
    """The images that give the class its masks: those with lesions, or all, with empty masks, where none has any.

    They are shuffled by the run's seed: neighbours in a dataset are often frames of one scan, and a run may take few.
    """
    members = [r for r in of_split(records, config.masks) if r.label == label]
    if not members:
        raise UserError(
            f"No real sample of class '{label}' is tagged '{config.masks}' to take a mask from; leave the class out of "
            "counts, name another split, or choose a variant without masks."
        )
    found = [r.path for r in members if r.lesions] or [r.path for r in members]
    return [found[i] for i in sorted(range(len(found)), key=lambda i: item_seed("masks", config.seed, label, i))]


def _counted(count: Callable[[str], dict[str, int]], split: str) -> dict[str, int]:
    counts = count(split)
    if not counts:
        raise UserError(f"No real sample is tagged '{split}', which the number of images refers to; set counts.")
    return counts
