"""Results of `audit`: groups, scores and tags of real samples."""

from collections.abc import Iterable, Mapping

import fiftyone as fo

from busaug_core.jobs.run import Run
from busaug_core.records import Record

from .results import Results
from .values import TAGS, Values

FIELDS = ("duplicate_group", "split_group", "annotation_score")


class AuditResults(Results):
    uses_fields = True
    keeps_values = True

    def values(self, dataset: fo.Dataset, run: Run, ids: Mapping[str, str]) -> Values:
        return audited(run.products, ids)


def audited(records: Iterable[Record], ids: Mapping[str, str]) -> Values:
    """What an audit says of the records' samples; the tag of axilla views is given and never taken."""
    from busaug_core.data.audit.audit import AXILLA  # loads SciPy
    from busaug_core.data.audit.audit import TAGS as AUDIT_TAGS

    of = {ids[record.path]: record for record in records if record.path in ids}
    values: Values = {name: {id_: getattr(record, name) for id_, record in of.items()} for name in FIELDS}
    for tag in AUDIT_TAGS:
        values[TAGS + tag] = {id_: tag in record.tags for id_, record in of.items()}
    values[TAGS + AXILLA] = {id_: True for id_, record in of.items() if AXILLA in record.tags}
    return values
