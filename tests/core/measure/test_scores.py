"""Scores of single synthetic images, and filtering by them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from busaug_core.errors import UserError
from busaug_core.jobs.run import Run
from busaug_core.measure.config import NEAR_COPY, FilterSynthetic
from busaug_core.measure.scores import realism, typical_distance
from busaug_core.measure.thresholds import count, misses
from busaug_core.metrics.fid import frechet_distance
from busaug_core.metrics.influence import fid_influence_of_new
from busaug_core.records import Record, of_split
from busaug_core.registry import job
from busaug_core.simulate import simulate

SCORE = dict(classifier="clf", extractor="clf", run_key="scores")


@pytest.fixture(scope="module")
def home(records, tmp_path_factory):
    """A home with a classifier's run."""
    folder = tmp_path_factory.mktemp("home")
    values = dict(epochs=2, resolution=64, batch_size=4, run_key="clf")
    for _ in job("train_classifier").run(values, records, "trial", folder):
        pass
    return folder


@pytest.fixture(scope="module")
def copies(records, tmp_path_factory):
    """A training image, changed in the four ways of copying."""
    original = Image.open(of_split(records, "train")[0].path)
    folder = tmp_path_factory.mktemp("copies")
    changed = {
        "resized": original.resize((150, 150)).resize((64, 64)),
        "cropped": original.crop((2, 2, 62, 62)).resize((64, 64)),
        "flipped": original.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    }
    for name, image in changed.items():
        image.save(folder / f"{name}.png")
    original.convert("L").save(folder / "recompressed.jpg", quality=70)
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def synthetic(records, tmp_path_factory):
    """An evaluation set in the validation split's class counts and a balancing set of two."""
    folder = tmp_path_factory.mktemp("synthetic")
    made = []
    for i, label in enumerate([*(r.label for r in of_split(records, "val")), "benign", "normal"]):
        path = folder / f"{i}.png"
        Image.fromarray(simulate(label, 800 + i, 64).image).save(path)
        tags = ["synthetic", "sd"] + (["evaluation"] if i < 6 else [])
        made.append(Record(str(path), label, "synthetic", "sd", tags, pair=f"pair-{i}"))
    return made


def score(records, home, **values):
    result = list(job("score_synthetic").run(SCORE | values, records, "trial", home))[-1].result
    lines = (Path(result["folder"]) / "scores.jsonl").read_text().splitlines()
    return {Path(row["path"]).stem: row for row in map(json.loads, lines)}, result


def test_every_synthetic_image_has_every_score(records, synthetic, home):
    scores, result = score(records + synthetic, home)
    assert len(scores) == result["n"] == 8
    for row in scores.values():
        assert 0 <= row["class_probability"] <= 1
        assert row["nearest_real_distance"] > 0
        assert row["nearest_real_path"] in {r.path for r in of_split(records, "train")}
        assert row["copy_ratio"] > 0
        assert row["realism"] > 0
        assert 0 < row["likeness"] < NEAR_COPY
        assert row["likest_real_path"] in {r.path for r in of_split(records, "train")}
        assert isinstance(row["fid_influence"], float)
    assert (Path(result["folder"]) / "nearest.png").exists()


@pytest.mark.parametrize("change", ["resized", "cropped", "flipped", "recompressed"])
def test_a_copy_of_a_training_image_ranks_first_by_its_copy_ratio(records, synthetic, home, copies, change):
    smuggled = Record(str(copies[change]), "benign", "synthetic", "sd", ["synthetic", "sd"], pair="copy")
    scores, _ = score([*records, *synthetic, smuggled], home, run_key=f"scores_{change}")
    assert min(scores, key=lambda name: scores[name]["copy_ratio"]) == change
    assert scores[change]["nearest_real_path"] == of_split(records, "train")[0].path
    assert scores[change]["likest_real_path"] == of_split(records, "train")[0].path
    assert scores[change]["likeness"] > NEAR_COPY


