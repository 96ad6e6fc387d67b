"""The audit: copies and scans, burnt-in annotations, what it says of real BUSI."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from generators import drain
from PIL import Image, ImageDraw

from busaug_core.data.audit import groups
from busaug_core.data.audit import perceptual_hash as search
from busaug_core.data.audit.annotations import annotation_score
from busaug_core.data.audit.audit import BUSI_COUNTS, audit_records, is_busi
from busaug_core.data.audit.descriptors import Look
from busaug_core.data.audit.perceptual_hash import Index, outline
from busaug_core.data.audit.similarity import SIDE, detail, likeness
from busaug_core.data.config import COPY, SCAN, Audit
from busaug_core.errors import UserError
from busaug_core.images import open_image
from busaug_core.jobs.events import Notice
from busaug_core.jobs.run import Run
from busaug_core.records import Record
from busaug_core.registry import job
from busaug_core.simulate import simulate


@pytest.fixture(scope="module")
def scan():
    return Image.fromarray(simulate("benign", 3, 224).image)


def marked(scan, path, draw):
    image = scan.convert("RGB")
    draw(ImageDraw.Draw(image))
    image.save(path)
    return annotation_score(open_image(path))


def cross(draw):
    draw.line([(100, 90), (100, 102)], fill="white", width=2)
    draw.line([(94, 96), (106, 96)], fill="white", width=2)


def test_a_caliper_text_and_colour_are_annotations_and_a_plain_scan_is_not(scan, tmp_path):
    assert marked(scan, tmp_path / "plain.png", lambda d: None) < 1
    assert marked(scan, tmp_path / "cross.png", cross) >= 1
    assert marked(scan, tmp_path / "text.png", lambda d: d.text((30, 180), "RT UOQ", fill="white", font_size=14)) >= 1
    assert marked(scan, tmp_path / "colour.png", lambda d: d.rectangle((90, 90, 110, 110), outline="yellow")) >= 1


def test_simulated_scans_bear_no_annotations(tmp_path):
    scores = []
    for seed in range(12):
        Image.fromarray(simulate(("benign", "malignant", "normal")[seed % 3], seed, 224).image).save(tmp_path / "s.png")
        scores.append(annotation_score(open_image(tmp_path / "s.png")))
    assert np.mean(np.array(scores) >= 1) <= 1 / 12


def test_likeness_ignores_gain_and_depth_and_finds_a_shift(scan):
    gray = np.asarray(scan.resize((SIDE, SIDE)), dtype=np.float32)
    darker = gray * np.linspace(1, 0.4, SIDE)[:, None]
    shifted = np.roll(gray, 4, axis=1)
    details = np.stack([detail(g) for g in (gray, darker, shifted)])
    values = likeness(details, np.array([[0, 0], [0, 1], [0, 2]]))
    assert values[0] == pytest.approx(1, abs=1e-3)
    assert values[1] > 0.85
    assert values[2] > 0.75


def candidates(grays):
    """Pairs of pictures that an index of their outlines proposes."""
    index = Index(np.stack([outline(g) for g in grays]))
    return {tuple(p) for p in index.candidates(slice(None))}


def grouped(grays):
    """Records of pictures with their groups, and the pairs of one scan."""
    records = [Record(f"/{i}.png", "benign") for i in range(len(grays))]
    work = groups.find_groups(records, [Look(detail(g), outline(g), 0.0) for g in grays], COPY, SCAN)
    return records, drain(work)


def test_candidates_are_all_copies_and_few_others():
    grays = [simulate("normal", seed, SIDE).image for seed in range(60)]
    noisy = [np.clip(g + np.random.default_rng(i).normal(0, 8, g.shape), 0, 255) for i, g in enumerate(grays)]
    pairs = candidates(grays + noisy)
    assert all((i, i + 60) in pairs for i in range(60))
    assert len(pairs) < 120 * 119 / 2 / 10


def test_the_candidates_hold_every_pair_of_one_scan_that_a_search_of_all_pairs_finds():
    grays = [simulate("benign", seed, SIDE).image for seed in range(30)]
    rng = np.random.default_rng(0)
    frames = [np.roll(g, (int(rng.integers(-5, 6)), int(rng.integers(-10, 11))), (0, 1)) for g in grays]
    frames = [np.clip(f + rng.normal(0, 25, f.shape), 0, 255) for f in frames]
    details = np.stack([detail(g) for g in grays + frames])
    everything = np.stack(np.triu_indices(60, 1), 1)
    same = {tuple(p) for p in everything[likeness(details, everything) >= SCAN]}
    assert len(same) >= 25
    assert same <= candidates(grays + frames)


def test_cells_find_what_a_search_of_all_pairs_finds_from_whatever_block(monkeypatch):
    grays = [simulate(("benign", "normal")[seed % 2], seed, SIDE).image for seed in range(200)]
    rng = np.random.default_rng(0)
    frames = [np.roll(g, (int(rng.integers(-4, 5)), int(rng.integers(-8, 9))), (0, 1)) for g in grays]
    outlines = np.stack([outline(g) for g in grays + frames])
    whole = Index(outlines)
    monkeypatch.setattr(search, "CELL", 8)
    celled = Index(outlines)
    assert len(whole.members) == 1 and len(celled.members) == 50
    assert sorted(np.concatenate(celled.members)) == list(range(400))
    everything = {tuple(p) for p in whole.candidates(slice(None))}
    found = {tuple(p) for first in range(0, 400, 64) for p in celled.candidates(slice(first, first + 64))}
    true = {(i, i + 200) for i in range(200)}
    assert true <= everything
    assert len(true & found) >= 198


def test_many_copies_of_one_image_do_not_hide_another_frame_of_its_scan():
    gray = simulate("benign", 3, SIDE).image
    frame = np.roll(gray, 3, axis=1)
    assert len(candidates([gray] * 12 + [frame] * 12)) == 24 * 23 / 2


def test_a_set_of_nothing_but_noisy_copies_is_one_group_and_one_image_is_none(monkeypatch):
    monkeypatch.setattr(search, "CELL", 2)
    gray = simulate("benign", 3, SIDE).image
    noisy = [np.clip(gray + np.random.default_rng(i).normal(0, 8, gray.shape), 0, 255) for i in range(100)]
    scans, pairs = grouped([gray, *noisy])
    assert {r.duplicate_group for r in scans} == {scans[0].split_group} != {None}
    assert len(pairs) > 100
    scans, pairs = grouped([gray])
    assert scans[0].split_group is None and pairs.shape == (0, 2)


def test_pairs_are_the_same_however_many_images_are_looked_up_at_a_time(monkeypatch):
    grays = [simulate("benign", seed // 2, SIDE).image for seed in range(40)]
    _, pairs = grouped(grays)
    assert {(i, i + 1) for i in range(0, 40, 2)} <= {tuple(p) for p in pairs}
    monkeypatch.setattr(groups, "BLOCK", 8)
    monkeypatch.setattr(groups, "PAIRS", 8)
    assert np.array_equal(grouped(grays)[1], pairs)


def test_auditing_again_takes_back_tags_that_no_longer_apply(records):
    again = [Record(r.path, r.label, tags=[*r.tags, "duplicate", "label_conflict"], split_group="old") for r in records]
    for _ in audit_records(again, [Look.at(open_image(r.path)) for r in again], Audit()):
        pass
    assert not any({"duplicate", "label_conflict"} & set(r.tags) or r.split_group for r in again)
    assert all(r.annotation_score is not None for r in again)


def test_auditing_split_records_says_what_leaks(records, tmp_path):
    Image.open(records[0].path).resize((80, 80)).save(tmp_path / "copy.png")
    copy = Record(str(tmp_path / "copy.png"), records[0].label, tags=["train"])
    events = list(job("audit").run({}, [*records, copy], "trial", tmp_path / "home"))
    assert next(e.message for e in events if isinstance(e, Notice)).startswith("1 held-out images have a copy")


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


def load_real(home, **values):
    """Records of the BUSI folder that the environment names, and the load's result."""
    values = dict(source=os.environ["BUSI"], dataset_name="trial", run_key="load") | values
    result = list(job("load_busi").run(values, [], "trial", home))[-1].result
    return Run(Path(result["folder"])).products, result


