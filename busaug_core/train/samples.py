"""Images that a training makes while it goes on, at noise that stays the same: what it has learned, to be seen."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from busaug_core.base.autoencoder import decode
from busaug_core.base.components import has_tuned_unet
from busaug_core.base.defaults import defaults_of
from busaug_core.base.offload import on_device
from busaug_core.errors import UserError
from busaug_core.figures import image_cells, show_image, write_png
from busaug_core.generate.config import Generation
from busaug_core.generate.plan import item_seed
from busaug_core.generate.sampler import Sampler
from busaug_core.jobs.events import Notice, Progress, Steps
from busaug_core.jobs.processes import is_main_process
from busaug_core.jobs.run import Run
from busaug_core.records import Record
from busaug_core.train.denoising import Denoising
from busaug_core.train.loop import Check

FOLDER = "samples"
COLUMNS = 4
"""Images of a class in a grid."""


@dataclass(frozen=True)
class Shown:
    """An image of the grids: the class, its prompt, its noise, and the training image whose mask steers it."""

    label: str
    prompt: str
    seed: int
    place: int


class Samples(Check):
    """A grid of images by class every few steps, and of what is kept: `samples/<step>.png`.

    They are made as `generate` makes them with the base's own steps and guidance, but for the guidance away from the
    base, of which a training holds no second copy.
    """

    def __init__(self, method: Denoising, run: Run, records: Sequence[Record], arithmetic: torch.dtype):
        """`records` are those that are learned from, by place; a class takes its prompt and its masks from them."""
        config = method.batches.config
        self.method, self.run, self.arithmetic = method, run, arithmetic
        self.steps = range(0, config.steps, config.sample_every)
        settings = dict(base_model=config.base_model, resolution=config.resolution, batch_size=config.part_size)
        is_tuned = has_tuned_unet(run.used, method.product)
        sampling = defaults_of(config.base_model, run.folder.parent).sampling_of(is_tuned)
        for name in ("steps", "spacing", "guidance_scale", "guidance_end"):
            settings[name] = getattr(sampling, name)
        self.settings = Generation(variants=["base"], counts={}, **settings).resolve(run.folder.parent)
        self.shown = []
        for label in sorted({r.label for r in records}):
            places = [i for i, r in enumerate(records) if r.label == label]
            places = [i for i in places if records[i].lesions] or places
            for n in range(COLUMNS):
                place = places[n * len(places) // COLUMNS]
                seed = item_seed(FOLDER, config.seed, label, n)
                self.shown.append(Shown(label, method.batches.prompts[place][0], seed, place))

    def look(self, step: int) -> Steps[bool]:
        if is_main_process():
            made: list[np.ndarray] = []
            total = -(-len(self.shown) // self.settings.batch_size) * self.settings.steps
            try:
                with closing(self._make(made)) as steps:
                    for done, _ in enumerate(steps, 1):
                        yield Progress(min(done, total), total, f"Making samples after {step} steps")
                self._draw(step, made)
            except UserError as error:
                yield Notice(f"There are no samples after {step} steps: {error}")
        return False

    def path(self, step: int) -> Path:
        """The grid's file after so many steps."""
        return self.run.folder / FOLDER / f"{step}.png"

    def _make(self, made: list[np.ndarray]) -> Iterator[None]:
        """Append the images, uint8 S×S, to `made`; yields after each denoising step."""
        # Anew, since prompts' states are learned too.
        sampler = Sampler(self.method.pipe, self.settings, {}, self.arithmetic)
        size = self.settings.batch_size
        for batch in (self.shown[i : i + size] for i in range(0, len(self.shown), size)):
            with on_device(self.method.pipe), self.method.as_product([shown.place for shown in batch]):
                latents = yield from sampler.text_to_image([s.prompt for s in batch], [s.seed for s in batch])
                made.extend(decode(self.method.pipe, latents))

    def _draw(self, step: int, made: list[np.ndarray]) -> None:
        """Write the grid: a row a class, and above it the masks that its images were to follow."""
        rows = {}
        for shown, image in zip(self.shown, made, strict=True):
            if self.method.takes_mask:
                mask = self.method.batches.masks[shown.place].numpy()
                rows.setdefault(f"{shown.label},\nmask", []).append(mask * 255)
            rows.setdefault(shown.label, []).append(image)
        figure, cells = image_cells(list(rows), COLUMNS)
        for images, line in zip(rows.values(), cells, strict=True):
            for image, cell in zip(images, line, strict=True):
                show_image(cell, image)
        guided = self.settings.guided(self.settings.steps)
        settings = f"{self.settings.steps} sampling steps, {guided} guided at {self.settings.guidance_scale:g}"
        figure.suptitle(f"after {step} steps of training ({settings})", fontsize=10)
        write_png(figure, self.path(step), synthetic=True)
