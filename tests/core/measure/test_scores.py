"""Scores of single synthetic images."""

from pathlib import Path

import pytest
import torch
from generators import run_to_end
from PIL import Image
from scoring import SCORE, score

from busaug_core.errors import UserError
from busaug_core.features.cache import Seen, extract
from busaug_core.features.extractors import make_extractor
from busaug_core.images import NOTICE
from busaug_core.jobs.events import Notice
from busaug_core.jobs.roles import of_split
from busaug_core.jobs.run import Run
from busaug_core.measure.config import NEAR_COPY
from busaug_core.metrics.herding import herding
from busaug_core.records import Record
from busaug_core.registry import job
from busaug_core.simulate import simulate


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


def places_of(synthetic, scores):
    """Places in herding's order, by what is ordered together."""
    places = {}
    for record in synthetic:
        group = record.variant, record.label, "evaluation" in record.tags
        places.setdefault(group, []).append(scores[Path(record.path).stem]["herding"])
    return places


def test_every_synthetic_image_has_every_score(records, synthetic, scoring_home):
    scores, result = score(records + synthetic, scoring_home)
    assert len(scores) == result["n"] == 8
    for row in scores.values():
        assert 0 <= row["class_probability"] <= 1
        assert row["nearest_real_distance"] > 0
        assert row["nearest_real_path"] in {r.path for r in of_split(records, "train")}
        assert row["copy_ratio"] > 0
        assert row["realism"] > 0
        assert 0 < row["likeness"] < NEAR_COPY
        assert row["most_alike_real_path"] in {r.path for r in of_split(records, "train")}
        assert isinstance(row["influence"], float)
    for members in places_of(synthetic, scores).values():
        assert sorted(members) == pytest.approx([i / len(members) for i in range(len(members))])
    with Image.open(Path(result["folder"]) / "nearest.png") as picture:
        assert picture.text["Comment"] == NOTICE


def test_herding_compares_with_training_images_of_the_class_in_the_variants_size(records, scoring_home, tmp_path):
    made = []
    for i, side in enumerate([32] * 5 + [48] * 5):
        Image.fromarray(simulate("benign", 900 + i, side).image).save(tmp_path / f"{i}.png")
        made.append(
            Record(str(tmp_path / f"{i}.png"), "benign", "synthetic", f"of {side}", ["synthetic", f"of {side}"])
        )
    scores, result = score(records + made, scoring_home, run_key="scores_sizes")
    run = Run(Path(result["folder"]))
    extractor = make_extractor("clf", run, torch.device("cpu"))
    training = [r for r in of_split(records, "train") if r.label == "benign"]
    assert all(Image.open(r.path).width == 64 for r in training)
    for side, members in ((32, made[:5]), (48, made[5:])):
        real, _ = run_to_end(extract(training, extractor, run, 8, Seen(side=side)))
        own, _ = run_to_end(extract(members, extractor, run, 8))
        order = herding(real.matrix, own.matrix)
        assert [scores[Path(members[row].path).stem]["herding"] for row in order] == pytest.approx(
            [0, 0.2, 0.4, 0.6, 0.8]
        )


def test_a_class_without_training_images_is_told(records, synthetic, scoring_home):
    known = [r for r in records if r.label != "normal" or "train" not in r.tags]
    values = dict(SCORE, run_key="scores_unknown")
    events = list(job("score_synthetic").run(values, known + synthetic, "trial", scoring_home))
    assert any("no training image is normal" in e.message for e in events if isinstance(e, Notice))
    assert all(r.scores.herding is not None for r in Run(Path(events[-1].result["folder"])).products)


def test_every_process_extracts_what_the_main_one_does(records, synthetic, scoring_home, monkeypatch):
    from busaug_core.measure import scores as scoring

    seen = {True: [], False: []}
    extract = scoring.extract

    def recorded(images, extractor, run, batch_size, *more):
        run.is_main = is_main
        seen[is_main].append((len(images), *map(str, more)))
        return extract(images, extractor, run, batch_size, *more)

    monkeypatch.setattr(scoring, "extract", recorded)
    for is_main in seen:
        values = dict(SCORE, run_key=f"scores_main_{is_main}")
        list(job("score_synthetic").run(values, records + synthetic, "trial", scoring_home))
    assert seen[False] == seen[True]
    assert len(seen[True]) == 3


@pytest.mark.parametrize("change", ["resized", "cropped", "flipped", "recompressed"])
def test_a_copy_of_a_training_image_ranks_first_by_its_copy_ratio(records, synthetic, scoring_home, copies, change):
    smuggled = Record(str(copies[change]), "benign", "synthetic", "sd", ["synthetic", "sd"], pair="copy")
    scores, _ = score([*records, *synthetic, smuggled], scoring_home, run_key=f"scores_{change}")
    assert min(scores, key=lambda name: scores[name]["copy_ratio"]) == change
    assert scores[change]["nearest_real_path"] == of_split(records, "train")[0].path
    assert scores[change]["most_alike_real_path"] == of_split(records, "train")[0].path
    assert scores[change]["likeness"] > NEAR_COPY


def test_an_identical_image_has_a_copy_ratio_of_zero(records, synthetic, scoring_home, tmp_path):
    Image.open(of_split(records, "train")[0].path).save(tmp_path / "same.png")
    smuggled = Record(str(tmp_path / "same.png"), "benign", "synthetic", "sd", ["synthetic", "sd"])
    scores, _ = score([*records, *synthetic, smuggled], scoring_home, run_key="scores_same")
    assert scores["same"]["copy_ratio"] == pytest.approx(0, abs=1e-3)


def test_a_classifier_that_saw_synthetic_images_may_not_score(records, synthetic, scoring_home):
    balancing = [r for r in synthetic if "evaluation" not in r.tags]
    values = dict(arch="squeezenet1_1", epochs=1, resolution=32, batch_size=4, run_key="clf_sd", include=["sd"])
    list(job("train_classifier").run(values, records + balancing, "trial", scoring_home))
    with pytest.raises(UserError, match="was trained with synthetic images"):
        score(records + synthetic, scoring_home, classifier="clf_sd", run_key="scores_sd")
