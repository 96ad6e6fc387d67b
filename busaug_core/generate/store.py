"""Where the images of a run lie: `images/<variant>/<variant>_<class>_<index>.png`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from busaug_core.generate.config import Generation
from busaug_core.generate.plan import Item
from busaug_core.images import read_synthesis, save_synthetic
from busaug_core.jobs.roles import EVALUATION
from busaug_core.jobs.run import Run
from busaug_core.records import Lesion, Record, Synthesis


class Store:
    """The images of a run, by variant and item; each belongs to the worker that writes it first."""

    def __init__(self, run: Run, config: Generation):
        self.run, self.config = run, config

    def path(self, slug: str, item: Item) -> Path:
        return self.run.folder / "images" / slug / f"{slug}_{item.label}_{item.index:05d}.png"

    def holds(self, items: list[Item]) -> bool:
        """Whether all variants of the items are there."""
        return all(self.path(slug, item).exists() for slug in self.config.variants for item in items)

    def write(self, slug: str, item: Item, pixels: np.ndarray, synthesis: Synthesis) -> None:
        save_synthetic(self.path(slug, item), pixels, synthesis.to_json())

    def record(self, slug: str, item: Item, mask_named: Callable[[str], np.ndarray | None]) -> Record:
        """The record of an image on disk, with the provenance that the image itself carries, and that mask's lesion."""
        path = self.path(slug, item)
        synthesis = Synthesis.from_json(read_synthesis(path))
        mask = mask_named(synthesis.mask_sample_id) if synthesis and synthesis.mask_sample_id else None
        tags = ["synthetic", slug] + ([EVALUATION] if self.config.mode == "evaluation" else [])
        side = self.config.resolution
        return Record(
            str(path),
            item.label,
            origin="synthetic",
            variant=slug,
            tags=tags,
            lesions=[Lesion.of(None, mask)] if mask is not None and mask.any() else [],
            size=[side, side, 1],
            pair=f"{self.run.key}-{item.label}-{item.index:05d}",
            synthesis=synthesis,
        )
