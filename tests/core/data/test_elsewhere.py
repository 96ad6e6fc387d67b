"""Copies of one set in another, found across datasets by their names."""

from pathlib import Path

import pytest
from PIL import Image
from set_folders import made, notices, write_scan

from busaug_core.errors import UserError
from busaug_core.registry import job


def load_as(folder, home, name, **values):
    values = dict(layout="folder", source=str(folder), dataset_name=name) | values
    return list(job("load_external").run(values, [], name, home))


def test_images_that_another_dataset_shows_are_named(tmp_path):
    home = tmp_path / "home"
    for n in range(4):
        write_scan(tmp_path / f"first/benign/{n}.png", None, n)
        write_scan(tmp_path / f"second/benign/{n}.png", None, n + 20)
    Image.open(tmp_path / "first/benign/2.png").resize((90, 90)).save(tmp_path / "second/benign/copy.png")
    load_as(tmp_path / "first", home, "first set")
    events = load_as(tmp_path / "second", home, "second", compare_with=["first set"], split="60-40")
    records = made(events)
    assert {Path(r.path).stem: r.source.also_in for r in records if r.source.also_in} == {"copy": "first set"}
    assert events[-1].result["also_in"] == {"first set": 1}
    assert "1 image shows a scan that is in 'first set' too, such as" in notices(events)
    assert not any({"duplicate", "label_conflict"} & set(r.tags) or r.split_group for r in records)


def test_a_dataset_that_was_not_loaded_here_and_one_that_moved_are_refused(tmp_path):
    home = tmp_path / "home"
    for n in range(2):
        write_scan(tmp_path / f"first/benign/{n}.png", None, n)
        write_scan(tmp_path / f"second/benign/{n}.png", None, n + 20)
    load_as(tmp_path / "first", home, "first")
    with pytest.raises(UserError, match="No images were loaded as a dataset 'third'; loaded here were first"):
        load_as(tmp_path / "second", home, "second", compare_with=["third"])
    (tmp_path / "first").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="'first' has lost 2 of 2 images since"):
        load_as(tmp_path / "second", home, "second", compare_with=["first"])