def test_an_identical_image_has_a_copy_ratio_of_zero(records, synthetic, home, tmp_path):
    Image.open(of_split(records, "train")[0].path).save(tmp_path / "same.png")
    smuggled = Record(str(tmp_path / "same.png"), "benign", "synthetic", "sd", ["synthetic", "sd"])
    scores, _ = score([*records, *synthetic, smuggled], home, run_key="scores_same")
    assert scores["same"]["copy_ratio"] == pytest.approx(0, abs=1e-3)


def test_the_typical_distance_leaves_out_images_of_one_group():
    real = np.array([[0.0], [0.1], [5.0], [9.0]])
    far = real + 1000
    assert typical_distance(real, far, [None] * 4) == pytest.approx(np.median([0.1, 0.1, 4.0, 4.0]))
    assert typical_distance(real, far, ["a", "a", None, None]) == pytest.approx(np.median([5.0, 4.9, 4.0, 4.0]))
    mirrored = np.array([[2.0], [3.1], [5.0], [9.0]])
    assert typical_distance(real, mirrored, [None] * 4) == pytest.approx(np.median([0.1, 0.1, 1.9, 4.0]))
    with pytest.raises(UserError, match="all of one group"):
        typical_distance(real, far, ["a"] * 4)


def test_realism_is_at_least_one_just_within_the_compact_balls():
    rng = np.random.default_rng(0)
    real, inside, outside = rng.normal(size=(60, 3)), np.zeros((1, 3)), np.full((1, 3), 20.0)
    assert realism(real, inside, 3)[0] > 1 > realism(real, outside, 3)[0]


@pytest.mark.parametrize(("n", "m", "width"), [(30, 20, 64), (20, 30, 64), (80, 90, 8)])
def test_the_influence_of_a_new_image_is_what_adding_it_does(n, m, width):
    rng = np.random.default_rng(1)
    real, own, new = rng.normal(size=(n, width)), rng.normal(0.3, 1.2, (m, width)), rng.normal(1, 1, (5, width))
    before = frechet_distance(real, own)
    expected = [frechet_distance(real, np.concatenate([own, row[None]])) - before for row in new]
    assert np.allclose(fid_influence_of_new(real, own, new), expected, rtol=1e-6, atol=1e-8)


def test_a_classifier_that_saw_synthetic_images_may_not_score(records, synthetic, home):
    balancing = [r for r in synthetic if "evaluation" not in r.tags]
    values = dict(epochs=1, resolution=32, batch_size=4, run_key="clf_sd", include=["sd"])
    list(job("train_classifier").run(values, records + balancing, "trial", home))
    with pytest.raises(UserError, match="was trained with synthetic images"):
        score(records + synthetic, home, classifier="clf_sd", run_key="scores_sd")


def with_scores(label="benign", variant="sd", **scores):
    return Record(f"{label}{scores}", label, "synthetic", variant, ["synthetic", variant], scores=scores)


@pytest.mark.parametrize(
    ("limits", "missed"),
    [
        ({}, []),
        ({"min_class_probability": 0.5}, [1]),
        ({"class_consistent": True}, [1]),
        ({"min_copy_ratio": 0.4}, [0]),
        ({"max_likeness": 0.5}, [1]),
        ({"min_realism": 1.0}, [0, 2]),
        ({"max_fid_influence": 0.0}, [1]),
        ({"min_copy_ratio": 0.4, "max_fid_influence": 0.0}, [0, 1]),
    ],
)
def test_each_threshold_rejects_what_misses_it(limits, missed):
    records = [
        with_scores(
            class_probability=0.9, class_consistent=True, copy_ratio=0.2, likeness=0.2, realism=0.8, fid_influence=-1.0
        ),
        with_scores(
            class_probability=0.2, class_consistent=False, copy_ratio=0.7, likeness=0.9, realism=1.2, fid_influence=2.0
        ),
        with_scores(class_probability=0.8, class_consistent=True, copy_ratio=0.9, likeness=0.3, realism=0.9),
    ]
    config = FilterSynthetic.parse(limits)
    assert [i for i, r in enumerate(records) if misses(r, config)] == missed
    assert count(records, config) == [
        {"variant": "sd", "class": "benign", "kept": 3 - len(missed), "rejected": len(missed)}
    ]


