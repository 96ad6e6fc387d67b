"""Groups of copies and of frames of one scan."""

import numpy as np

from busaug_core.data.audit import groups
from busaug_core.data.audit import perceptual_hash as search
from busaug_core.data.audit.descriptors import Descriptors
from busaug_core.data.audit.perceptual_hash import perceptual_hash
from busaug_core.data.audit.similarity import SIDE, likeness, locally_normalised
from busaug_core.data.config import COPY, SCAN
from busaug_core.jobs.events import Notice, drain
from busaug_core.records import Record, Source
from busaug_core.simulate import simulate


def grouped(grays):
    """Records of pictures with their groups, and the pairs of one scan."""
    records = [Record(f"/{i}.png", "benign") for i in range(len(grays))]
    work = groups.find_groups(
        records, [Descriptors(locally_normalised(g), perceptual_hash(g), 0.0) for g in grays], COPY, SCAN
    )
    return records, drain(work)


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


def of_sources(grays, sources, labels=("benign",) * 4):
    """Records of pictures, each of a set, a patient and a subject, with their groups, and what was remarked."""
    records = [
        Record(f"/{i}.png", labels[i], source=Source(set=set_, patient=patient, subject=subject))
        for i, (set_, patient, subject) in enumerate(sources)
    ]
    descriptors = [Descriptors(locally_normalised(g), perceptual_hash(g), 0.0) for g in grays]
    return records, [e.message for e in groups.find_groups(records, descriptors, COPY, SCAN) if isinstance(e, Notice)]


def of_patients(grays, patients, **labels):
    """The same for patients of one set; None where a patient is not known."""
    return of_sources(grays, [("s", patient, patient) for patient in patients], **labels)


def frame(seed, noise, shift=0):
    """A frame of the scan of a seed: shifted, and noisier than a copy would be."""
    gray = np.roll(simulate("benign", seed, SIDE).image, shift, axis=1)
    return np.clip(gray + np.random.default_rng(seed + noise).normal(0, noise, gray.shape), 0, 255)


def alike(one, other):
    return float(likeness(np.stack([locally_normalised(one), locally_normalised(other)]), np.array([[0, 1]]))[0])


def test_frames_of_patients_that_a_set_tells_apart_are_not_joined_and_make_no_conflict():
    one, other = frame(3, 0), frame(3, 28)
    assert SCAN < alike(one, other) < COPY
    records, remarks = of_patients([one, other], ["1", "2"], labels=("benign", "malignant"))
    assert [r.split_group for r in records] == [None, None]
    assert not any("label_conflict" in r.tags for r in records)
    assert remarks and remarks[0].startswith("1 pair of images looks like frames of one scan")
    records, remarks = of_patients([one, other], ["1", "1"], labels=("benign", "malignant"))
    assert records[0].split_group == records[1].split_group is not None and not remarks
    assert all("label_conflict" in r.tags for r in records)
    records, remarks = of_patients([one, other], ["1", None])
    assert records[0].split_group == records[1].split_group is not None and not remarks


def test_a_copy_joins_two_patients_and_all_of_their_images():
    one, near = frame(3, 0), frame(3, 2)
    assert alike(one, near) >= COPY
    records, remarks = of_patients([one, near, frame(5, 0)], ["1", "2", "2"])
    assert records[0].duplicate_group == records[1].duplicate_group is not None
    assert len({r.split_group for r in records}) == 1 and not remarks


def test_an_image_of_an_unknown_patient_does_not_join_two_but_goes_to_whom_it_resembles_most():
    near, between, far = frame(3, 24), frame(3, 0), frame(3, 30)
    assert COPY > alike(near, between) > alike(between, far) > SCAN
    records, remarks = of_patients([near, between, far], ["1", None, "2"])
    assert records[0].split_group == records[1].split_group is not None
    assert records[2].split_group is None and remarks
    turned, _ = of_patients([far, between, near], ["2", None, "1"])
    assert turned[2].split_group == turned[1].split_group != turned[0].split_group


def test_two_images_of_one_subject_do_not_join_two_patients_of_another_set():
    pictures = [frame(3, 0), frame(3, 28), frame(5, 28), frame(5, 0)]
    records, remarks = of_sources(pictures, [("s", "1", "1"), ("t", None, "x"), ("t", None, "x"), ("s", "2", "2")])
    middle = records[1].split_group
    assert records[2].split_group == middle is not None
    assert sorted(r.split_group == middle for r in (records[0], records[3])) == [False, True] and remarks


def test_patients_of_two_sets_are_joined_where_their_images_are_alike():
    records, remarks = of_sources([frame(3, 0), frame(3, 28)], [("s", "1", "1"), ("t", "7", "7")])
    assert records[0].split_group == records[1].split_group is not None and not remarks
