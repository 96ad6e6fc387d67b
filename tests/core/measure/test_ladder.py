"""Real images along a generator's way, and a judge of class consistency: what they show, and where there are none."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_sets import evaluation_set
from pictures import same_picture
from PIL import Image

from busaug_core.errors import UserError
from busaug_core.features.cache import Features
from busaug_core.images import load_gray
from busaug_core.jobs.events import Notice, drain
from busaug_core.jobs.run import Run
from busaug_core.measure.judge import train_judge
from busaug_core.measure.ladder import (
    Taken,
    Way,
    ladder,
    learned_by_autoencoder,
    passed_through,
    refuse_other_autoencoder,
    ways_of,
)
from busaug_core.measure.report import brief, recognised, steps_of
from busaug_core.metrics.fid import frechet_distance
from busaug_core.metrics.frd import z_scores
from busaug_core.records import Record, Synthesis
from busaug_core.registry import job
from busaug_core.simulate import simulate

WEIGHTS = "diffusion_pytorch_model.safetensors"
LITE0 = dict(extractor="efficientnet_lite0", metrics=["fid", "ladder", "judge"], floor_draws=2)


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    """18 simulated scans of each class and 128 px, of which 6 validate."""
    folder = tmp_path_factory.mktemp("scans")
    made = []
    for i, label in enumerate(("benign", "malignant", "normal") * 18):
        path = folder / f"{i}.png"
        Image.fromarray(simulate(label, 5000 + i, 128).image).save(path)
        made.append(Record(str(path), label, size=[128, 128, 1], tags=["val" if i < 18 else "train"]))
    return made


def made_by(base, records, folder, variant, side=64, blank=0):
    """An evaluation set that a base is said to have made in a size."""
    sets = evaluation_set(records, folder, variant, blank)
    for record in sets:
        Image.fromarray(load_gray(record.path, side)).save(record.path)
    return [replace(r, synthesis=Synthesis(width=side, height=side, base_model=base)) for r in sets]


@pytest.fixture(scope="session")
def home_of_features(tmp_path_factory):
    """A home whose runs share their features."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def measured(scans, home_of_features, tmp_path_factory):
    """What the measurement of two variants gives, one of noisy images, that mini is said to have made at 64 px."""
    folder = tmp_path_factory.mktemp("made")
    sets = made_by("mini", scans, folder, "near") + made_by("mini", scans, folder, "noisy", blank=60)
    events = list(job("compute_fid").run(LITE0 | dict(run_key="fid"), scans + sets, "trial", home_of_features))
    return events[-1].result, [e.message for e in events if isinstance(e, Notice)]


def test_each_step_away_from_real_images_is_farther_from_the_reference(measured):
    result, _ = measured
    [ladder] = result["ladders"]
    found = {(r["reference"], r["variant"]): r for r in ladder["rows"]}
    own, small = [step for reference, step in found if reference == "val"], [s for r, s in found if r == "val at 64 px"]
    assert own == ["real", "real at 64 px", "real through mini's autoencoder", "near", "noisy"]
    assert small == own[1:], "in the generated images' size there is no price of the size"
    values = {key: row["value"] for key, row in found.items()}
    assert values["val", "real"] < values["val", "real at 64 px"] < values["val", "noisy"]
    assert values["val at 64 px", "real at 64 px"] < values["val", "real at 64 px"]
    assert all(row["low"] <= row["value"] <= row["high"] and row["n"] == 18 for row in found.values())
    main = next(r for r in result["rows"] if r["variant"] == "near" and r["class"] == "all")
    assert values["val", "near"] == pytest.approx(main["value"]), "the variants are those of the table"


def test_the_report_says_in_words_what_each_step_costs(measured):
    result, _ = measured
    text = (Path(result["folder"]) / "fid.md").read_text()
    assert "## Where the distance comes from" in text and "## Recognised as their class" in text
    values = {r["variant"]: r["value"] for r in result["ladders"][0]["rows"] if r["reference"] == "val"}
    line = next(line for line in steps_of(result) if line.startswith("- near: "))
    size = values["real at 64 px"] - values["real"]
    assert line.startswith(
        f"- near: {values['near']:.3g} = {values['real']:.3g} as real images, {size:+.3g} at 64 px, "
    )
    rest = values["near"] - values["real through mini's autoencoder"]
    assert line.endswith(f"{rest:+.3g} by what it generates")
    shown = "\n".join(brief(result, Path(result["folder"])))
    assert line in shown and "recall of" in shown
    with Image.open(Path(result["folder"]) / "ladder.png") as picture:
        assert min(picture.size) > 100
    old = {k: v for k, v in result.items() if k not in ("ladders", "judges")}
    assert steps_of(old) == recognised(old) == [], "a run of an earlier version has neither"


