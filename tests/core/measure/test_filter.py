"""Filtering by scores."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scoring import score

from busaug_core.errors import UserError
from busaug_core.jobs.events import Notice
from busaug_core.jobs.roles import of_split
from busaug_core.jobs.run import Run
from busaug_core.measure.config import FilterSynthetic
from busaug_core.measure.thresholds import count, misses
from busaug_core.records import Record, Scores
from busaug_core.registry import job
from busaug_core.simulate import simulate


def is_kept(record):
    return "rejected" not in record.tags


def with_scores(label="benign", variant="sd", **scores):
    return Record(f"{label}{scores}", label, "synthetic", variant, ["synthetic", variant], scores=Scores(**scores))


@pytest.mark.parametrize(
    ("limits", "missed"),
    [
        ({}, []),
        ({"min_class_probability": 0.5}, [1]),
        ({"class_consistent": True}, [1]),
        ({"min_copy_ratio": 0.4}, [0]),
        ({"max_likeness": 0.5}, [1]),
        ({"min_realism": 1.0}, [0, 2]),
        ({"max_herding": 0.5}, [0, 1]),
        ({"max_herding": 1.0}, []),
        ({"max_influence": 0.0}, [1]),
        ({"min_copy_ratio": 0.4, "max_influence": 0.0}, [0, 1]),
    ],
)
def test_each_threshold_rejects_what_misses_it(limits, missed):
    records = [
        with_scores(
            class_probability=0.9,
            class_consistent=True,
            copy_ratio=0.2,
            likeness=0.2,
            realism=0.8,
            herding=0.5,
            influence=-1.0,
        ),
        with_scores(
            class_probability=0.2,
            class_consistent=False,
            copy_ratio=0.7,
            likeness=0.9,
            realism=1.2,
            herding=0.9,
            influence=2.0,
        ),
        with_scores(
            class_probability=0.8, class_consistent=True, copy_ratio=0.9, likeness=0.3, realism=0.9, herding=0.1
        ),
    ]
    config = FilterSynthetic.parse(limits)
    assert [i for i, r in enumerate(records) if misses(r, config)] == missed
    assert count(records, config) == [
        {"variant": "sd", "class": "benign", "kept": 3 - len(missed), "rejected": len(missed)}
    ]


def test_filtering_tags_and_is_taken_back_without_thresholds(records, synthetic, scoring_home):
    scores, result = score(records + synthetic, scoring_home)
    synthetic = Run(Path(result["folder"])).products
    assert [r.scores for r in synthetic] == [Scores.from_json(scores[Path(r.path).stem]) for r in synthetic]
    limit = float(np.median([s["copy_ratio"] for s in scores.values()]))
    values = dict(min_copy_ratio=limit, run_key="filter")
    result = list(job("filter_synthetic").run(values, records + synthetic, "trial", scoring_home))[-1].result
    products = Run(Path(result["folder"])).products
    rejected = [r for r in products if "rejected" in r.tags]
    assert len(products) == 8
    assert len(rejected) == sum(row["rejected"] for row in result["counts"]) == 4
    (row,) = result["rows"]
    assert row["note"] == f"{row['n']} images are too few to compare"
    back = list(job("filter_synthetic").run(dict(run_key="back"), records + products, "trial", scoring_home))[-1].result
    assert sum(row["rejected"] for row in back["counts"]) == 0


def test_the_distance_of_what_is_kept_stands_beside_that_of_all(
    records, synthetic, scoring_home, tmp_path, monkeypatch
):
    from busaug_core.measure import filter as filtering

    monkeypatch.setattr(filtering, "LEAST", 3)
    made = []
    score(records + synthetic, scoring_home)
    for i, reference in enumerate(of_split(records, "val") * 2):
        spoilt = i >= 6
        picture = simulate(reference.label, 850 + i, 64).image
        noise = np.random.default_rng(i).normal(0, 100 if spoilt else 2, picture.shape)
        Image.fromarray(np.clip(picture + noise, 0, 255).astype(np.uint8)).save(tmp_path / f"{i}.png")
        scores = Scores(realism=0.1 if spoilt else 1.1, run="scores", extractor="clf")
        tags = ["synthetic", "sd", "evaluation"]
        made.append(Record(str(tmp_path / f"{i}.png"), reference.label, "synthetic", "sd", tags, scores=scores))
    values = dict(min_realism=1.0, run_key="filter_spoilt")
    (row,) = list(job("filter_synthetic").run(values, records + made, "trial", scoring_home))[-1].result["rows"]
    assert row["n"] == 6
    assert row["kept"] < row["all"]


def test_scores_and_what_they_filter_are_of_one_preprocessing(
    records, synthetic, scoring_home, inception_home, monkeypatch
):
    from busaug_core.measure import filter as filtering

    monkeypatch.setattr(filtering, "LEAST", 3)
    monkeypatch.setenv("TORCH_HOME", str(inception_home))
    distances = {}
    for preprocessing in ("canonical", "legacy"):
        key = f"scores_{preprocessing}"
        values = dict(extractor="inception-64", preprocessing=preprocessing, run_key=key)
        scores, result = score(records + synthetic, scoring_home, **values)
        made = [replace(r, tags=[*r.tags], scores=Scores.from_json(scores[Path(r.path).stem])) for r in synthetic]
        values = dict(run_key=f"filter_{preprocessing}")
        filtered = list(job("filter_synthetic").run(values, records + made, "trial", scoring_home))[-1].result
        distances[preprocessing] = filtered["rows"][0]["kept"]
        assert result["extractor"] == {"canonical": "inception_64", "legacy": "inception_64_legacy"}[preprocessing]
    assert distances["canonical"] != pytest.approx(distances["legacy"], rel=1e-3)


def test_thresholds_without_scores_say_what_to_run(records, synthetic, scoring_home):
    unscored = [replace(r, scores=None) for r in synthetic]
    with pytest.raises(UserError, match="8 images lack scores.*score_synthetic"):
        list(job("filter_synthetic").run(dict(min_realism=1.0), records + unscored, "trial", scoring_home))
    earlier = [replace(r, scores=Scores(realism=1.1, run="scores")) for r in synthetic]
    for limits in (dict(max_likeness=0.5), dict(max_herding=0.5)):
        (score_of_limit,) = (name.split("_")[-1] for name in limits)
        with pytest.raises(UserError, match=f"8 images lack the score {score_of_limit} .*again"):
            list(job("filter_synthetic").run(limits, records + earlier, "trial", scoring_home))


def test_what_herding_keeps_is_told_to_be_measured_in_other_features(
    records, synthetic, scoring_home, tmp_path, monkeypatch
):
    from busaug_core.measure import filter as filtering

    monkeypatch.setattr(filtering, "LEAST", 2)
    made = []
    for i, label in enumerate(["benign", "malignant", "normal"] * 2):
        Image.fromarray(simulate(label, 870 + i, 64).image).save(tmp_path / f"more_{i}.png")
        tags = ["synthetic", "sd", "evaluation"]
        made.append(Record(str(tmp_path / f"more_{i}.png"), label, "synthetic", "sd", tags))
    _, result = score(records + synthetic + made, scoring_home, run_key="scores_herding")
    scored = Run(Path(result["folder"])).products
    values = dict(max_herding=0.5, run_key="filter_herding")
    result = list(job("filter_synthetic").run(values, records + scored, "trial", scoring_home))[-1].result
    for kept in (True, False):
        # Of evaluation and of balancing images apart, rounded up.
        sizes = Counter((r.label, "evaluation" in r.tags) for r in scored)
        found = Counter(
            (r.label, "evaluation" in r.tags) for r in Run(Path(result["folder"])).products if is_kept(r) == kept
        )
        assert found == +Counter({group: -(-n // 2) if kept else n // 2 for group, n in sizes.items()})
    assert "herding chose in these very features" in result["rows"][0]["note"]
    tagged = Run(Path(result["folder"])).products
    sets = {"kept": [r for r in tagged if is_kept(r)], "tagged": tagged, "scored": scored}
    told = {}
    for name, images in sets.items():
        for extractor in ("clf", "efficientnet_lite0"):
            values = dict(extractor=extractor, metrics=["fid"], floor_draws=1, run_key=f"fid_{name}_{extractor}")
            events = list(job("compute_fid").run(values, records + images, "trial", scoring_home))
            told[name, extractor] = any("order of herding" in str(e) for e in events if isinstance(e, Notice))
            report = (Path(events[-1].result["folder"]) / "fid.md").read_text()
            assert ("order of herding" in report) == told[name, extractor]
    assert [of for of, is_told in told.items() if is_told] == [("kept", "clf")]
    values = dict(extractor="clf", metrics=["fid"], floor_draws=1)
    ways = {"kept": (sets["kept"], {}), "without": (tagged, dict(without_rejected=True))}
    found = {}
    for name, (images, more) in ways.items():
        key = dict(run_key=f"fid_without_{name}")
        events = list(job("compute_fid").run(values | more | key, records + images, "trial", scoring_home))
        found[name] = events[-1].result["rows"]
    assert found["without"] == found["kept"]
    mixed = [replace(r, scores=replace(r.scores, run=f"scores_{i % 2}")) for i, r in enumerate(scored)]
    with pytest.raises(UserError, match="ordered apart, by the runs scores_0, scores_1"):
        list(job("filter_synthetic").run(dict(max_herding=0.5), records + mixed, "trial", scoring_home))


def test_distances_are_in_the_units_of_their_features(records, synthetic, scoring_home, monkeypatch):
    from busaug_core.measure import filter as filtering

    monkeypatch.setattr(filtering, "LEAST", 3)
    _, result = score(records + synthetic, scoring_home, extractor="radiomics", run_key="scores_radiomics")
    scored = Run(Path(result["folder"])).products
    values = dict(run_key="filter_radiomics")
    (row,) = list(job("filter_synthetic").run(values, records + scored, "trial", scoring_home))[-1].result["rows"]
    values = dict(extractor="radiomics", metrics=["fid"], floor_draws=1, run_key="fid_radiomics")
    rows = list(job("compute_fid").run(values, records + scored, "trial", scoring_home))[-1].result["rows"]
    (frd,) = (
        r["value"]
        for r in rows
        if (r["variant"], r["class"], r["reference"]) == ("sd", "all", "val") and r["metric"] == row["metric"]
    )
    assert row["kept"] == pytest.approx(frd, rel=1e-6)
