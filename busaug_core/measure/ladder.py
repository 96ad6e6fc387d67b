"""Where a Fréchet distance comes from: real images, taken as far along a generator's way as they can go.

Against one reference stand as many other real images (the floor), these in the generated images' size, these out of
the base's autoencoder, and each variant: what one step adds to the step before is the price of that step, and what
the variant adds to the autoencoder's is the generator's own. Against a reference in the generated images' size the
price of the size drops out.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from busaug_core.base.autoencoder import reconstruct
from busaug_core.base.components import VAE
from busaug_core.base.tuned import load_base
from busaug_core.errors import UserError
from busaug_core.features.cache import Features, Seen, extract, is_larger
from busaug_core.features.extractor import Extractor
from busaug_core.files import content_hash, write_whole
from busaug_core.images import load_batch
from busaug_core.jobs.device import pick_device
from busaug_core.jobs.events import Progress, Steps
from busaug_core.jobs.lineage import resolve_product, run_that_made, seen_by
from busaug_core.jobs.processes import Team
from busaug_core.jobs.run import Ancestor, Run
from busaug_core.measure.rows import REAL, row_of, tried
from busaug_core.measure.sets import ALL
from busaug_core.metrics.influence import frechet_interval
from busaug_core.parallel import in_order
from busaug_core.records import Record, Synthesis

FOLDER = "autoencoder"
"""Where real images out of the autoencoder lie, in the run's folder."""
BATCH = 8


@dataclass(frozen=True)
class Way:
    """What befalls every image that a generator makes: it has `side` pixels and comes out of an autoencoder.

    That is `base`'s, or the tuned one that `vae` names, as in an image's provenance.
    """

    side: int
    base: str
    vae: str | None = None

    @property
    def reduced(self) -> str:
        """What real images of this size are called."""
        return f"real at {self.side} px"

    @property
    def decoded(self) -> str:
        """What real images out of the autoencoder are called."""
        if self.vae is not None:
            return f"real through the autoencoder of {Path(self.vae).name}"
        return f"real through {Path(self.base).name.removesuffix('.safetensors')}'s autoencoder"

    @property
    def name(self) -> str:
        """What its images' folder is called, apart for bases of one name."""
        known = self.base if self.vae is None else f"{self.base} {self.vae}"
        return f"{Path(self.vae or self.base).name}-{hashlib.sha256(known.encode()).hexdigest()[:8]}-{self.side}"


def ways_of(variants: dict[str, list[Record]]) -> dict[Way, list[str]]:
    """The variants by the way that their images came; those are left out whose provenance does not tell."""
    found: dict[Way, list[str]] = {}
    for variant, members in variants.items():
        made = {_way_of(record.synthesis) for record in members}
        if len(made) == 1 and (way := made.pop()) is not None:
            found.setdefault(way, []).append(variant)
    return found


def _way_of(synthesis: Synthesis | None) -> Way | None:
    if synthesis is None or not synthesis.base_model or not synthesis.width or synthesis.width != synthesis.height:
        return None
    return Way(synthesis.width, synthesis.base_model, synthesis.components.get(VAE.field))


@dataclass
class Taken:
    """Features of real images along a way: in its size, and out of its autoencoder.

    `shrinks` says whether any of them is larger than the way's images; where none is, its size costs nothing.
    """

    way: Way
    reduced: Features
    decoded: Features
    shrinks: bool


def take_along(way: Way, records: list[Record], extractor: Extractor, run: Run, batch_size: int) -> Steps[Taken | None]:
    """Features of real images along a way; None in all processes but the main one.

    Raises UserError or MissingWeights where the base cannot be loaded.
    """
    decoded = yield from decoded_features(way, records, extractor, run, batch_size)
    reduced = yield from extract(records, extractor, run, batch_size, Seen(side=way.side))
    if decoded is None:
        return None
    return Taken(way, reduced, decoded, any(in_order(lambda r: is_larger(r.path, way.side), records)))


