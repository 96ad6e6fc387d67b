"""The operator that audits a dataset: copies, scans, doubtful labels, burnt-in annotations."""

from typing import Any

from busaug_core.words import counted

from .host.operator import JobOperator


class Audit(JobOperator):
    """Writes groups, scores and tags onto the real samples; nothing else of them changes."""

    job_name = "audit"
    label = "audit"
    icon = "policy"
    main_fields = ("copy_likeness", "scan_likeness", "annotation_threshold", "read_text")
    whole_dataset = True  # an image may share its scan with any other

    def summarise(self, result: dict[str, Any]) -> str:
        tags = ", ".join(f"{n} {tag}" for tag, n in result["tags"].items())
        groups = counted(result["groups"]["split_group"], "group")
        return f"{counted(result['images'], 'image')}, {groups} of one scan; {tags}"
