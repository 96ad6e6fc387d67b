"""What a finished run has made and lost is made again; images that moved, or are missing, are told apart."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from busaug_core.errors import UserError
from busaug_core.jobs.config import JobConfig, OnSamples
from busaug_core.jobs.events import Finished, Notice, Progress
from busaug_core.jobs.execute import Job
from busaug_core.jobs.lineage import seen_by
from busaug_core.jobs.roles import of_split
from busaug_core.jobs.run import Run
from busaug_core.records import Record
from busaug_core.registry import job


class Draw(JobConfig):
    """Draws images."""

    n: int = 3


def draw(config, run):
    """Writes files that are not there, and two documents."""
    made = []
    for i in range(config.n):
        path = run.folder / "images" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text(f"image {i}")
        made.append(Record(str(path), "benign", origin="synthetic"))
        yield Progress(i + 1, config.n, "Drawing")
    (run.folder / "list.txt").write_text("all")
    run.write_products(made)
    return {"images": len(made)}


DRAW = Job("draw", Draw, draw, files=("list.txt", "products.jsonl"))


def called(root, records=(), **values):
    events = list(DRAW.run(dict(run_key="drawn", **values), list(records), "trial", root))
    return events, Run(root / "trial/runs/drawn")


@pytest.mark.parametrize("gone", ["images/1.png", "list.txt", "products.jsonl", "result.json"])
def test_a_finished_run_makes_again_what_is_gone(tmp_path, gone):
    _, run = called(tmp_path)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (run.folder / "images").iterdir()}
    (run.folder / gone).unlink()
    events, run = called(tmp_path)
    assert run.state == "done" and run.missing == []
    assert isinstance(events[-1], Finished) and events[-1].result["images"] == 3
    told = [e.message for e in events if isinstance(e, Notice)]
    assert not any("this is its result" in message for message in told)
    assert gone == "result.json" or (f"of its files 1 is gone since, the first {run.folder / gone}" in told[0])
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (run.folder / "images").iterdir()}
    assert {p: b for p, (b, _) in before.items()} == {p: b for p, (b, _) in after.items()}
    assert all(before[p] == after[p] for p in before if p.name != "1.png")


def test_a_finished_run_that_is_whole_is_not_done_again(tmp_path):
    called(tmp_path)
    events, _ = called(tmp_path)
    assert [type(e) for e in events] == [Notice, Finished]


def test_a_run_that_cannot_be_made_whole_stays_done(tmp_path, monkeypatch):
    _, run = called(tmp_path)
    (run.folder / "list.txt").unlink()
    shutil.rmtree(run.folder / "images")
    (run.folder / "images").write_text("in the way")
    with pytest.raises(FileExistsError):
        called(tmp_path)
    assert run.state == "done" and run.result["images"] == 3
    (run.folder / "images").unlink()
    called(tmp_path)
    assert run.missing == []


def test_a_run_of_an_earlier_version_is_judged_by_its_own_images(tmp_path):
    _, run = called(tmp_path)
    (run.folder / "state.json").write_text('{"state": "done", "error": null}')
    assert Run(run.folder).missing == []
    (run.folder / "images/2.png").unlink()
    assert Run(run.folder).missing == [run.folder / "images/2.png"]


def test_a_chain_lacks_what_its_runs_lack(tmp_path):
    class Config(JobConfig):
        """A chain."""

    def chain(config, run):
        yield Progress(1, 1, "Chaining")
        called(tmp_path)
        return {"runs": ["drawn"]}

    link = Job("chain", Config, chain, chain=True)
    list(link.run(dict(run_key="chained"), [], "trial", tmp_path))
    run = Run(tmp_path / "trial/runs/chained")
    assert run.missing == []
    drawn = Run(tmp_path / "trial/runs/drawn").folder
    (drawn / "images/0.png").unlink()
    assert run.missing == [drawn / "images/0.png"]
    list(link.run(dict(run_key="chained"), [], "trial", tmp_path))
    assert run.missing == []
    shutil.rmtree(drawn)
    assert run.missing == [drawn]


class Look(OnSamples):
    """Looks at images."""


def look(config, run):
    """Stops half-way."""
    for i, record in enumerate(run.records):
        Path(record.path).read_bytes()
        yield Progress(i + 1, len(run.records), "Looking")
    return {"paths": [r.path for r in run.records]}


LOOK = Job("look", Look, look)


def images(folder, n, **more):
    folder.mkdir(exist_ok=True)
    for i in range(n):
        (folder / f"{i}.png").write_text(f"image {i}")
    return [Record(str(folder / f"{i}.png"), "benign", tags=["train"], id=f"id{i}", **more) for i in range(n)]


def test_a_stopped_run_follows_files_that_have_moved(tmp_path):
    records = images(tmp_path / "one", 3)
    stream = LOOK.run(dict(run_key="looked"), records, "trial", tmp_path)
    next(stream)
    stream.close()
    shutil.move(tmp_path / "one", tmp_path / "other")
    moved = [Record(r.path.replace("/one/", "/other/"), r.label, tags=r.tags, id=r.id) for r in records]
    last = list(LOOK.run(dict(run_key="looked"), moved, "trial", tmp_path))[-1]
    assert last.result["paths"] == [r.path for r in moved]


def test_samples_of_one_file_are_counted_and_it_is_said_so(tmp_path):
    records = images(tmp_path / "one", 2)
    twice = [*records, Record(records[0].path, "benign", tags=["train"], id="again")]
    events = list(LOOK.run(dict(run_key="looked"), twice, "trial", tmp_path))
    (notice,) = [e.message for e in events if isinstance(e, Notice)]
    assert notice.startswith("The 3 samples show 2 files, since 1 is the file of several samples (the first ")
    assert not any(isinstance(e, Notice) for e in LOOK.run(dict(run_key="alone"), records, "trial", tmp_path))


def test_two_samples_of_one_file_that_lie_in_two_splits_are_refused(tmp_path):
    records = images(tmp_path / "one", 2)
    twin = Record(records[0].path, "benign", tags=["val"], id="again")
    with pytest.raises(UserError, match="1 image is in more than one split, the first .*0.png .train and val"):
        of_split([*records, twin], "train")
    with pytest.raises(UserError, match="more than one split"):
        of_split([*records, twin], "val")
    assert len(of_split([*records, Record(records[0].path, "benign", tags=["train"])], "train")) == 3


def test_samples_of_one_file_in_two_splits_are_not_taken_to_have_moved(tmp_path):
    records = images(tmp_path / "one", 2)
    twin = Record(records[0].path, "benign", tags=["val"], id="again")
    for _ in range(2):
        last = list(LOOK.run(dict(run_key="looked"), [*records, twin], "trial", tmp_path))[-1]
    assert isinstance(last, Finished)
    twin.tags = ["train"]
    with pytest.raises(UserError, match="1 image lies in another split now than in run 'looked'"):
        list(LOOK.run(dict(run_key="looked"), [*records, twin], "trial", tmp_path))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("train_classifier", dict(arch="squeezenet1_1", epochs=1, resolution=32)),
        ("train_lora", dict(steps=1, membership=False)),
        ("train_textual_inversion", dict(steps=1, membership=False)),
    ],
)
def test_the_images_that_a_model_learned_from_are_known_after_they_moved(
    run_job, records, base, tmp_path, name, values
):
    folder = tmp_path / "before"
    folder.mkdir()
    here = [
        Record(str(shutil.copy(r.path, folder / f"{i}.png")), r.label, tags=[r.splits[0]])
        for i, r in enumerate(records)
    ]
    more = {} if name == "train_classifier" else dict(base_model=base, resolution=64, batch_size=2)
    result = run_job(name, here, run_key="trained", **values, **more)
    folder.rename(tmp_path / "after")
    there = [Record(r.path.replace("/before/", "/after/"), r.label, tags=["val"]) for r in here]
    trained = {r.path.replace("/before/", "/after/") for r in here if "train" in r.tags}
    assert {r.path for r in seen_by(Run(Path(result["folder"])), there)} == trained


@pytest.mark.parametrize("name", ["train_classifier", "train_lora", "audit"])
def test_a_missing_image_is_named_before_the_work(run_job, records, base, tmp_path, name):
    gone = str(tmp_path / "gone.png")
    values = dict(base_model=base, resolution=64, steps=1) if name == "train_lora" else {}
    with pytest.raises(UserError, match=rf"1 of \d+ image files is missing, the first {gone}; put back what is gone"):
        run_job(name, [*records, Record(gone, "benign", tags=["train"])], run_key="gone", **values)
    assert not (tmp_path / "trial/runs/gone").exists()


def test_vanished_weights_are_trained_again_to_the_same(run_job, records, tmp_path):
    first = run_job("train_classifier", records, run_key="clf", arch="squeezenet1_1", epochs=1, resolution=32)
    logits = np.loadtxt([line.split('"logits": [')[1].split("]")[0] for line in _lines(first)], delimiter=",")
    Path(first["weights"]).unlink()
    again = run_job("train_classifier", records, run_key="clf", arch="squeezenet1_1", epochs=1, resolution=32)
    assert Path(again["weights"]).exists() and again["metrics"] == first["metrics"]
    assert np.array_equal(
        np.loadtxt([line.split('"logits": [')[1].split("]")[0] for line in _lines(again)], delimiter=","), logits
    )


def _lines(result):
    return (Path(result["folder"]) / "predictions.jsonl").read_text().splitlines()


def test_a_dataset_name_too_long_for_a_folder_is_refused(records, tmp_path):
    with pytest.raises(UserError, match="name is too long"):
        list(job("audit").run({}, records, "x" * 300, tmp_path))
