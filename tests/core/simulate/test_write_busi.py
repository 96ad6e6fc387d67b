"""Simulated scans as a folder in BUSI's layout."""

import numpy as np
import pytest
from PIL import Image

from busaug_core.errors import UserError
from busaug_core.simulate import write_busi


def read(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_write_busi_writes_busis_layout(tmp_path):
    seen = list(write_busi(tmp_path, {"benign": 2, "normal": 1}, seed=1, size=64))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert sorted(read(tmp_path)) == [
        "benign/benign (1).png",
        "benign/benign (1)_mask.png",
        "benign/benign (2).png",
        "benign/benign (2)_mask.png",
        "normal/normal (1).png",
        "normal/normal (1)_mask.png",
    ]
    mask = np.asarray(Image.open(tmp_path / "benign/benign (1)_mask.png"))
    assert set(np.unique(mask)) == {0, 255}
    assert not np.asarray(Image.open(tmp_path / "normal/normal (1)_mask.png")).any()


def test_workers_counts_and_resuming_do_not_change_the_bytes(tmp_path):
    counts = {"malignant": 3, "normal": 2}
    alone, many, resumed = (tmp_path / name for name in ("alone", "many", "resumed"))
    list(write_busi(alone, counts, seed=9, size=64))
    assert list(write_busi(many, counts, seed=9, size=64, workers=2))[-1] == (5, 5)
    for done, _ in write_busi(resumed, counts, seed=9, size=64):
        if done == 2:
            break
    (resumed / "malignant/malignant (1)_mask.png").unlink()
    list(write_busi(resumed, counts, seed=9, size=64))
    assert read(alone) == read(many) == read(resumed)


def test_complete_images_are_kept(tmp_path):
    list(write_busi(tmp_path, {"benign": 1}, size=64))
    path = tmp_path / "benign/benign (1).png"
    path.write_bytes(b"kept")
    assert list(write_busi(tmp_path, {"benign": 1}, size=64)) == [(1, 1)]
    assert path.read_bytes() == b"kept"


def test_another_seed_or_number_gives_another_image(tmp_path):
    list(write_busi(tmp_path / "a", {"benign": 2}, seed=0, size=64))
    list(write_busi(tmp_path / "b", {"benign": 1}, seed=1, size=64))
    first = (tmp_path / "a/benign/benign (1).png").read_bytes()
    assert first != (tmp_path / "a/benign/benign (2).png").read_bytes()
    assert first != (tmp_path / "b/benign/benign (1).png").read_bytes()


@pytest.mark.parametrize("wrong", [{"counts": {"cyst": 1}}, {"counts": {"benign": -1}}, {"workers": 0}])
def test_write_busi_refuses_wrong_arguments_before_writing(tmp_path, wrong):
    with pytest.raises(UserError, match="expected"):
        next(write_busi(**{"folder": tmp_path / "new", "counts": {"benign": 1}, **wrong}))
    assert not (tmp_path / "new").exists()
