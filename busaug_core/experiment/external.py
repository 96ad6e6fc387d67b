"""Testing the arms' classifiers on another dataset, which none of them has seen."""

from dataclasses import dataclass, replace

from busaug_core.classify.config import APPLY_CLASSIFIER
from busaug_core.data.audit.audit import describe_files
from busaug_core.data.elsewhere import find_elsewhere, images_of
from busaug_core.errors import UserError
from busaug_core.experiment.chain import Chain
from busaug_core.experiment.claims import compare
from busaug_core.experiment.findings import External
from busaug_core.experiment.tested import Classifiers, Tested, read_tested
from busaug_core.jobs.events import Steps
from busaug_core.jobs.lineage import seen_by
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import runs_folder
from busaug_core.prompts import named
from busaug_core.records import Record
from busaug_core.words import counted

TAG = "external"
"""What the images bear, before the dataset's name, while they are tested on."""


@dataclass(frozen=True)
class ExternalImages:
    """The images of another dataset that classifiers may be tested on, and in words which were left out."""

    images: list[Record]
    note: str


def external_images(name: str, run: Run, loaded: list[Record]) -> Steps[ExternalImages]:
    """The images of another dataset that show none of the scans in `loaded`, which a notice names, of its classes.

    Raises UserError where no dataset was loaded under the name, it is the run's own, fewer than two of the classes are
    left, or the base that the experiment starts from has learned from some of them.
    """
    home = run.folder.parents[1]
    if runs_folder(name, home.parent) == run.folder.parent:
        raise UserError(f"external: '{name}' keeps its runs where this dataset does; name another.")
    classes = sorted({r.label for r in loaded})
    images = [replace(r, label=named(r.label, classes) or r.label) for r in images_of(name, run, "external")]
    known = [replace(r, tags=[f"{TAG}:{name}"], dataset=None) for r in images if r.label in classes]
    descriptors = yield from describe_files(known)
    yield from find_elsewhere(known, descriptors, {home.name: [r for r in loaded if not r.synthetic]})
    kept = [r for r in known if r.source is None or home.name not in (r.source.also_in or "").split(", ")]
    told = f"Images that show a scan of {home.name} too, left out: {len(known) - len(kept)}."
    if others := len(images) - len(known):
        told += f" Images of other classes, left out: {others}."
    if len(present := sorted({r.label for r in kept})) < 2:
        if not present and known:
            raise UserError(f"external: all images of '{name}' show scans of {home.name} too; name another.")
        raise UserError(
            f"external: of the classes {', '.join(classes)} '{name}' has {', '.join(present) or 'none'} to test on. "
            f"{told} Load it with its classes renamed (rename of load_external), or name another."
        )
    base = run.used.get("base_model")
    if base is not None and base.run is not None and (seen := seen_by(base.run, kept)):
        raise UserError(
            f"external: the base '{base.given}' has learned from {counted(len(seen), 'image')} of '{name}' (the first "
            f"{seen[0].path}), so no number on these would be honest; name another."
        )
    return ExternalImages(kept, told)


def try_elsewhere(
    chain: Chain, arms: dict[str, Classifiers], tested: Tested, others: ExternalImages
) -> Steps[External]:
    """Apply all classifiers of all folds to the images of `external`, each by a run of its own that does not land."""
    name, shared = chain.config.external, chain.config.external_classes == "shared"
    keys = [one.key for of_folds in arms.values() for of_fold in of_folds for one in of_fold]

    def test(key: str) -> Steps[Run]:
        values = dict(classifier=key, evaluate_on=f"{TAG}:{name}")
        return chain.apart(f"Test {key} on {name}", APPLY_CLASSIFIER, f"external_{key}", others.images, **values)

    runs = yield from chain.each("external", keys, test)
    applied = {arm: [[runs[one.key] for of_fold in of_folds for one in of_fold]] for arm, of_folds in arms.items()}
    present, note = {image.label for image in others.images}, others.note
    there, home = read_tested(applied).of_classes(present, shared), tested.of_classes(present, shared)
    if lacking := ", ".join(label for label in tested.classes if label not in present):
        note += f" It has no {lacking}: " + (
            "the classifiers choose among the others, by their probabilities scaled up."
            if shared
            else f"what is taken for {lacking} is wrong."
        )
    return External(name, there, compare(there), home, note)
