"""The job `generate`: hybrid text2img → img2img images of each class and variant."""

from contextlib import closing
from typing import Any

import numpy as np

from busaug_core.generate.config import STEP, Generation
from busaug_core.generate.plan import Item, work_list
from busaug_core.generate.producer import Producer
from busaug_core.generate.remarks import remarks
from busaug_core.generate.store import Store
from busaug_core.images import resize_mask
from busaug_core.jobs.events import Made, Progress, Steps
from busaug_core.jobs.processes import share_out
from busaug_core.jobs.run import Run
from busaug_core.records import Record, count_labels

WORKING = "working"
"""The folder of locks on batches that are worked on."""


def generate(config: Generation, run: Run) -> Steps[dict[str, Any]]:
    """Yield a record for every image; what an earlier attempt, or another worker, has written is not made again.

    Returns `images`, their `counts` by class and the `variants`. Raises UserError where a prompt is too long, or base
    or components cannot be loaded.
    """
    given = run.records
    items = work_list(config, given)
    store, masks = Store(run, config), Masks(config, given)
    batches = [items[i : i + config.batch_size] for i in range(0, len(items), config.batch_size)]
    missing = [not store.holds(batch) for batch in batches]
    producer = Producer(config, run, items) if any(missing) else None
    yield from remarks(config, run, items)
    seen: set[int] = set()
    made: dict[tuple[str, Item], Record] = {}

    def progress(passes: int = 0) -> Progress:
        """How far the run is, in denoising steps; `passes` are those of a batch at work."""
        done = config.passes * len(seen) + min(passes, config.passes)
        return Progress(done, config.passes * len(batches), STEP, {"images": len(made)})

    def found(place: int) -> Steps[None]:
        """Tell of a batch that is there, once."""
        for slug in config.variants:
            for item in batches[place]:
                made[slug, item] = store.record(slug, item, masks.named)
                yield Made(made[slug, item])
        seen.add(place)
        yield progress()

    yield progress()
    for place in (i for i, lacks in enumerate(missing) if not lacks):
        yield from found(place)
    names = [f"{i:05d}" for i in range(len(batches))]
    for place in share_out(run.folder / WORKING, names, lambda i: store.holds(batches[i])):
        batch = batches[place]
        passes = 0
        with closing(producer.produce(batch, masks.of_batch(batch))) as steps:
            for step in steps:
                if step is None:
                    passes += 1
                    yield progress(passes)
                    continue
                slug, pixels = step
                for item, image in zip(batch, pixels, strict=True):
                    given_by = masks.id_of(item) if config.takes_mask(slug) else None
                    store.write(slug, item, image, producer.synthesis(slug, item, given_by))
        yield from found(place)
    for place in sorted(set(range(len(batches))) - seen):
        yield from found(place)
    records = [made[slug, item] for slug in config.variants for item in items]
    run.write_products(records)
    return {"images": len(records), "counts": count_labels(records), "variants": list(config.variants)}


class Masks:
    """The lesion masks that condition items, where a component takes one."""

    def __init__(self, config: Generation, records: list[Record]):
        # Of several samples of a file, the one with lesions has its mask.
        records = sorted(records, key=lambda record: bool(record.lesions))
        self.side, self.records = config.resolution, {r.path: r for r in records}
        self._by_name = {r.id: r for r in records if r.id} | self.records

    def of(self, item: Item) -> np.ndarray | None:
        """The item's mask, bool S×S; None for an item without."""
        return None if item.mask is None else self.named(item.mask)

    def named(self, name: str) -> np.ndarray | None:
        """The mask of the sample or file that an image says it was made from, bool S×S; None where that is gone."""
        return resize_mask(self._by_name[name].lesion_mask(), self.side) if name in self._by_name else None

    def of_batch(self, batch: list[Item]) -> list[np.ndarray] | None:
        """The masks of a batch; None where its items have none."""
        return None if batch[0].mask is None else [self.of(item) for item in batch]

    def id_of(self, item: Item) -> str | None:
        """The sample whose mask it is, or its file where no sample is known."""
        return None if item.mask is None else self.records[item.mask].id or item.mask
