"""What a run was made from: the products of other runs that its config names, and theirs in turn.

A field of a config that names a product says so by an annotation, `Product`. What is given there, a run key, a file
or a folder, is resolved once, to the file and the run that it lies in; nothing here knows a component by name.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from busaug_core.errors import MissingWeights, UserError
from busaug_core.files import content_hash
from busaug_core.foreign import refuse_other_than_weights
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.run import INPUTS, Ancestor, Run
from busaug_core.jobs.runs import runs_in
from busaug_core.paths import absolute
from busaug_core.records import SPLITS, Record

TRAINED_ON = "trained_on"
"""The entry of a run's environment that holds the hashes of the images that it learned from."""


@dataclass(frozen=True)
class Product:
    """Annotation of a config field that names what another run has made.

    Attributes:
        name: the file, or the folder in diffusers' layout, that a run's folder holds it as
        job: the job that makes it, whose finished runs a form offers
        only: whether nothing else may stand in the field, such as a Hub id or an extractor's name
        held_out: whether it must not have learned from images that validate or test now
        also: names that other software gives to such a file
        refuse: raises UserError for what is given and no run's, where it can be told without loading it
        reserved: words that never name a run
        takes: whether a finished run of that job may stand in the field, or would be refused
    """

    name: str
    job: str
    only: bool = True
    held_out: bool = True
    also: tuple[str, ...] = ()
    refuse: Callable[[str], object] | None = None
    reserved: tuple[str, ...] = ()
    takes: Callable[[Run], bool] = lambda run: True


def product_fields(config: type[JobConfig]) -> dict[str, Product]:
    """The fields of a config that name a product."""
    found = {}
    for name, info in config.model_fields.items():
        for rule in info.metadata:
            if isinstance(rule, Product):
                found[name] = rule
    return found


def resolve_products(config: JobConfig, run: Run) -> dict[str, Ancestor]:
    """What the config's fields name, by field; those that name none, and words that stand for none, are left out.

    Raises UserError where a field names nothing that is there.
    """
    found = {}
    for name, product in product_fields(type(config)).items():
        given = getattr(config, name)
        if given is not None and (ancestor := resolve_product(run, given, product)) is not None:
            found[name] = ancestor
    return found


def resolve_product(run: Run, given: str, product: Product) -> Ancestor | None:
    """The product that is meant: by a run key, a file, a folder, or the folder of another dataset's run.

    Returns None where it may be something else. Raises UserError where there is none.
    """
    sibling = run.sibling(given)
    if given in product.reserved:
        return None
    if product.refuse is not None and sibling.job is None:
        try:
            product.refuse(given)
        except MissingWeights as error:
            raise MissingWeights(f"{error} It is no run of this dataset either; {_runs_here(run, product)}.") from None
    for place in dict.fromkeys((sibling.folder, absolute(given))):
        path = _product_at(place, product)
        if path is not None:
            made_by = run_that_made(path)
            if made_by is None and path.is_file():
                refuse_other_than_weights(path)
            return Ancestor(given, path, made_by)
    if not product.only and sibling.job is None:
        return None
    if sibling.state in ("running", "stopped", "failed"):
        raise UserError(f"Run '{given}' is {sibling.state} and has no {product.name} yet; finish it first.")
    if sibling.state == "done" and sibling.job == product.job:
        raise UserError(
            f"Run '{given}' has lost its {product.name}; put it back into {sibling.folder}, or call {sibling.job} with "
            f"run_key '{given}' and its settings again, which makes it anew."
        )
    if sibling.state == "done":
        raise UserError(
            f"Run '{given}' is one of {sibling.job} and holds no {product.name}; {_runs_here(run, product)}."
        )
    raise UserError(
        f"'{given}' is neither a run of this dataset, nor a file, nor a folder with {product.name}; "
        f"{_runs_here(run, product)}."
    )


def _runs_here(run: Run, product: Product) -> str:
    """The runs that a field could name, in words."""
    known = ", ".join(r.key for r in runs_in(run.folder.parent, product.job, done=True)) or "none yet"
    return f"finished runs of {product.job} here: {known} (one of another dataset is named by its folder)"


def run_that_made(path: Path) -> Run | None:
    """The run in whose folder a file or folder lies, however deep, also through links; None where there is none."""
    for place in (absolute(path), path.resolve()):
        for folder in (place, *place.parents):
            if (folder / INPUTS).is_file():
                return Run(folder)
    return None


def record_lineage(run: Run, config: type[JobConfig]) -> None:
    """Note in the run's environment which runs it grew from, and pin the weights that can be nothing else."""
    if run.used:
        products = product_fields(config)
        run.pin(**{f"{name}_weights": used.hash() for name, used in run.used.items() if products[name].only})
        runs = {name: str(used.run.folder) for name, used in run.used.items() if used.run is not None}
        run.record_environment(lineage=runs)


def ancestors(run: Run) -> Iterator[Run]:
    """The run, those that it grew from, and theirs; each once."""
    waiting, met = [run], set()
    while waiting:
        run = waiting.pop()
        if run.folder not in met:
            met.add(run.folder)
            yield run
            waiting += _parents(run)


def learned_by_parents(run: Run, records: Iterable[Record]) -> list[Record]:
    """Those of the records that a run's parents learned from, and not the run itself, which may but make images."""
    records = list(records)
    for parent in _parents(run):
        if found := seen_by(parent, records):
            return found
    return []


def seen_by(run: Run, records: Iterable[Record]) -> list[Record]:
    """Those of the records that a run, or one that it grew from, learned from: a file of that path, or of its bytes."""
    members = list(ancestors(run))
    files = {path for member in members for path in _training_files(member.records)}
    if not files:
        return []
    hashes = {hash_ for member in members for hash_ in _kept_hashes(member)}
    return [r for r in records if r.path in files or (Path(r.path).is_file() and content_hash(r.path) in hashes)]


def _parents(run: Run) -> list[Run]:
    lineage: dict[str, Any] = run.environment.get("lineage", {})
    return [Run(Path(folder)) for folder in lineage.values()]


def training_hashes(records: Iterable[Record]) -> list[str]:
    """The hashes of those images that a run on these records learns from, as it keeps them."""
    return sorted(content_hash(path) for path in _training_files(records) if Path(path).is_file())


def _training_files(records: Iterable[Record]) -> list[str]:
    return [r.path for r in records if SPLITS[0] in r.tags and not r.synthetic]


def _kept_hashes(run: Run) -> Iterable[str]:
    """The hashes that the run kept, so that moved files are known too; of one that kept none, those of its files."""
    kept = run.environment.get(TRAINED_ON)
    return kept if kept is not None else training_hashes(run.records)


def _product_at(place: Path, product: Product) -> Path | None:
    if place.is_file():
        return place
    for name in (product.name, *product.also):
        if (place / name).exists():
            return place / name
    # A folder in diffusers' layout may be named itself; a run's folder holds a config of another kind.
    is_folder = not Path(product.name).suffix
    return place if is_folder and (place / "config.json").is_file() and not (place / INPUTS).exists() else None