def test_filtering_tags_and_is_taken_back_without_thresholds(records, synthetic, home):
    scores, _ = score(records + synthetic, home)
    synthetic = [replace(r, tags=[*r.tags], scores=scores[Path(r.path).stem]) for r in synthetic]
    limit = float(np.median([s["copy_ratio"] for s in scores.values()]))
    values = dict(min_copy_ratio=limit, run_key="filter")
    result = list(job("filter_synthetic").run(values, records + synthetic, "trial", home))[-1].result
    products = Run(Path(result["folder"])).products
    rejected = [r for r in products if "rejected" in r.tags]
    assert len(products) == 8
    assert len(rejected) == sum(row["rejected"] for row in result["counts"]) == 4
    (row,) = result["rows"]
    assert row["note"] == f"{row['n']} images are too few to compare"
    back = list(job("filter_synthetic").run(dict(run_key="back"), records + products, "trial", home))[-1].result
    assert sum(row["rejected"] for row in back["counts"]) == 0


def test_the_distance_of_what_is_kept_stands_beside_that_of_all(records, synthetic, home, tmp_path, monkeypatch):
    from busaug_core.measure import filter as filtering

    monkeypatch.setattr(filtering, "LEAST", 3)
    made = []
    score(records + synthetic, home)
    for i, reference in enumerate(of_split(records, "val") * 2):
        spoilt = i >= 6
        picture = simulate(reference.label, 850 + i, 64).image
        noise = np.random.default_rng(i).normal(0, 100 if spoilt else 2, picture.shape)
        Image.fromarray(np.clip(picture + noise, 0, 255).astype(np.uint8)).save(tmp_path / f"{i}.png")
        scores = {"realism": 0.1 if spoilt else 1.1, "run": "scores", "extractor": "clf"}
        tags = ["synthetic", "sd", "evaluation"]
        made.append(Record(str(tmp_path / f"{i}.png"), reference.label, "synthetic", "sd", tags, scores=scores))
    values = dict(min_realism=1.0, run_key="filter_spoilt")
    (row,) = list(job("filter_synthetic").run(values, records + made, "trial", home))[-1].result["rows"]
    assert row["n"] == 6
    assert row["kept"] < row["all"]


def test_scores_and_what_they_filter_are_of_one_preprocessing(records, synthetic, home, inception_home, monkeypatch):
    from busaug_core.measure import filter as filtering

    monkeypatch.setattr(filtering, "LEAST", 3)
    monkeypatch.setenv("TORCH_HOME", str(inception_home))
    distances = {}
    for preprocessing in ("canonical", "legacy"):
        key = f"scores_{preprocessing}"
        values = dict(extractor="inception-64", preprocessing=preprocessing, run_key=key)
        scores, result = score(records + synthetic, home, **values)
        made = [replace(r, tags=[*r.tags], scores=scores[Path(r.path).stem]) for r in synthetic]
        values = dict(run_key=f"filter_{preprocessing}")
        filtered = list(job("filter_synthetic").run(values, records + made, "trial", home))[-1].result
        distances[preprocessing] = filtered["rows"][0]["kept"]
        assert result["extractor"] == {"canonical": "inception_64", "legacy": "inception_64_legacy"}[preprocessing]
    assert distances["canonical"] != pytest.approx(distances["legacy"], rel=1e-3)


def test_thresholds_without_scores_say_what_to_run(records, synthetic, home):
    unscored = [replace(r, scores=None) for r in synthetic]
    with pytest.raises(UserError, match="8 images lack scores.*score_synthetic"):
        list(job("filter_synthetic").run(dict(min_realism=1.0), records + unscored, "trial", home))
    earlier = [replace(r, scores={"realism": 1.1, "run": "scores"}) for r in synthetic]
    with pytest.raises(UserError, match="8 images lack scores"):
        list(job("filter_synthetic").run(dict(max_likeness=0.5), records + earlier, "trial", home))
