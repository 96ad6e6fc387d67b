"""Losses that can be compared: on training and held-out images, at noise and timesteps that stay the same."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from busaug_core.errors import UserError
from busaug_core.jobs.device import autocast_to
from busaug_core.jobs.events import Progress, Row, Steps
from busaug_core.jobs.processes import is_main_process
from busaug_core.metrics.estimate import Estimate
from busaug_core.metrics.two_sample import mann_whitney_area
from busaug_core.records import Record
from busaug_core.train.denoising import Denoising
from busaug_core.train.loop import Check

T = TypeVar("T")

BANDS = ("low", "middle", "high")
"""Thirds of the timesteps, from little noise to much."""
DRAWS = 6
"""Draws of noise and timestep an image for the membership; two of each band."""


def fixed_errors(method: Denoising, places: Sequence[int], draws: int, arithmetic: torch.dtype) -> Steps[np.ndarray]:
    """The squared error of the prediction for images at fixed noise, float N × draws, from low to high timesteps.

    A draw depends on the config's seed, the image's place and its number alone; nothing is mirrored or dropped.
    """
    found = np.empty((len(places), draws))
    size = method.batches.config.part_size
    for draw in range(draws):
        for i in range(0, len(places), size):
            batch = method.batches.fixed(places[i : i + size], draw, draws)
            with method.as_kept(), torch.no_grad(), autocast_to(method.batches.device, arithmetic):
                found[i : i + size, draw] = method.errors(batch).cpu().numpy()
            done = draw * len(places) + min(i + size, len(places))
            yield Progress(done, draws * len(places), "Comparing training and held-out images")
    return found


class Validation(Check):
    """The loss on held-out images and on as many training images every few steps; keeps the best, where asked to.

    Attributes:
        history: float32 checks × 2 × 3, the mean of training and held-out images in each band; NaN where not yet
    """

    def __init__(self, method: Denoising, training: Sequence[int], held_out: Sequence[int], arithmetic: torch.dtype):
        """`training` and `held_out` are places of images; of the longer a share is taken, evenly spaced."""
        config = method.batches.config
        n = min(len(training), len(held_out), config.validation_images)
        self.method, self.arithmetic = method, arithmetic
        self.patience = config.patience
        self.sides = [spaced(training, n), spaced(held_out, n)]
        # The last step is looked at too, lest those after the last multiple be thrown away unseen.
        self.steps = sorted({*range(config.validate_every, config.steps, config.validate_every), config.steps})
        self.history = torch.full((len(self.steps), 2, len(BANDS)), torch.nan)
        self.kept = {**method.parameters(), **method.state()} if self.patience else {}
        self.best = {name: tensor.detach().clone() for name, tensor in self.kept.items()}

    def state(self) -> dict[str, Tensor]:
        return {"validation": self.history, **{f"best.{name}": tensor for name, tensor in self.best.items()}}

    def look(self, step: int) -> Steps[bool]:
        place = self.steps.index(step)
        for side, places in enumerate(self.sides):
            errors = yield from fixed_errors(self.method, places, len(BANDS), self.arithmetic)
            if not np.isfinite(errors).all():
                raise UserError(
                    f"The loss on fixed noise is not finite after {step} steps; lower learning_rate, or set precision."
                )
            self.history[place, side] = torch.from_numpy(errors.mean(0))
        yield Row(self.rows()[place])
        if not self.patience:
            return False
        held_out = self.history[: place + 1, 1].mean(1)
        best = int(held_out.argmin())
        if best == place:
            with torch.no_grad():
                for name, tensor in self.kept.items():
                    self.best[name].copy_(tensor)
        return place - best >= self.patience

    def finish(self) -> None:
        """Put the best back, where it was kept."""
        with torch.no_grad():
            for name, tensor in self.best.items():
                self.kept[name].copy_(tensor)

    @property
    def best_step(self) -> int | None:
        """The step after which the held-out loss was least; None before the first check."""
        losses = self.history[:, 1].mean(1).nan_to_num(torch.inf)
        return self.steps[int(losses.argmin())] if losses.isfinite().any() else None

    def rows(self) -> list[dict[str, float]]:
        """A row a check: its step, and the loss of training and held-out images, all together and by band."""
        rows = []
        for place, values in enumerate(self.history.tolist()):
            row: dict[str, float] = {"step": self.steps[place]}
            for name, bands in zip(("training", "held out"), values, strict=True):
                row[name] = float(np.mean(bands))
                row |= {f"{name}, {band}": value for band, value in zip(BANDS, bands, strict=True)}
            if not np.isnan(row["training"]):
                rows.append(row)
        return rows


def membership(
    method: Denoising, records: list[Record], trained: int, arithmetic: torch.dtype
) -> Steps[Estimate | None]:
    """How well the loss tells training from held-out images: the area under the ROC curve; .5 is not at all.

    The attack by loss of Carlini et al. 2023 (arXiv 2301.13188), section 5, at the mean over fixed noise and
    timesteps, within the classes: each loss less the middle of its class's two sides, since classes differ in loss and
    need not be mixed alike. In the interval images of one scan or patient count once. `records` are all images by
    place, the first `trained` of which were learned from. Returns None in all processes but the main one, and where a
    loss is not finite or no class has both sides.
    """
    if not is_main_process():
        return None
    errors = yield from fixed_errors(method, range(len(records)), DRAWS, arithmetic)
    return membership_area(errors.mean(1), records, trained)


def membership_area(losses: np.ndarray, records: list[Record], trained: int) -> Estimate | None:
    """The area by each image's loss, float N, the first `trained` of which were learned from; see `membership`."""
    losses, labels = losses.copy(), np.array([r.label for r in records])
    learned, used = np.arange(len(records)) < trained, np.zeros(len(records), bool)
    for label in set(labels):
        sides = [(labels == label) & side for side in (learned, ~learned)]
        if all(side.any() for side in sides):
            losses[labels == label] -= np.mean([losses[side].mean() for side in sides])
            used |= labels == label
    if not used.any() or not np.isfinite(losses).all():
        return None
    clusters = np.array([r.cluster for r in records])
    sides = (used & learned, used & ~learned)
    return mann_whitney_area(*(losses[s] for s in sides), tuple(len(set(clusters[s])) for s in sides))


def remarks_on_membership(area: Estimate) -> list[str]:
    """A sentence where training images are told from held-out ones better than chance."""
    if area.low <= 0.5:
        return []
    return [
        f"The loss tells training from held-out images better than chance (area under the curve {area.value:.2f}, "
        f"{area.low:.2f} to {area.high:.2f}): these weights, or those that they were trained on, hold something of "
        "single images. Fewer steps or more images keep less of them."
    ]


def spaced(places: Sequence[T], n: int) -> list[T]:
    """`n` of the places, evenly spaced."""
    return [places[i] for i in np.linspace(0, len(places) - 1, n).round().astype(int)]
