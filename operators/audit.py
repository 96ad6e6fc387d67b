"""The operator that audits a dataset: copies, scans, doubtful labels, burnt-in annotations."""

from typing import Any

import fiftyone as fo
from fiftyone.operators.executor import ExecutionContext

from busaug_core.data.audit.audit import AXILLA, TAGS
from busaug_core.jobs.run import Run
from busaug_core.records import Record

from .host.operator import JobOperator

FIELDS = ("duplicate_group", "split_group", "annotation_score")


def write_audit(dataset: fo.Dataset, records: list[Record]) -> None:
    """Write the records' groups, scores and tags of the audit onto the samples of the same files."""
    present = dict(zip(*dataset.values(["filepath", "tags"]), strict=True))
    records = [r for r in records if r.path in present]
    for name in FIELDS:
        dataset.set_values(name, {r.path: getattr(r, name) for r in records}, key_field="filepath")
    kept = {r.path: [tag for tag in present[r.path] if tag not in TAGS] for r in records}
    given = {r.path: [tag for tag in r.tags if tag in (*TAGS, AXILLA) and tag not in kept[r.path]] for r in records}
    dataset.set_values("tags", {path: kept[path] + given[path] for path in kept}, key_field="filepath")


class Audit(JobOperator):
    """Writes groups, scores and tags onto the real samples; nothing else of them changes."""

    job_name = "audit"
    label = "audit"
    icon = "policy"
    main_fields = ("copy_likeness", "scan_likeness", "annotation_threshold")
    whole_dataset = True  # an image may share its scan with any other
    writes_fields = True

    def write(self, ctx: ExecutionContext, dataset: fo.Dataset, run: Run) -> None:
        write_audit(dataset, run.products)

    def summarise(self, result: dict[str, Any]) -> str:
        tags = ", ".join(f"{n} {tag}" for tag, n in result["tags"].items())
        return f"{result['images']} images, {result['groups']['split_group']} groups of one scan; {tags}"