@pytest.mark.busi
def test_real_busi_is_audited_and_split_without_leaks(tmp_path):
    records, result = load_real(tmp_path, folds=5)
    assert result["counts"] == {"benign": 437, "malignant": 210, "normal": 133}
    assert result["splits"]["train"] == {"benign": 349, "malignant": 168, "normal": 106}
    assert result["splits"]["val"] == {"benign": 88, "malignant": 42, "normal": 27}
    assert sum(len(r.lesions) for r in records) == 665
    audit = result["audit"]
    assert audit["published"]["found"] >= 0.97 * audit["published"]["listed"]
    assert 40 <= audit["published"]["added"] <= 60
    assert is_busi(records)
    parts: dict[str, set[str]] = {}
    for r in records:
        if r.split_group:
            fold = next((t for t in r.tags if t.startswith("fold_")), "none")
            parts.setdefault(r.split_group, set()).add(f"{r.tags[0]}, {fold}")
    assert all(len({p.split(", ")[part] for p in found}) == 1 for found in parts.values() for part in (0, 1))
    conflicts = {Path(r.path).stem for r in records if "label_conflict" in r.tags}
    assert {"benign (433)", "malignant (145)", "benign (435)"} <= conflicts
    assert all("train" in r.tags for r in records if "label_conflict" in r.tags)
    in_folds = [r for r in records if any(t.startswith("fold_") for t in r.tags)]
    assert len(in_folds) == 780 - len(conflicts)
    assert sum(r.tags.count("axilla") for r in records) == 27


@pytest.mark.busi
def test_the_split_of_meddap_fills_exactly_with_groups_kept_together(tmp_path):
    records, result = load_real(tmp_path, split="545/115/120")
    assert [sum(result["splits"][s].values()) for s in ("train", "val", "test")] == [545, 115, 120]
    split_of: dict[str, set[str]] = {}
    for r in records:
        split_of.setdefault(r.split_group or r.path, set()).add(r.tags[0])
    assert all(len(s) == 1 for s in split_of.values())


@pytest.mark.busi
def test_the_awkward_cases_of_real_busi(tmp_path):
    """Also passes on a folder that holds these cases alone."""
    records, _ = load_real(tmp_path, on_error="skip")
    of = {Path(r.path).stem: r for r in records}
    found = {name: len(of[name].lesions) for name in ("benign (195)", "benign (4)", "benign (100)", "malignant (53)")}
    assert found == {"benign (195)": 3, "benign (4)": 2, "benign (100)": 2, "malignant (53)": 2}
    assert all("annotated" in of[name].tags for name in ("benign (102)", "malignant (65)", "normal (113)"))
    assert all("label_conflict" in of[name].tags for name in ("benign (433)", "malignant (145)"))
    assert of["benign (433)"].duplicate_group == of["malignant (145)"].duplicate_group is not None
    assert not of["normal (113)"].lesions
