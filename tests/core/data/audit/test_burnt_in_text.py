"""Burnt-in text in the audit: read where that is asked for and possible, and said where not."""

import pytest
from PIL import Image, ImageDraw

from busaug_core.data.audit import audit as audit_module
from busaug_core.data.audit.audit import NOT_ASKED, NOT_INSTALLED, audit_records
from busaug_core.data.audit.descriptors import describe
from busaug_core.data.audit.text import TextReader, is_annotation
from busaug_core.data.config import Audit
from busaug_core.images import open_image
from busaug_core.jobs.events import Notice, drain
from busaug_core.jobs.run import Run
from busaug_core.records import Record
from busaug_core.registry import job


def audited(texts, tags=(), **config):
    """Records of plain scans on which the texts were read, as the audit leaves them, and its summary."""
    found = describe(Image.new("L", (64, 64), 40))
    records = [Record(f"/{i}.png", "benign", tags=list(tags)) for i in range(len(texts))]
    descriptors = [type(found)(found.normalised, found.perceptual_hash, 0.0, text) for text in texts]
    return records, drain(audit_records(records, descriptors, Audit(**config)))


def test_a_scanners_name_alone_is_no_annotation():
    assert not any(map(is_annotation, (None, "", "LOGIQ", "LOGIO | E9", "GE")))
    assert all(map(is_annotation, ("MAMA DIREITA", "GE | MAMA", "LOGIQ | RT 9")))


def test_text_that_was_read_is_kept_and_makes_tags():
    records, summary = audited(["MAMA DIREITA | 54 ANOS", "RT AXILLA", "LOGIQ | E9", ""], ["patient_text", "mine"])
    assert [r.burnt_in_text for r in records] == ["MAMA DIREITA | 54 ANOS", "RT AXILLA", "LOGIQ | E9", ""]
    assert ["annotated" in r.tags for r in records] == [True, True, False, False]
    assert ["patient_text" in r.tags for r in records] == [True, False, False, False]
    assert all("mine" in r.tags for r in records)
    assert summary["tags"]["patient_text"] == 1
    assert summary["text"] == "read: 3 of 4 images with some"


def test_an_audit_that_reads_no_text_leaves_what_was_read_before_and_says_so():
    records, summary = audited([None, None], ["patient_text"])
    assert all(r.burnt_in_text is None and "patient_text" in r.tags for r in records)
    assert summary["text"] in (NOT_ASKED, NOT_INSTALLED)
    records[0].burnt_in_text = "54 ANOS"
    drain(audit_records(records, [describe(Image.new("L", (64, 64), 40))] * 2, Audit()))
    assert records[0].burnt_in_text == "54 ANOS" and {"annotated", "patient_text"} <= set(records[0].tags)


def test_where_the_package_is_missing_the_audit_says_so_and_does_the_rest(records, tmp_path, monkeypatch):
    monkeypatch.setattr(audit_module, "is_installed", lambda: False)
    events = list(job("audit").run({"read_text": True}, records, "trial", tmp_path / "home"))
    assert "pip install --no-deps rapidocr-onnxruntime" in next(e.message for e in events if isinstance(e, Notice))
    assert events[-1].result["text"] == NOT_INSTALLED
    assert events[-1].result["images"] == len(records)


@pytest.mark.text
def test_gray_text_is_read_from_a_file_and_nothing_from_a_plain_scan(scan, tmp_path):
    scan.save(tmp_path / "plain.png")
    ImageDraw.Draw(scan := scan.copy()).text((60, 180), "37 ANOS", fill=170, font_size=13)
    scan.save(tmp_path / "text.png")
    records = [Record(str(tmp_path / f"{name}.png"), "benign") for name in ("plain", "text")]
    result = list(job("audit").run({"read_text": True}, records, "trial", tmp_path / "home"))[-1].result
    found = {r.path: r for r in Run(tmp_path / "home" / "trial" / "runs" / result["run_key"]).products}
    assert found[records[0].path].burnt_in_text == ""
    assert "ANOS" in found[records[1].path].burnt_in_text
    assert "patient_text" in found[records[1].path].tags


@pytest.mark.text
def test_colour_palette_and_sixteen_bits_are_read_alike(scan, tmp_path):
    ImageDraw.Draw(scan := scan.copy()).text((60, 180), "RT UOQ", fill=200, font_size=14)
    read = TextReader()
    for mode in ("L", "RGB", "RGBA", "P"):
        scan.convert(mode).save(tmp_path / f"{mode}.png")
        assert "UOQ" in read(open_image(tmp_path / f"{mode}.png"))
