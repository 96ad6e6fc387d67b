"""What a reader of measured distances should know of the sets that were compared."""

from collections.abc import Iterator

from busaug_core.features.extractor import Extractor
from busaug_core.jobs.events import Notice
from busaug_core.jobs.lineage import seen_by
from busaug_core.jobs.roles import REJECTED
from busaug_core.jobs.run import Run
from busaug_core.records import Record
from busaug_core.words import counted

TRAINED_ON_OTHERS = "; the classifier was trained on some of them, so the floor may be too high"
TRAINED_ON_REFERENCE = "; the classifier was trained on the reference, which it knows better than any other image"
FEW = 10
"""Images a side, below which a class says little."""
EARLY = 0.9
"""How early the last image of a class comes in the order of herding, where chance has not put it there."""


def remarks_on_sets(variants: dict[str, list[Record]], real: list[Record], extractor: Extractor) -> Iterator[Notice]:
    """What a reader of the numbers should know of the sets."""
    if all(r.annotation_score is None for r in real):
        yield Notice(
            "The real images were never audited: where two splits share a scan, the floor comes out too low. Run audit "
            "first."
        )
    for variant, members in variants.items():
        runs = sorted({r.synthesis.run for r in members if r.synthesis and r.synthesis.run})
        if len(runs) > 1:
            yield Notice(
                f"{variant}: its evaluation set is of {len(runs)} runs ({', '.join(runs)}), measured together."
            )
        if _come_early(members, extractor):
            yield Notice(
                f"{variant}: its images come early in the order of herding in these same features ({extractor.name}), "
                "in which they seem nearer to real ones than in others; measure by another extractor too."
            )
        rejected = sum(REJECTED in r.tags for r in members)
        if rejected:
            yield Notice(
                f"{variant}: {counted(rejected, 'rejected image is', 'rejected images are')} measured too; "
                "without_rejected leaves out what a filter has rejected."
            )


def _come_early(members: list[Record], extractor: Extractor) -> bool:
    """Whether of each class the last in the order of herding by this extractor are not there."""
    places: dict[str | None, list[float]] = {}
    for record in members:
        if not record.scores or record.scores.extractor != extractor.name or record.scores.herding is None:
            return False
        places.setdefault(record.label, []).append(record.scores.herding)
    several = [of_class for of_class in places.values() if len(of_class) > 1]
    return bool(several) and all(max(of_class) < EARLY * (1 - 1 / len(of_class)) for of_class in several)


def caveat(trained: Run | None, reference: list[Record], others: list[Record]) -> str:
    """What the floor suffers from where the extractor was trained, by that run, on one of its sides."""
    if trained is None:
        return ""
    if seen_by(trained, others):
        return TRAINED_ON_OTHERS
    return TRAINED_ON_REFERENCE if seen_by(trained, reference) else ""


def remarks_on_counts(label: str, counts: dict[str, int], n_reference: int) -> Iterator[Notice]:
    """What the common class counts mean for a comparison."""
    n = sum(counts.values())
    if n < n_reference:
        yield Notice(f"{label}: compared at {n} of {n_reference} images, as many of each class as all sets have.")
    if lacking := [name for name, count in counts.items() if not count]:
        yield Notice(f"{label}: no {' or '.join(lacking)} image is compared, since some set has none.")
    if 0 < n < FEW:
        yield Notice(f"{label}: {counted(n, 'image a side says', 'images a side say')} little; read the intervals.")