def test_the_judge_is_fair_to_real_images_and_sees_through_noise(measured):
    result, _ = measured
    [verdict] = result["judges"]
    assert (verdict["side"], verdict["n_train"], verdict["extractor"]) == (64, 36, "efficientnet_lite0")
    recall = {}
    for row in verdict["rows"]:
        recall.setdefault(row["variant"], []).append(row["value"])
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1 and row["n"] == 6
    assert list(recall) == ["real at 64 px", "real through mini's autoencoder", "near", "noisy"]
    assert np.mean(recall["real at 64 px"]) > 0.6
    assert np.mean(recall["near"]) > np.mean(recall["noisy"])


def test_real_images_of_the_generated_size_pay_nothing_for_it(scans, home_of_features, tmp_path):
    sets = made_by("mini", scans, tmp_path, "near", side=128)
    result = list(job("compute_fid").run(LITE0, scans + sets, "trial", home_of_features))[-1].result
    assert {(r["reference"], r["variant"]) for r in result["ladders"][0]["rows"]} == {
        ("val", "real"),
        ("val", "real through mini's autoencoder"),
        ("val", "near"),
    }


def test_a_base_that_is_gone_or_images_of_unknown_origin_cost_the_ladder_alone(scans, home_of_features, tmp_path):
    lost = made_by("/nowhere/base", scans, tmp_path, "lost")
    unknown = evaluation_set(scans, tmp_path, "unknown", 5)
    events = list(job("compute_fid").run(LITE0, scans + lost + unknown, "trial", home_of_features))
    result, told = events[-1].result, [e.message for e in events if isinstance(e, Notice)]
    assert result["ladders"] == result["judges"] == []
    assert {"lost", "unknown", "real"} == {r["variant"] for r in result["rows"]}
    assert any(m.startswith("lost: no ladder and no judge. ") and "/nowhere/base" in m for m in told)


