"""The audit: its tags, what it remarks on, and its settings."""

from dataclasses import replace

import pytest
from PIL import Image

from busaug_core.data.audit.audit import BUSI_COUNTS, audit_records, is_busi
from busaug_core.data.audit.descriptors import describe
from busaug_core.data.config import SCAN, Audit
from busaug_core.errors import UserError
from busaug_core.images import open_image
from busaug_core.jobs.events import Notice
from busaug_core.records import Record
from busaug_core.registry import job


def test_auditing_again_takes_back_tags_that_no_longer_apply(records):
    again = [Record(r.path, r.label, tags=[*r.tags, "duplicate", "label_conflict"], split_group="old") for r in records]
    for _ in audit_records(again, [describe(open_image(r.path)) for r in again], Audit()):
        pass
    assert not any({"duplicate", "label_conflict"} & set(r.tags) or r.split_group for r in again)
    assert all(r.annotation_score is not None for r in again)


def test_auditing_split_records_says_what_leaks(records, tmp_path):
    Image.open(records[0].path).resize((80, 80)).save(tmp_path / "copy.png")
    copy = Record(str(tmp_path / "copy.png"), records[0].label, tags=["train"])
    events = list(job("audit").run({}, [*records, copy], "trial", tmp_path / "home"))
    assert next(e.message for e in events if isinstance(e, Notice)).startswith("1 held-out image has a copy")


def test_busi_is_told_by_its_file_names():
    whole = [Record(f"/x/{c} ({n}).png", c) for c, count in BUSI_COUNTS.items() for n in range(1, count + 1)]
    assert is_busi(whole)
    assert not is_busi([replace(r, path=r.path.replace(".png", ".jpg")) for r in whole])
    assert is_busi(whole[9:])
    assert not is_busi(whole[99:])
    assert not is_busi([*whole, Record("/x/benign (438).png", "benign")])


def test_a_copy_is_of_the_same_scan():
    with pytest.raises(UserError, match="scan_likeness must not exceed"):
        Audit.parse({"copy_likeness": 0.3, "scan_likeness": 0.5})


def test_frames_of_one_scan_must_be_more_alike_in_large_sets():
    assert Audit().scan_likeness_among(780) == Audit().scan_likeness_among(4000) == SCAN
    assert 0.37 < Audit().scan_likeness_among(20_000) < 0.39
    assert Audit(copy_likeness=0.3).scan_likeness_among(780) == 0.3
    assert Audit(scan_likeness=0.5).scan_likeness_among(20_000) == 0.5
