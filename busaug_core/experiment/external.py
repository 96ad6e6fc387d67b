"""Testing the arms' classifiers on another dataset, which none of them has seen."""

from dataclasses import replace

from busaug_core.classify.config import APPLY_CLASSIFIER
from busaug_core.data.audit.audit import describe_files
from busaug_core.data.elsewhere import find_elsewhere, images_of
from busaug_core.errors import UserError
from busaug_core.experiment.chain import Chain
from busaug_core.experiment.claims import compare
from busaug_core.experiment.table import External
from busaug_core.experiment.tested import Classifiers, Tested, read_tested
from busaug_core.jobs.events import Steps
from busaug_core.jobs.run import Run
from busaug_core.prompts import named
from busaug_core.records import Record

TAG = "external"
"""What the images bear while they are tested on."""


def external_images(name: str, run: Run, loaded: list[Record], classes: list[str]) -> Steps[tuple[list[Record], str]]:
    """The images of another dataset that classifiers may be tested on, and in words which are left out.

    Left out are those of other classes, and those that show a scan that is among `loaded`, which notices name. Raises
    UserError where no dataset was loaded under the name, or it has fewer than two of the classes.
    """
    images = [replace(r, label=named(r.label, classes) or r.label) for r in images_of(name, run)]
    known = [replace(r, tags=[TAG], dataset=None) for r in images if r.label in classes]
    present = sorted({r.label for r in known})
    if len(present) < 2:
        raise UserError(
            f"external: of the classes {', '.join(classes)} '{name}' has {', '.join(present) or 'none'}; load it with "
            "its classes renamed (rename of load_external), or name another."
        )
    home = run.folder.parents[1].name
    descriptors = yield from describe_files(known)
    yield from find_elsewhere(known, descriptors, {home: [r for r in loaded if not r.synthetic]})
    kept = [r for r in known if r.source is None or home not in (r.source.also_in or "").split(", ")]
    told = f"Images that show a scan of {home} too, left out: {len(known) - len(kept)}."
    if others := len(images) - len(known):
        told += f" Images of other classes, left out: {others}."
    return kept, told


def try_elsewhere(chain: Chain, arms: dict[str, Classifiers], tested: Tested, loaded: list[Record]) -> Steps[External]:
    """Apply all classifiers of all folds to the images of `external`, each by a run of its own that does not land."""
    name, shared = chain.config.external, chain.config.external_classes == "shared"
    images, note = yield from external_images(name, chain.run, loaded, tested.classes)
    applied: dict[str, Classifiers] = {arm: [[]] for arm in arms}
    for arm, of_folds in arms.items():
        for one in (one for of_fold in of_folds for one in of_fold):
            run = yield from chain.apart(
                f"Test {one.key} on {name}",
                APPLY_CLASSIFIER,
                f"external_{one.key}",
                images,
                classifier=one.key,
                evaluate_on=TAG,
            )
            applied[arm][0].append(run)
    present = {image.label for image in images}
    there, home = read_tested(applied).of_classes(present, shared), tested.of_classes(present, shared)
    if lacking := [label for label in tested.classes if label not in present]:
        lacking = ", ".join(lacking)
        note += f" It has no {lacking}: " + (
            "the classifiers choose among the others, by their probabilities scaled up."
            if shared
            else f"what is taken for {lacking} is wrong."
        )
    return External(name, there, compare(there), home, note)
