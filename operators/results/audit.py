"""Results of `audit`: groups, scores and tags of real samples."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import fiftyone as fo

from busaug_core.jobs.run import Run
from busaug_core.records import Record

from .ids import SampleIds
from .results import Results
from .values import TAGS, Values

FIELDS = ("duplicate_group", "split_group", "annotation_score")
TEXT = "burnt_in_text"


class AuditResults(Results):
    keeps_values = True

    def writes(self, config: Mapping[str, Any]) -> Collection[str]:
        return (*FIELDS, TEXT) if config.get("read_text") else FIELDS

    def values(self, dataset: fo.Dataset, run: Run, ids: SampleIds) -> Values:
        return audited(run.products, ids)


def audited(records: Iterable[Record], ids: SampleIds) -> Values:
    """What an audit says of the records' samples.

    The tag of axilla views is given and never taken; text and its tag stay as they are where no text was read.
    """
    from busaug_core.data.audit.audit import AXILLA, PATIENT_TEXT  # loads SciPy
    from busaug_core.data.audit.audit import TAGS as AUDIT_TAGS

    of = {id_: record for record in records for id_ in ids.of(record)}
    values: Values = {name: {id_: getattr(record, name) for id_, record in of.items()} for name in FIELDS}
    for tag in AUDIT_TAGS:
        values[TAGS + tag] = {id_: tag in record.tags for id_, record in of.items()}
    read = {id_: record for id_, record in of.items() if record.burnt_in_text is not None}
    if read:
        values[TEXT] = {id_: record.burnt_in_text for id_, record in read.items()}
        values[TAGS + PATIENT_TEXT] = {id_: PATIENT_TEXT in record.tags for id_, record in read.items()}
    values[TAGS + AXILLA] = {id_: True for id_, record in of.items() if AXILLA in record.tags}
    return values
