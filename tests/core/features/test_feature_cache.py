"""Features: blind to the batch, computed once, kept, and shared by processes."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generators import run_to_end
from PIL import Image
from safetensors.numpy import save_file

from busaug_core.classify.features import ClassifierFeatures
from busaug_core.classify.model import Classifier
from busaug_core.features import cache as features_module
from busaug_core.features.augmentation import seeded_trivial_augment
from busaug_core.features.cache import FeatureCache, Seen, extract
from busaug_core.features.extractors import make_extractor
from busaug_core.images import load_gray
from busaug_core.jobs import cache as row_cache
from busaug_core.jobs.events import Progress
from busaug_core.records import Record, write_records

CPU = torch.device("cpu")


@pytest.fixture
def extractor(run):
    """A classifier with random weights, as a finished run would have left it."""
    folder = run.sibling("clf").folder
    folder.mkdir()
    torch.manual_seed(0)
    Classifier("resnet18", ["benign", "malignant"], 32).eval().save(folder)
    write_records(folder / "inputs.jsonl", [])
    return ClassifierFeatures(run.sibling("clf"), CPU)


def test_features_are_blind_to_batch_size_and_order(records, extractor, run, transformers_folder):
    tiny = make_extractor(f"dinov2:{transformers_folder}/dinov2-tiny", run, CPU)
    for chosen in (extractor, tiny):
        images = [chosen.load(r.path) for r in records]
        one_by_one = np.concatenate([chosen([image]) for image in images])
        assert np.allclose(chosen(images), one_by_one, atol=1e-4)
        assert np.allclose(chosen(images[::-1]), one_by_one[::-1], atol=1e-4)


def test_features_are_computed_once_and_come_in_the_records_order(records, extractor, run, monkeypatch):
    found, events = run_to_end(extract([*records, records[0]], extractor, run, 4))
    first, hashes = found.matrix, found.hashes
    assert first.shape == (len(records) + 1, 512) and first.dtype == np.float32
    assert events[-1] == Progress(len(records), len(records), "Computing features")
    assert hashes[0] == hashes[-1] and np.array_equal(first[0], first[-1])
    expected = extractor([extractor.load(r.path) for r in records])
    assert np.allclose(first[:-1], expected, atol=1e-4)
    monkeypatch.setattr(ClassifierFeatures, "load", lambda *_: pytest.fail("computed a second time"))
    again, events = run_to_end(extract(records[::-1], extractor, run, 4))
    assert np.array_equal(again.matrix, first[-2::-1]) and events == []
    assert np.array_equal(again.of(records[3:5]), first[3:5])


def test_mirrored_features_are_those_of_the_mirrored_image(records, extractor, run):
    plain, _ = run_to_end(extract(records, extractor, run, 4))
    mirrored, _ = run_to_end(extract(records, extractor, run, 4, Seen(mirrored=True)))
    expected = extractor([extractor.load(r.path)[:, ::-1] for r in records])
    assert mirrored.hashes == plain.hashes and np.allclose(mirrored.matrix, expected, atol=1e-4)
    assert np.abs(mirrored.matrix - plain.matrix).max() > 0.01


def test_drawn_changes_are_those_of_seed_and_pixels_whatever_the_order_and_batch(records, extractor, run):
    seen = Seen(mirrored=True, trivial=(51, 0))
    state = torch.get_rng_state()
    drawn, _ = run_to_end(extract(records, extractor, run, 4, seen))
    assert torch.equal(torch.get_rng_state(), state)
    shutil.rmtree(FeatureCache(run, extractor, seen).folder)
    torch.manual_seed(9)
    again, _ = run_to_end(extract(records[::-1], extractor, run, 3, seen))
    assert np.allclose(again.of(records), drawn.matrix, atol=1e-4)
    for other in (
        Seen(mirrored=True),
        Seen(trivial=(51, 0)),
        replace(seen, trivial=(51, 1)),
        replace(seen, trivial=(5, 0)),
    ):
        found, _ = run_to_end(extract(records, extractor, run, 4, other))
        assert np.abs(found.matrix - drawn.matrix).max() > 0.01


def test_a_change_keeps_size_and_channels_and_its_image_as_it_was():
    rng = np.random.default_rng(0)
    for shape in ((40, 30), (40, 30, 3)):
        image = rng.integers(0, 256, shape, np.uint8)
        before = image.copy()
        changed = [seeded_trivial_augment(image, (0, i)) for i in range(20)]
        assert all(c.shape == shape and c.dtype == np.uint8 for c in changed) and np.array_equal(image, before)
        assert len({c.tobytes() for c in changed}) > 5


def test_features_of_reduced_images_are_those_of_the_reduced_files(records, extractor, run, tmp_path):
    plain, _ = run_to_end(extract(records, extractor, run, 4))
    reduced, _ = run_to_end(extract(records, extractor, run, 4, Seen(side=16)))
    for i, record in enumerate(records):
        Image.fromarray(load_gray(record.path, 16)).save(tmp_path / f"{i}.png")
    expected = extractor([extractor.load(str(tmp_path / f"{i}.png")) for i in range(len(records))])
    assert reduced.hashes == plain.hashes and np.allclose(reduced.matrix, expected, atol=1e-4)
    assert np.abs(reduced.matrix - plain.matrix).max() > 0.01


def test_what_a_stopped_run_computed_is_kept(records, extractor, run):
    work = extract(records, extractor, run, 2)
    for _ in range(3):
        next(work)
    work.close()
    _, events = run_to_end(extract(records, extractor, run, 2))
    assert events[0].total == len(records) - 6


def test_saving_adds_files_and_rewrites_none(records, extractor, run, monkeypatch):
    monkeypatch.setattr(row_cache, "FILE_BYTES", 5 * 512 * 4)
    run_to_end(extract(records[:10], extractor, run, 1))
    folder = FeatureCache(run, extractor).folder
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(before) == 2
    run_to_end(extract(records, extractor, run, 1))
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(after) == 3 and before.items() <= after.items()


def test_each_preprocessing_and_each_weights_have_a_cache_of_their_own(run, extractor):
    class Other(ClassifierFeatures):
        preprocessing = "another"

    other = Other(run.sibling("clf"), CPU)
    assert other.weights == extractor.weights
    assert FeatureCache(run, other).folder != FeatureCache(run, extractor).folder
    extractor.weights = "0" * 64
    assert FeatureCache(run, ClassifierFeatures(run.sibling("clf"), CPU)).folder != FeatureCache(run, extractor).folder


def test_what_damaged_files_of_the_cache_held_is_computed_again(records, extractor, run):
    first, _ = run_to_end(extract(records[:2], extractor, run, 2))
    for spoil in (lambda data: data[:50], lambda data: data[:-4] + b"\0\0\0\0", lambda data: b"", lambda data: None):
        for path in FeatureCache(run, extractor).folder.iterdir():
            if (content := spoil(path.read_bytes())) is None:
                save_file({"something": np.zeros(3)}, path)
            else:
                path.write_bytes(content)
        again, events = run_to_end(extract(records[:2], extractor, run, 2))
        assert np.array_equal(again.matrix, first.matrix) and events[-1].total == 2


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_an_image_of_the_size_that_it_is_to_be_seen_in_is_looked_at_once(records, run, tmp_path, monkeypatch, mode):
    lite0 = make_extractor("efficientnet_lite0", run, CPU)
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(tmp_path / "small.png")
    small = Record(str(tmp_path / "small.png"), "benign")
    reduced = lite0([lite0.load(small.path, 48)])
    assert np.array_equal(reduced, lite0([lite0.load(small.path)]))
    mixed, _ = run_to_end(extract([records[0], small, records[1]], lite0, run, 4, Seen(side=48)))
    assert np.allclose(mixed.of([small]), reduced, atol=1e-4)
    assert np.allclose(mixed.of(records[:2]), lite0([lite0.load(r.path, 48) for r in records[:2]]), atol=1e-4)
    assert [r.path for r in mixed.records] == [records[0].path, small.path, records[1].path]
    monkeypatch.setattr(type(lite0), "load", lambda *_: pytest.fail("computed a second time"))
    run_to_end(extract([small], lite0, run, 4))


def test_no_image_is_enlarged_to_the_size_that_larger_ones_are_reduced_to(records, run, tmp_path):
    lite0 = make_extractor("efficientnet_lite0", run, CPU)
    Image.fromarray(load_gray(records[0].path, 20)).crop((0, 0, 20, 12)).save(tmp_path / "small.png")
    small = Record(str(tmp_path / "small.png"), "benign")
    found, _ = run_to_end(extract([small], lite0, run, 4, Seen(side=48)))
    assert np.array_equal(found.matrix, lite0([lite0.load(small.path)]))


SHARED = """
import json, sys
from pathlib import Path
import numpy as np
from accelerate import PartialState
from busaug_core.records import read_records
from busaug_core.jobs.run import Run
from busaug_core.classify.features import ClassifierFeatures
from busaug_core.features.cache import Seen, extract