def ladder(
    taken: Taken,
    plain: Features,
    extractor: Extractor,
    whole: list[Record],
    sides: tuple[list[Record], list[Record]],
    variants: dict[str, list[Record]],
    split: str,
) -> dict[str, Any]:
    """The Fréchet distance of each step from real images to the variants.

    Returns `rows`, whose variant is the step's name, those against the reference in the way's size last; `side`,
    `base` and `vae` of the way, and the names of its `variants`.

    Args:
        plain: features of all these images as they are
        whole: the reference, in whose units distances are taken; z-scores have it so in all tables
        sides: images drawn from it, and as many other real ones of each class
        variants: as many images of each variant of this way
        split: the reference's name
    """
    way, (reference, opposite) = taken.way, sides
    steps = {REAL: plain.of(opposite), way.reduced: taken.reduced.of(opposite), way.decoded: taken.decoded.of(opposite)}
    if not taken.shrinks:
        del steps[way.reduced]
    steps |= {variant: plain.of(members) for variant, members in variants.items()}
    rows = _rows(extractor, plain.of(whole), plain.of(reference), steps, split)
    if taken.shrinks:
        del steps[REAL]
        units, real = taken.reduced.of(whole), taken.reduced.of(reference)
        rows += _rows(extractor, units, real, steps, f"{split} at {way.side} px")
    return {"side": way.side, "base": way.base, "vae": way.vae, "variants": list(variants), "rows": rows}


def _rows(
    extractor: Extractor, whole: np.ndarray, real: np.ndarray, steps: dict[str, np.ndarray], reference: str
) -> list[dict]:
    units = extractor.standardise(real, whole)
    outcomes = {
        step: tried(lambda made=made: frechet_interval(units, extractor.standardise(made, whole)))
        for step, made in steps.items()
    }
    return [row_of(step, ALL, reference, len(real), extractor.metric, outcome) for step, outcome in outcomes.items()]


def decoded_features(
    way: Way, records: list[Record], extractor: Extractor, run: Run, batch_size: int
) -> Steps[Features | None]:
    """Features of real images out of a way's autoencoder, looked up by the images that they were made of.

    Raises UserError or MissingWeights where the base cannot be loaded.
    """
    made = yield from passed_through(way, records, run)
    decoded = yield from extract(made, extractor, run, batch_size)
    return None if decoded is None else Features(records, decoded.matrix, decoded.hashes)


def passed_through(way: Way, records: list[Record], run: Run) -> Steps[list[Record]]:
    """The records with images out of the way's autoencoder, as PNG files in the run's folder; its processes share them.

    Raises UserError or MissingWeights where the base cannot be loaded.
    """
    folder = run.folder / FOLDER / way.name
    paths = {r.path: folder / f"{content_hash(r.path)[:16]}.png" for r in records}
    team, failure = Team(), None
    try:
        yield from _pass_through(way, {path: paths[path] for path in team.share(list(paths))}, run)
    except UserError as error:
        failure = error
    if team.has_several:
        team.meet()  # also where this process has failed, lest the others wait for it
    if failure is not None:
        raise failure
    return [replace(r, path=str(paths[r.path])) for r in records]


def _pass_through(way: Way, paths: dict[str, Path], run: Run) -> Steps[None]:
    """Write the images out of the autoencoder that are not there, each to its path."""
    missing = [path for path, made in paths.items() if not made.exists()]
    pipe = _base_of(way, run) if missing else None
    for i in range(0, len(missing), BATCH):
        chosen = missing[i : i + BATCH]
        for path, pixels in zip(chosen, reconstruct(pipe, load_batch(chosen, way.side)), strict=True):
            picture = Image.fromarray(pixels)
            write_whole(paths[path], lambda partial, picture=picture: picture.save(partial, format="png"))
        yield Progress(i + len(chosen), len(missing), "Passing real images through the autoencoder")


def _base_of(way: Way, run: Run) -> StableDiffusionPipeline:
    """The base of a way, with its autoencoder."""
    pipe = load_base(run, way.base, pick_device(), torch.float32)
    if (tuned := _tuned(way, run)) is not None:
        VAE.attach(pipe, tuned.path).switch(True)
    return pipe


def _tuned(way: Way, run: Run) -> Ancestor | None:
    """The tuned autoencoder of a way, if it has one."""
    return None if way.vae is None else resolve_product(run, way.vae, VAE.product)


def refuse_other_autoencoder(way: Way, images: list[Record], run: Run) -> None:
    """Raises UserError where what bears the name of the way's autoencoder is not what its images came out of."""
    if (tuned := _tuned(way, run)) is None:
        return
    makers = {maker.folder: maker for place in {Path(r.path).parent for r in images} if (maker := run_that_made(place))}
    for maker in makers.values():
        known = maker.environment.get("vae_weights")
        if known is not None and known != tuned.hash():
            raise UserError(
                f"'{way.vae}' is another autoencoder now than the one that the images of run '{maker.key}' came out "
                "of; generate them anew."
            )


def learned_by_autoencoder(way: Way, images: list[Record], run: Run) -> list[Record]:
    """Those of the images that the way's autoencoder was trained on, as far as that is known."""
    tuned = _tuned(way, run)
    return [] if tuned is None or tuned.run is None else seen_by(tuned.run, images)
