"""Several datasets at once: what is learned from, and what none of them may hold out."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from generators import run_to_end
from PIL import Image

from busaug_core.__main__ import main
from busaug_core.data.elsewhere import find_held_out
from busaug_core.errors import UserError
from busaug_core.files import content_hash
from busaug_core.jobs.events import Finished, Notice, Progress
from busaug_core.jobs.lineage import seen_by
from busaug_core.jobs.roles import training_images, with_datasets
from busaug_core.jobs.run import Run
from busaug_core.records import Record
from busaug_core.registry import job
from busaug_core.simulate import simulate
from busaug_core.train import learned_images, training

SMALL = dict(steps=2, batch_size=1, resolution=64, precision="fp32", membership=False, datasets=["second"])


@pytest.fixture(scope="module")
def second(records, tmp_path_factory):
    """Another dataset: new scans of its own, and in five ways an image of the first."""
    folder = tmp_path_factory.mktemp("second")
    val = [r for r in records if "val" in r.tags]
    train = [r for r in records if "train" in r.tags]
    Image.open(val[0].path).resize((90, 90)).save(folder / "smaller.png")
    shutil.copy(val[1].path, folder / "copied.png")
    Image.open(train[0].path).resize((90, 90)).save(folder / "held_out.png")
    Image.open(train[1].path).resize((90, 90)).save(folder / "trains_twice.png")
    found = [Record(val[2].path, val[2].label, tags=["train"])]
    splits = {"smaller": "train", "copied": "train", "held_out": "test", "trains_twice": "train"}
    for n, split in enumerate(("train", "train", "val")):
        Image.fromarray(simulate("benign", 100 + n, 64).image).save(folder / f"new_{n}.png")
        splits[f"new_{n}"] = split
    found += [Record(str(folder / f"{name}.png"), "Benign", tags=[split]) for name, split in splits.items()]
    Image.fromarray(simulate("benign", 110, 64).image).save(folder / "rejected.png")
    rejected = Record(str(folder / "rejected.png"), "benign", tags=["train", "rejected"])
    made = Record(str(folder / "made.png"), "benign", origin="synthetic", variant="sd", tags=["train"])
    return [*found, rejected, made, Record(str(folder / "no_split.png"), "")]


@pytest.fixture(scope="module")
def both(records, second):
    return with_datasets(records, ["second"], "trial", lambda name: second)


def names(found):
    return sorted(Path(r.path).name for r in found)


def test_of_further_datasets_real_images_of_splits_are_taken_under_the_classes_of_the_first(records, both, second):
    others = [r for r in both if r.dataset == "second"]
    assert both[: len(records)] == records
    assert len(others) == len(second) - 3
    rejected = next(r for r in second if r.path.endswith("rejected.png"))
    assert rejected not in training_images([*records, rejected])
    assert {r.label for r in others} <= {"benign", "malignant", "normal"}
    with pytest.raises(UserError, match="datasets names 'trial', which the job works on already"):
        with_datasets(records, ["trial"], "trial", lambda name: second)


def test_training_images_that_another_dataset_holds_out_are_found_with_what_they_show(records, both):
    pairs, _ = run_to_end(find_held_out(both))
    val = [r.path for r in records if "val" in r.tags]
    (own,) = [(r, shown) for r, shown in pairs if r.dataset is None]
    assert own[0].path == next(r.path for r in records if "train" in r.tags)
    assert Path(own[1].path).name == "held_out.png"
    found = {r.path: shown.path for r, shown in pairs if r.dataset == "second"}
    assert {Path(path).name for path in found} == {"smaller.png", "copied.png", Path(val[2]).name}
    assert list(found.values()) == [val[2], val[0], val[1]]


def test_a_datasets_own_split_stays_as_it_is(records, tmp_path):
    train, val = (next(r for r in records if split in r.tags) for split in ("train", "val"))
    shutil.copy(val.path, tmp_path / "leak.png")
    leak = Record(str(tmp_path / "leak.png"), val.label, tags=["train"])
    assert run_to_end(find_held_out([train, val, leak]))[0] == []
    assert names(r for r, _ in run_to_end(find_held_out([train, val, replace(leak, dataset="b")]))[0]) == ["leak.png"]


def test_what_is_held_out_anywhere_is_neither_learned_from_nor_taken_for_it_also_after_a_stop(
    both, records, base, tmp_path, monkeypatch
):
    shown, encode = [], training.encode_images
    monkeypatch.setattr(
        training, "encode_images", lambda pipe, paths, *more: shown.extend(paths) or encode(pipe, paths, *more)
    )
    values = dict(base_model=base, run_key="lora", balance="oversample", **SMALL)
    events = job("train_lora").run(values, both, "trial", tmp_path)
    told = []
    for event in events:
        told += [event.message] if isinstance(event, Notice) else []
        if isinstance(event, Progress) and "loss" in event.values:
            break
    events.close()
    run = Run(tmp_path / "trial/runs/lora")
    assert run.state == "stopped"
    monkeypatch.setattr(learned_images, "find_held_out", None)  # it is known already
    *_, last = job("train_lora").run(values, both, "trial", tmp_path)
    assert isinstance(last, Finished)
    rows = last.result["left_out"]
    assert {(Path(row["shows"]).name, row["held_out_by"]) for row in rows if row["dataset"] == "trial"} == {
        ("held_out.png", "second")
    }
    left_out = {row["path"] for row in rows}
    assert len(left_out) == 4
    (remark,) = last.result["remarks"]
    assert remark in told and all(path in remark for path in left_out)
    learned = [r for r in training_images(both) if r.path not in left_out]
    assert last.result["images"] == {"benign": 6, "malignant": 3, "normal": 2}
    assert sorted(shown) == sorted(2 * [r.path for r in learned])
    assert run.environment["trained_on"] == sorted(content_hash(r.path) for r in learned)
    assert seen_by(run, [r for r in both if "train" not in r.tags]) == []
    assert seen_by(run, learned) == learned


def test_a_dataset_that_lends_no_image_is_refused(records, both, base, run_job, tmp_path):
    with pytest.raises(UserError, match="Of the dataset 'second' no image can be learned from"):
        run_job("train_lora", records, base_model=base, run_key="refused", **SMALL)
    assert not (tmp_path / "trial/runs/refused").exists()
    copies = [r for r in both if r.dataset is None or Path(r.path).name in ("smaller.png", "copied.png")]
    with pytest.raises(UserError, match="each of these shows what another dataset holds out"):
        run_job("train_lora", copies, base_model=base, **SMALL)
    with pytest.raises(UserError, match="named twice"):
        run_job("train_lora", both, base_model=base, **{**SMALL, "datasets": ["second", "second"]})


def test_the_command_line_takes_what_was_loaded_last(busi, base, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BUSAUG_HOME", str(tmp_path))
    load = ["load_busi", "--source", str(busi), "--split", "50-50", "--dataset_name"]
    assert main([*load, "a"]) == main(["load_busi", "--images", "12", "--image_size", "64", "--dataset_name", "b"]) == 0
    train = ["train_lora", "--dataset", "a", "--base_model", base, "--steps", "1", "--batch_size", "1"]
    train += ["--resolution", "64", "--membership", "false", "--json"]
    capsys.readouterr()
    assert main([*train, "--datasets", "b"]) == 0
    result = json.loads(capsys.readouterr().out)
    members = Run(Path(result["folder"])).records
    assert {r.dataset for r in members} == {None, "b"}
    assert sum(result["images"].values()) == sum("train" in r.tags for r in members)
    assert main([*train, "--datasets", "c"]) == 2
    assert "No images were loaded as a dataset 'c'; loaded here were a, b." in capsys.readouterr().err