processes, run = PartialState(cpu=True), Run(Path(sys.argv[1]))
extractor, events = ClassifierFeatures(run.sibling("clf"), processes.device), []
work = extract(read_records(sys.argv[2]), extractor, run, 2, eval(sys.argv[3]))
while True:
    try:
        events.append(next(work))
    except StopIteration as end:
        features = end.value
        break
if run.is_main:
    np.save(run.folder / "shared.npy", features.matrix)
    (run.folder / "hashes.json").write_text(json.dumps(features.hashes))
rows = sum(event.done == event.total and event.total for event in events)
(run.folder / f"rows{processes.process_index}").write_text(f"{rows} {features is not None}")
"""


@pytest.mark.parametrize("seen", [Seen(), Seen(side=48, trivial=(51, 0))])
def test_two_processes_give_the_features_of_one(records, extractor, run, tmp_path, seen):
    Image.fromarray(load_gray(records[0].path, 48)).save(tmp_path / "small.png")
    records = [*records[:4], Record(str(tmp_path / "small.png"), "benign"), *records[4:]]
    script = tmp_path / "shared.py"
    script.write_text(SHARED)
    write_records(tmp_path / "inputs.jsonl", records)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]  # as accelerate launch does
    command = [sys.executable, *launch, str(script), str(run.folder), str(tmp_path / "inputs.jsonl"), repr(seen)]
    root = Path(features_module.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [(run.folder / f"rows{i}").read_text() for i in range(2)]
    assert rows in ([f"{n} True", f"{len(records) - n} False"] for n in (8, 9))
    shared = np.load(run.folder / "shared.npy")
    for path in (run.folder.parents[1] / "features").rglob("*.safetensors"):
        path.unlink()
    alone, _ = run_to_end(extract(records, extractor, run, 2, seen))
    assert np.allclose(shared, alone.matrix, atol=1e-5)
    assert json.loads((run.folder / "hashes.json").read_text()) == alone.hashes