def test_what_is_left_of_a_mixed_set_without_its_copies_has_no_way(scans, home_of_features, tmp_path):
    near, mixed = (made_by("mini", scans, tmp_path, name) for name in ("near", "mixed"))
    copied = load_gray(next(r.path for r in scans if "train" in r.tags), 128)
    Image.fromarray(copied // 2 + 40).save(mixed[0].path)
    mixed[0] = replace(mixed[0], synthesis=Synthesis(width=128, height=128, base_model="mini"))
    values = LITE0 | dict(on_copies="leave_out")
    result = list(job("compute_fid").run(values, scans + near + mixed, "trial", home_of_features))[-1].result
    assert [copy["path"] for copy in result["left_out"]] == [mixed[0].path]
    assert [ladder["variants"] for ladder in result["ladders"]] == [["near"]]
    assert "mixed" not in {r["variant"] for r in result["judges"][0]["rows"]}


def test_there_is_no_judge_of_the_images_that_it_would_be_trained_on(scans, home_of_features, tmp_path):
    sets = made_by("mini", scans, tmp_path, "near")
    values = LITE0 | dict(reference="train")
    events = list(job("compute_fid").run(values, scans + sets, "trial", home_of_features))
    told = [e.message for e in events if isinstance(e, Notice)]
    assert events[-1].result["judges"] == [] and len(events[-1].result["ladders"]) == 1
    assert [m for m in told if "judge" in m] == [
        "No judge of class consistency against 'train', on which it would be trained."
    ]


def test_z_scores_of_a_ladder_are_in_the_units_of_the_whole_reference():
    class Scored:
        metric, standardise = "FRD", staticmethod(z_scores)

    rng = np.random.default_rng(0)
    records = [Record(str(i), "benign") for i in range(36)]
    features = Features(records, rng.normal(size=(36, 2)).astype(np.float32) * [1, 5], [""] * 36)
    whole, opposite, made = records[:12], records[12:24], records[24:]
    taken = Taken(Way(64, "mini"), features, features, shrinks=True)
    found = ladder(taken, features, Scored, whole, (whole[:6], opposite[:6]), {"sd": made[:6]}, "val")
    units = [z_scores(features.of(members), features.of(whole)) for members in (whole[:6], made[:6])]
    assert [r["value"] for r in found["rows"] if r["variant"] == "sd"] == [pytest.approx(frechet_distance(*units))] * 2


def test_bases_of_one_name_have_folders_of_their_own():
    assert Way(64, "/a/checkpoint-500").name != Way(64, "/b/checkpoint-500").name != Way(32, "/b/checkpoint-500").name


def test_a_set_of_one_base_and_size_has_a_way(tmp_path):
    one, other = Synthesis(width=64, height=64, base_model="mini"), Synthesis(width=128, height=128, base_model="mini")
    made = [Record("a", "benign", synthesis=one), Record("b", "benign", synthesis=other)]
    sets = {"sd": made[:1], "large": made[1:], "mixed": made, "unknown": [Record("c", "benign")]}
    assert ways_of(sets) == {Way(64, "mini"): ["sd"], Way(128, "mini"): ["large"]}


def test_a_tuned_autoencoder_is_a_way_of_its_own_and_is_known_by_its_weights(base, run_job, records, tmp_path):
    small = dict(base_model=base, steps=3, batch_size=2, resolution=64, membership=False)
    for name, rate in (("dec", 1e-2), ("other", 2e-2)):
        run_job("finetune_decoder", records, run_key=name, **small, learning_rate=rate)
    run_job("train_lora", records, run_key="lora", rank=2, **small)
    made = dict(base_model=base, resolution=64, steps=2, lora="lora", vae="dec", variants=["base", "sd"])
    run_job("generate", records, run_key="made", counts={"benign": 2}, **made)
    run = Run(tmp_path / "trial/runs/fid")
    images = Run(tmp_path / "trial/runs/made").products
    ways = ways_of({slug: [r for r in images if r.variant == slug] for slug in ("base", "sd")})
    assert ways == {Way(64, base): ["base"], Way(64, base, "dec"): ["sd"]}
    plain, tuned = ways
    assert plain.name != tuned.name and tuned.decoded == "real through the autoencoder of dec"
    one, other = (load_gray(drain(passed_through(way, records[:1], run))[0].path, 64) for way in ways)
    assert not same_picture(one, other)
    training = [r for r in records if "train" in r.tags]
    assert learned_by_autoencoder(tuned, records, run) == training and not learned_by_autoencoder(plain, records, run)
    refuse_other_autoencoder(tuned, images, run)
    shutil.copy(tmp_path / f"trial/runs/other/vae/{WEIGHTS}", tmp_path / f"trial/runs/dec/vae/{WEIGHTS}")
    with pytest.raises(UserError, match="'dec' is another autoencoder now than the one that the images of run 'made'"):
        refuse_other_autoencoder(tuned, images, run)


def test_images_are_passed_through_the_autoencoder_once(scans, tmp_path):
    way, run = Way(64, "mini"), Run(tmp_path / "home/trial/runs/fid")
    made = drain(passed_through(way, scans[:3], run))
    times = [Path(r.path).stat().st_mtime_ns for r in made]
    pixels = [np.asarray(Image.open(r.path)) for r in made]
    for before, after in zip([load_gray(r.path, 64) for r in scans[:3]], pixels, strict=True):
        error = np.abs(before.astype(float) - after).mean()
        assert after.shape == (64, 64) and 0 < error < 20
    assert [Path(r.path).stat().st_mtime_ns for r in drain(passed_through(way, scans[:3], run))] == times
    assert [r.label for r in made] == [r.label for r in scans[:3]]


def test_too_few_training_images_make_no_judge(scans, tmp_path):
    told = []
    run = Run(tmp_path / "home/trial/runs/fid")
    training = [r for r in scans if "train" in r.tags][:9]
    assert drain(train_judge(Way(64, "mini"), training, scans[:6], [], run, 8), told.append) is None
    assert "10 real training images of each of several classes" in told[-1].message
