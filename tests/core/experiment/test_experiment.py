"""The demo's chain as a job of the core: every link a run of its own, reused, resumed, ending in one table."""

import csv
import html
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from busaug_core.classify.config import VIEWS
from busaug_core.errors import UserError
from busaug_core.experiment.config import RUN_EXPERIMENT, RunExperiment
from busaug_core.experiment.looks import read_attention
from busaug_core.experiment.plan import planned
from busaug_core.features.extractor import Extractor
from busaug_core.jobs.events import Begun, Ended, Finished, Made, Notice, Stopped
from busaug_core.jobs.run import Run
from busaug_core.registry import job

ROOT = Path(__file__).resolve().parents[3]
SIZES = {
    "load_busi": dict(images=12, image_size=64),
    "train_lora": dict(steps=1, batch_size=2, resolution=64, membership=False),
    "train_textual_inversion": dict(steps=1, batch_size=2, resolution=64, membership=False),
    "generate": dict(steps=4, batch_size=8, resolution=64),
}


@pytest.fixture(scope="module")
def values(base):
    return dict(base_model=base, settings=SIZES, arms=["base", "sd_img2img"], dataset_name="tiny", run_key="demo")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def events(values, home):
    return list(RUN_EXPERIMENT.run(values, [], "tiny", home))


def test_every_link_is_told_and_is_a_run_of_its_own(events, home):
    begun = [e for e in events if isinstance(e, Begun)]
    assert [e.number for e in begun] == list(range(1, begun[0].total + 1))
    assert [e.run_key for e in begun] == [e.run_key for e in events if isinstance(e, Ended)]
    result = events[-1].result
    assert result["runs"] == [e.run_key for e in begun]
    assert all(Run(home / "tiny/runs" / key).state == "done" for key in result["runs"])


def test_the_table_has_an_arm_for_the_real_images_and_one_for_each_variant(events, home):
    table = events[-1].result["table"]
    assert re.match(r"(No gain shown: no arm is|Arm \w+ is) better than the original", table[0])
    arms = [line.split("|")[1].strip() for line in table[: table.index("", 2)] if line.startswith("| ")]
    assert arms == ["arm", "---", "original", "+ base", "+ sd_img2img"]
    assert (home / "tiny/runs/demo/results.md").read_text().splitlines() == table
    assert (home / "tiny/runs/demo/variants.png").exists()


def test_the_arms_are_probes_that_see_all_images_in_the_generated_ones_size_and_test_on_val(events, home):
    for arm in ("original", "base", "sd_img2img"):
        run = Run(home / "tiny/runs" / f"clf_{arm}")
        asked = {name: run.config[name] for name in ("arch", "resolution", "resamples", "evaluate_on")}
        assert asked == dict(arch="probe", resolution=64, resamples=20, evaluate_on="val")
        assert run.result["resampled"]["accuracy"]["low"] <= run.result["resampled"]["accuracy"]["high"]


def test_the_table_fits_a_terminal_and_its_file_has_every_interval(events, home):
    table = events[-1].result["table"]
    assert max(len(line) for line in table if line.startswith("|")) <= 120
    with (home / "tiny/runs/demo/results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in rows if row["table"] == "Arms"]
    assert [row["arm"] for row in rows] == ["original", "+ base", "+ sd_img2img"]
    for row in rows:
        for name in ("accuracy", "F1", "AUC", "PPV", "recall", "FD (EfficientNet-Lite0)"):
            low, value, high = (float(row[f"{name}{part}"]) for part in (" low", "", " high"))
            assert low <= value <= high


def test_the_report_is_one_page_that_holds_what_it_shows(events, home):
    page = (home / "tiny/runs/demo/report.html").read_text()
    assert f'<p class="answer">{html.escape(events[-1].result["table"][0])}</p>' in page
    for title in ("Arms", "Compared with the original", "By class", "Where the distance comes from", "Protocol"):
        assert f"<h2>{title}</h2>" in page
    pictures = re.findall(r'<img alt="(\w+)" src="data:image/png;base64,', page)
    assert pictures == ["variants", "differences", "confusion", "ladder"]
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("<td>+ sd_img2img</td>") == 3


def test_every_arm_is_compared_with_the_original_in_each_metric(events):
    result = events[-1].result
    assert {(c["arm"], c["metric"]) for c in result["claims"]} >= {("base", "accuracy"), ("sd_img2img", "accuracy")}
    for claim in result["claims"]:
        assert claim["baseline"] == "original"
        assert claim["low"] <= claim["value"] <= claim["high"] and 0 <= claim["p"] <= claim["p_holm"] <= 1
    assert {row["arm"] for row in result["rows"]} == {"original", "base", "sd_img2img"}
    assert "Compared with the original:" in result["table"]


def test_arms_may_be_networks_and_then_nothing_is_claimed(values, home):
    network = {**SIZES, "train_classifier": dict(arch="squeezenet1_1", epochs=1, batch_size=8, resolution=32)}
    (home / "networks").mkdir()
    shutil.copytree(home / "tiny", home / "networks/tiny", ignore=lambda _, names: [n for n in names if "clf" in n])
    for name in ("demo", "predictions", "scores_efficientnet_lite0"):
        shutil.rmtree(home / "networks/tiny/runs" / name)
    *_, finished = RUN_EXPERIMENT.run({**values, "settings": network}, [], "tiny", home / "networks")
    table = finished.result["table"]
    assert table[0].startswith("Whether an arm is better than the original is not known: each classifier was trained")
    assert "squeezenet1_1, 1 epoch of images at 32 px, from random weights, one seed" in " ".join(table)
    assert finished.result["claims"] == []
    more = dict(values, settings=network, arms=["base", "sd_img2img", "trivial"], seeds=2, run_key="seeds")
    *_, finished = RUN_EXPERIMENT.run(more, [], "tiny", home / "networks")
    assert {"clf_original_seed2", "clf_base_seed2", "clf_trivial", "clf_trivial_seed2"} <= set(finished.result["runs"])
    runs = {key: Run(home / "networks/tiny/runs" / key) for key in finished.result["runs"]}
    assert [runs[f"clf_trivial{end}"].config["seed"] for end in ("", "_seed2")] == [51, 52]
    assert runs["clf_trivial"].config["augmentation"] == "trivial" and runs["clf_trivial"].config["include"] == []
    arms = ("base", "sd_img2img", "trivial")
    assert {(c["arm"], c["trainings"]) for c in finished.result["claims"]} == {(arm, 2) for arm in arms}
    told = [row["arm"] for row in finished.result["rows"] if row["metric"] == "f1"]
    assert told == [arm for arm in ("original", *arms) for _ in range(2)]
    assert "means over 2 seeds" in " ".join(finished.result["table"])


@pytest.fixture(scope="module")
def folded(values, home):
    """The result of an experiment of two folds, and the events of its run."""
    asked = dict(values, arms=["sd"], folds=2, dataset_name="folds", run_key="folds")
    asked["settings"] = {**SIZES, "load_busi": dict(images=24, image_size=64)}
    events = list(RUN_EXPERIMENT.run(asked, [], "folds", home))
    return events[-1].result, events


def test_in_every_fold_generator_and_classifiers_are_trained_anew_on_the_others_alone(folded, home):
    result, events = folded
    runs = {key: Run(home / "folds/runs" / key) for key in (*result["runs"], *result["further_runs"])}
    held_out = []
    for end in ("", "_fold2"):
        splits = {s: {r.path for r in runs[f"lora{end}"].records if s in r.tags} for s in ("train", "val")}
        assert runs[f"balancing{end}"].config["lora"] == f"lora{end}"
        assert {r.path for r in runs[f"clf_sd{end}"].records if r.synthetic} == {
            r.path for r in runs[f"balancing{end}"].products
        }
        assert not splits["train"] & splits["val"]
        held_out.append(splits["val"])
    assert not held_out[0] & held_out[1]
    assert held_out[0] | held_out[1] == {r.path for r in runs["load"].products}
    assert next(e.title for e in events if isinstance(e, Begun) and e.run_key == "lora_fold2").startswith("Fold 2 of 2")


def test_an_arm_may_take_a_share_of_its_variants_images(events, values, home, tmp_path):
    shutil.copytree(home / "tiny", tmp_path / "tiny", ignore=shutil.ignore_patterns("demo"))
    asked = dict(values, arms=["base@50%", "base@300%", "base"], run_key="of_shares")
    *_, finished = RUN_EXPERIMENT.run(asked, [], "tiny", tmp_path)
    runs = {key: Run(tmp_path / "tiny/runs" / key) for key in finished.result["runs"]}
    real = runs["clf_original"].result["train_counts"]
    added = runs["shares_base"]
    assert added.config["variants"] == ["base"] and added.config["seed"] != runs["balancing_2"].config["seed"]
    made = [{r.path for r in runs[key].products} for key in ("balancing_2", "shares_base")]
    assert made[0] | made[1] == {r.path for r in runs["clf_base_300"].records if r.synthetic}
    assert {"clf_original", "lora"} & runs.keys() == {"clf_original"}
    taken = {
        key: {label: n - real[label] for label, n in runs[key].result["train_counts"].items()}
        for key in ("clf_base_50", "clf_base_300", "clf_base_2")
    }
    assert taken["clf_base_50"] == {label: -(-n // 2) for label, n in real.items()}
    assert taken["clf_base_300"] == {label: 3 * n for label, n in real.items()}
    largest = max(real.values()) // 10 * 10 + 10
    assert taken["clf_base_2"] == {label: largest - n for label, n in real.items()}
    assert [row.split("|")[1].strip() for row in finished.result["table"][4:8]] == [
        "original",
        "+ base@50%",
        "+ base@300%",
        "+ base",
    ]


def test_a_filtered_arm_takes_what_passes_and_no_other_arm_knows_of_it(events, values, home, tmp_path):
    shutil.copytree(home / "tiny", tmp_path / "tiny", ignore=shutil.ignore_patterns("demo"))
    asked = dict(values, arms=["base", "sd_img2img", "base+filtered"], run_key="filtering")
    *_, finished = RUN_EXPERIMENT.run(asked, [], "tiny", tmp_path)
    runs = {key: Run(tmp_path / "tiny/runs" / key) for key in finished.result["runs"]}
    assert finished.result["further_runs"] == ["filter_scores_base", "filter_base"]
    products = Run(tmp_path / "tiny/runs/filter_base").products
    rejected = {r.path for r in products if "rejected" in r.tags}
    assert {r.path for r in products} == {r.path for r in runs["balancing"].products if r.variant == "base"}
    assert rejected == {r.path for r in products if not r.scores.class_consistent or r.scores.likeness > 0.6} != set()
    counts = {key: runs[key].result["n_train"] for key in ("clf_original", "clf_base", "clf_base_filtered")}
    assert counts["clf_base"] == counts["clf_original"] + len(products)
    assert counts["clf_base_filtered"] == counts["clf_base"] - len(rejected)


def test_an_arm_may_take_the_variant_that_helps_most_within_training_and_no_real_image(values, tmp_path):
    more = {**SIZES, "load_busi": dict(images=72, image_size=64)}
    arms = ["base", "sd_img2img", "best@50%", "best@100%", "best+filtered", "best@100%+alone"]
    networks = dict(arch="squeezenet1_1", epochs=1, batch_size=8)
    asked = dict(values, arms=arms, settings=more, run_key="best", learning_curve=True, networks=networks, seeds=2)
    told = list(RUN_EXPERIMENT.run(asked, [], "tiny", tmp_path))
    result = told[-1].result
    runs = {key: Run(tmp_path / "tiny/runs" / key) for key in (*result["runs"], *result["further_runs"])}
    begun = [Run(tmp_path / "tiny/runs" / e.run_key).job for e in told if isinstance(e, Begun)]
    assert Counter(begun) == planned(RunExperiment.parse(asked))
    losses = {slug: runs[f"clf_{slug}"].result["inner_loss"] for slug in ("base", "sd_img2img")}
    best = min(losses, key=losses.get)
    assert f"Best: the variant of {best}, by the log-loss" in " ".join(result["table"])
    assert f"Log-losses: {losses[best]:.3f} ({best}), {max(losses.values()):.3f} (" in " ".join(result["table"])
    assert [runs[key].config["include"] for key in ("clf_best_100", "clf_best_filtered", "clf_best_100_alone")] == [
        [best]
    ] * 3
    assert f"filter_{best}" in runs and runs[f"shares_{best}"].config["variants"] == [best]
    real, alone = runs["clf_original"].result, runs["clf_best_100_alone"].result
    assert alone["n_synthetic"] == alone["n_train"] == real["n_train"]
    assert alone["train_counts"] == real["train_counts"]
    assert runs["clf_best_100"].result["n_train"] == 2 * real["n_train"]
    _the_best_arm_is_a_network_too(runs, result)
    _fewer_real_scans_are_trained_on_alone(runs, result, tmp_path / "tiny/runs/best")
    with (tmp_path / "tiny/runs/best/results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["table"] for row in rows) == {"Arms": 7, "By class": 7 * 3, "More images": 5, "As networks": 2}
    macro = next(row for row in rows if row["table"] == "Arms" and row["arm"] == "original")
    of_classes = [row for row in rows if row["table"] == "By class" and row["arm"].startswith("original, ")]
    for metric in ("F1", "AUC", "PPV", "recall", "specificity"):
        assert np.mean([float(row[metric]) for row in of_classes]) == pytest.approx(float(macro[metric])), metric
    assert "Membership was not measured of lora: settings spare it" in " ".join(result["table"])
    with (tmp_path / "tiny/runs/best/claims.csv").open(newline="") as file:
        told = {(row["table"], row["arm"]) for row in csv.DictReader(file) if row["metric"] == "recall" and row["p"]}
    assert told == {("As networks", "best arm"), *(("Compared with the original", arm) for arm in arms)}
    classifiers = {(row["arm"], row["classifier"]) for row in result["rows"]}
    assert {("original@25%", "probe"), ("original", "squeezenet1_1"), ("best arm", "squeezenet1_1")} <= classifiers


def _the_best_arm_is_a_network_too(runs, result):
    arms = ("clf_base", "clf_sd_img2img", "clf_best_50", "clf_best_100", "clf_best_filtered")
    winner = min((runs[key] for key in arms), key=lambda run: run.result["inner_loss"])
    keys = ["network_original", "network_original_seed2", "network_best_arm", "network_best_arm_seed2"]
    assert [key for key in runs if key.startswith("network")] == keys
    assert {runs[key].result["arch"] for key in keys} == {"squeezenet1_1"}
    assert {runs[key].result["resolution"] for key in keys} == {64}  # the generated images'
    assert {r.path for r in runs["network_best_arm"].records if r.synthetic} == {
        r.path for r in winner.records if r.synthetic
    }
    assert runs["network_best_arm"].result["n_train"] == winner.result["n_train"]
    assert not any(r.synthetic for r in runs["network_original"].records)
    assert set(keys) <= set(result["further_runs"])
    assert {(c["arm"], c["trainings"]) for c in result["network_claims"]} == {("best arm", 2)}
    start = result["table"].index("As networks:")
    told = "\n".join(result["table"][start : start + 20])
    assert "| + best arm |" in told
    assert "squeezenet1_1, 1 epoch of images at 64 px, from random weights, means over 2" in told
    taken = f"The best arm is {winner.key.removeprefix('clf_')}: "
    assert taken in told.replace("+", "_").replace("@", "_").replace("%", "")


def _fewer_real_scans_are_trained_on_alone(runs, result, folder):
    quarter, half, whole = (
        {r.path for r in runs[key].records if "train" in r.tags and not r.synthetic}
        for key in ("clf_original_25", "clf_original_50", "clf_original")
    )
    assert quarter < half < whole
    assert not any(r.synthetic for r in runs["clf_original_25"].records)
    counts = [runs[f"clf_original{end}"].result["train_counts"] for end in ("_50", "")]
    assert all(n // 2 <= counts[0][label] < n for label, n in counts[1].items())
    start = result["table"].index("More images:")
    assert sum(line.startswith("| real scans |") for line in result["table"][start:]) == 3
    assert sum(line.startswith("| + ") for line in result["table"][start : start + 12]) == 2
    assert (folder / "growth.png").stat().st_size > 5_000


def test_the_best_of_shares_is_chosen_by_probes_for_networks_and_is_not_compared_itself(events, values, home, tmp_path):
    shutil.copytree(home / "tiny", tmp_path / "tiny", ignore=shutil.ignore_patterns("demo"))
    network = dict(arch="squeezenet1_1", epochs=1, batch_size=8, resolution=32)
    asked = dict(values, arms=["best"], candidates=["base@50%", "base@100%", "sd@100%"], run_key="cells")
    asked |= dict(settings={**SIZES, "train_classifier": network, "load_busi": dict(images=36, image_size=64)})
    asked |= dict(dataset_name="cells", seeds=2)
    told = list(RUN_EXPERIMENT.run(asked, [], "cells", tmp_path))
    result = told[-1].result
    assert next(e.total for e in told if isinstance(e, Begun)) == max(e.number for e in told if isinstance(e, Begun))
    runs = {key: Run(tmp_path / "cells/runs" / key) for key in (*result["runs"], *result["further_runs"])}
    assert Counter(Run(tmp_path / "cells/runs" / e.run_key).job for e in told if isinstance(e, Begun)) == planned(
        RunExperiment.parse(asked)
    )
    cells = {name: runs[f"probe_clf_{name}"].result["inner_loss"] for name in ("base_50", "base_100", "sd_100")}
    slug, share = min(cells, key=cells.get).split("_")
    taken = runs["clf_best"].config
    assert (taken["arch"], taken["include"], taken["ratio"]) == ("squeezenet1_1", [slug], int(share) / 100)
    assert {claim["arm"] for claim in result["claims"]} == {"best"}
    assert {r.variant for r in runs["evaluation"].products} == {"base", "sd"}


def test_probes_may_see_augmented_images_and_share_the_views_of_real_ones(events, values, home, tmp_path, monkeypatch):
    shutil.copytree(home / "tiny", tmp_path / "tiny", ignore=shutil.ignore_patterns("demo"))
    looked_at, call = [], Extractor.__call__
    monkeypatch.setattr(Extractor, "__call__", lambda self, images: looked_at.extend(images) or call(self, images))
    more = {**SIZES, "train_classifier": dict(resamples=3)}
    arms = ["base", "sd_img2img", "trivial", "base+trivial"]
    asked = dict(values, arms=arms, settings=more, run_key="augmented")
    *_, finished = RUN_EXPERIMENT.run(asked, [], "tiny", tmp_path)
    found = [Run(tmp_path / "tiny/runs" / key) for key in finished.result["runs"] if "clf" in key]
    told = {run.key.removesuffix("_2"): run for run in found}
    augmentations = [told[f"clf_{arm}"].config["augmentation"] for arm in ("original", "trivial", "base_trivial")]
    assert augmentations == [None, "trivial", "trivial"]
    assert told["clf_trivial"].result["n_train"] == told["clf_original"].result["n_train"]
    assert len(looked_at) == VIEWS * told["clf_base_trivial"].result["n_train"]
    assert {claim["arm"] for claim in finished.result["claims"]} == set(arms)
    flipped = {**SIZES, "train_classifier": dict(resamples=3, augmentation="flip")}
    *_, finished = RUN_EXPERIMENT.run(
        dict(asked, arms=["base"], settings=flipped, run_key="flipped"), [], "tiny", tmp_path
    )
    assert "at 64 px, augmentation flip, means over 3 trainings" in " ".join(finished.result["table"])


def test_a_network_that_there_is_not_is_refused_before_anything_is_made(values, tmp_path):
    for asked in (dict(networks=dict(arch="resnet17")), dict(settings={"train_classifier": dict(arch="resnet17")})):
        with pytest.raises(UserError, match="resnet17"):
            list(RUN_EXPERIMENT.run(dict(values, **asked), [], "tiny", tmp_path))
    assert not (tmp_path / "tiny/runs/load").exists()


def test_where_the_arms_look_is_compared_image_by_image(values, home, tmp_path, events):
    shutil.copytree(home / "tiny", tmp_path / "tiny", ignore=shutil.ignore_patterns("demo"))
    told = list(RUN_EXPERIMENT.run(dict(values, heatmaps=True, run_key="maps"), [], "tiny", tmp_path))
    result, keys = told[-1].result, [f"looks_clf_{arm}" for arm in ("original", "base", "sd_img2img")]
    assert result["further_runs"] == keys
    begun = [Run(tmp_path / "tiny/runs" / e.run_key).job for e in told if isinstance(e, Begun)]
    assert Counter(begun) == planned(RunExperiment.parse(dict(values, heatmaps=True)))
    runs = {key: Run(tmp_path / "tiny/runs" / key) for key in keys}
    lesions = [r for r in runs[keys[0]].records if r.lesions]
    start = result["table"].index("Where the classifiers look:")
    header, _, *rows, empty, note = result["table"][start + 2 : start + 9]
    assert "more than the original" in header and empty == "" and f"of {len(lesions)} held-out scans" in note
    (of_original,) = [row for row in runs[keys[0]].result["attention"] if row["variant"] == "real"]
    assert rows[0].split("|")[2].strip().startswith(f"{of_original['on_lesion']:.3f} (")
    shares = [np.mean([a.on_lesion for a in read_attention(run) if a.on_lesion is not None]) for run in runs.values()]
    assert rows[1].split("|")[3].strip().startswith(f"{shares[1] - shares[0]:.3f} (")
    assert "<h2>Where the classifiers look</h2>" in (tmp_path / "tiny/runs/maps/report.html").read_text()


def test_what_will_be_run_is_told_first_and_is_run(events, folded, values, home):
    for told, folder, asked in (
        (events, "tiny", values),
        (folded[1], "folds", dict(values, arms=["sd"], folds=2)),
    ):
        begun = [Run(home / folder / "runs" / e.run_key).job for e in told if isinstance(e, Begun)]
        assert Counter(begun) == planned(RunExperiment.parse(asked))
        (plan,) = [e.message for e in told if isinstance(e, Notice) and e.message.startswith("Planned: ")]
        assert plan.startswith(f"Planned: {len(begun)} runs (1 load_busi, ")
        made = sum(len(Run(home / folder / "runs" / e.run_key).products) for e in told if _generates(e, home / folder))
        images = int(re.search(r"about (\d+) images", plan)[1])
        assert made * 0.8 <= images <= made * 1.25  # folds are not even
        titles = [e.title for e in told if isinstance(e, Begun)]
        assert any("left)" in title for title in titles) and "left)" not in titles[0]


def _generates(event, dataset):
    return isinstance(event, Begun) and Run(dataset / "runs" / event.run_key).job == "generate"


def test_what_another_experiment_did_otherwise_is_done_anew_under_a_key_of_its_own(events, values, home, tmp_path):
    shutil.copytree(home / "tiny", tmp_path / "tiny")
    written = {key: Run(tmp_path / "tiny/runs" / key).config for key in events[-1].result["runs"]}
    less = {**SIZES, "train_lora": {**SIZES["train_lora"], "seed": 7}}
    asked = dict(values, arms=["sd_img2img"], settings=less, run_key="other")
    *_, finished = RUN_EXPERIMENT.run(asked, [], "tiny", tmp_path)
    kept = ("load", "clf_original")
    assert [key for key in finished.result["runs"] if key in written] == list(kept)
    assert {"lora_2", "balancing_2", "evaluation_2", "clf_sd_img2img_2"} <= set(finished.result["runs"])
    lineage = Run(tmp_path / "tiny/runs/balancing_2").environment["lineage"]
    assert lineage == {"lora": str(tmp_path / "tiny/runs/lora_2")}
    included = {r.path for r in Run(tmp_path / "tiny/runs/clf_sd_img2img_2").records if r.synthetic}
    assert included == {r.path for r in Run(tmp_path / "tiny/runs/balancing_2").products}
    assert {key: Run(tmp_path / "tiny/runs" / key).config for key in written} == written
    *_, again = RUN_EXPERIMENT.run({**asked, "run_key": "third"}, [], "tiny", tmp_path)
    assert again.result["runs"] == finished.result["runs"]


def test_what_further_folds_make_does_not_land(folded):
    result, events = folded
    assert result["runs"] == [e.run_key for e in events if isinstance(e, Ended)]
    assert not any(key.endswith("fold2") for key in result["runs"])
    assert result["further_runs"] == ["lora_fold2", "balancing_fold2", "clf_original_fold2", "clf_sd_fold2"]
    begun = [e for e in events if isinstance(e, Begun)]
    assert [e.number for e in begun] == list(range(1, begun[0].total + 1))
    assert not any("_fold2" in e.record.path for e in events if isinstance(e, Made))


def test_the_folds_are_told_as_one(folded):
    result, _ = folded
    assert {(row["arm"], row["fold"]) for row in result["rows"]} == {(a, f) for a in ("original", "sd") for f in (1, 2)}
    assert {claim["n"] for claim in result["claims"]} == {24}
    assert "on 24 val scans, each by what was trained, generators too, on the other 1 of 2 folds" in " ".join(
        result["table"]
    )


def test_the_arms_are_tested_on_another_set_without_the_scans_that_it_shares(values, home, folded, run_job, tmp_path):
    (tmp_path / "home").mkdir()
    shutil.copytree(home / "folds", tmp_path / "folds", ignore=lambda _, names: [n for n in names if n == "folds"])
    shutil.move(tmp_path / "folds", tmp_path / "home/folds")
    scans = Run(home / "folds/runs/load").products
    other = tmp_path / "other"
    copies = [r for r in scans if r.label == "benign"][:2]
    for n, record in enumerate(copies):
        (other / "Benign").mkdir(parents=True, exist_ok=True)
        shutil.copy(record.path, other / f"Benign/{n}.png")
    for label, seed in (("Benign", 1), ("malignant", 2), ("cyst", 3)):
        (other / label).mkdir(parents=True, exist_ok=True)
        for n in range(3):
            noise = np.random.default_rng([seed, n]).integers(0, 255, (8, 8), np.uint8)
            Image.fromarray(noise).resize((64, 64)).save(other / label / f"new {n}.png")
    loading = dict(layout="folder", source=str(other), dataset_name="other", run_key="load", on_error="skip")
    list(job("load_external").run(loading, [], "other", tmp_path / "home"))
    asked = dict(values, arms=["sd"], folds=2, dataset_name="folds", run_key="folds", external="other")
    asked["settings"] = {**SIZES, "load_busi": dict(images=24, image_size=64)}
    *_, finished = RUN_EXPERIMENT.run(asked, [], "folds", tmp_path / "home")
    table = "\n".join(finished.result["table"])
    assert "By the change of set the mean recall (balanced accuracy) of the original goes from" in table
    assert "On other:" in table and "Images that show a scan of folds too, left out: 2." in table
    assert "Images of other classes, left out: 3. It has no normal: the classifiers choose among the others" in table
    assert {claim["n"] for claim in finished.result["external_claims"]} == {6}
    assert {claim["trainings"] for claim in finished.result["external_claims"]} == {40}
    assert "external_clf_sd_fold2" in finished.result["further_runs"]
    tested = Run(tmp_path / "home/folds/runs/external_clf_sd").records
    assert not {Path(r.path).name for r in tested} & {"0.png", "1.png"}
    assert {r["metric"] for r in finished.result["rows"] if r["split"] == "other"} >= {"accuracy", "auc"}
    with (tmp_path / "home/folds/runs/folds/results.csv").open(newline="") as file:
        there = {row["arm"]: row for row in csv.DictReader(file) if row["table"] == "On other"}
    assert set(there) == {"original", "+ sd"} and all(
        float(row["AUC low"]) <= float(row["AUC"]) for row in there.values()
    )


def test_a_load_that_failed_takes_neither_name_nor_key(values, tmp_path):
    asked = dict(values, folds=15, run_key="first")
    with pytest.raises(UserError, match="too few for 15 folds"):
        list(RUN_EXPERIMENT.run(asked, [], "tiny", tmp_path))
    events = RUN_EXPERIMENT.run({**asked, "folds": 2}, [], "tiny", tmp_path)
    assert next(e for e in events if isinstance(e, Ended)).run_key == "load"
    events.close()


def test_an_external_set_that_there_is_not_is_told_before_anything_is_made(values, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        list(RUN_EXPERIMENT.run({**values, "external": "nowhere"}, [], "tiny", tmp_path))
    assert not (tmp_path / "tiny/runs/load").exists()


def test_a_done_experiment_yields_its_result_at_once(events, values, home):
    notice, finished = RUN_EXPERIMENT.run(values, [], "tiny", home)
    assert isinstance(notice, Notice)
    assert finished == events[-1]


def test_done_links_are_reused_by_another_experiment(events, values, home):
    begun = time.time()
    again = list(RUN_EXPERIMENT.run({**values, "run_key": "other"}, [], "tiny", home))
    assert again[-1].result["table"] == events[-1].result["table"]
    files = [home / "tiny/runs" / key / "result.json" for key in events[-1].result["runs"]]
    assert all(path.stat().st_mtime < begun for path in files)


def test_a_stop_reaches_the_link_that_is_worked_on_and_the_next_call_goes_on(events, values, home, tmp_path):
    shutil.copytree(home / "tiny", tmp_path / "tiny", ignore=shutil.ignore_patterns("demo", "clf_original"))
    begun = []
    for event in RUN_EXPERIMENT.run(values, [], "tiny", tmp_path):
        if isinstance(event, Begun):
            begun.append(event.run_key)
            if event.run_key == "clf_original":
                Run(tmp_path / "tiny/runs/demo").ask_to_stop()
        last = event
    assert last == Stopped("demo")
    assert begun[-1] == "clf_original" and len(begun) < len(events[-1].result["runs"])
    assert Run(tmp_path / "tiny/runs/demo").state == "stopped"
    assert Run(tmp_path / "tiny/runs/clf_original").state != "done"
    *_, last = RUN_EXPERIMENT.run(values, [], "tiny", tmp_path)
    assert isinstance(last, Finished)


def test_a_link_that_is_stopped_by_itself_stops_the_experiment(values, tmp_path):
    events = RUN_EXPERIMENT.run(values, [], "tiny", tmp_path)
    for event in events:
        if isinstance(event, Begun) and event.run_key == "lora":
            folder = tmp_path / "tiny/runs/lora"
            folder.mkdir(parents=True)
            Run(folder).ask_to_stop()
        last = event
    assert last == Stopped("demo")
    assert {Run(tmp_path / "tiny/runs" / key).state for key in ("demo", "lora")} == {"stopped"}


@pytest.mark.slow
def test_killed_at_any_instant_it_ends_in_the_same_table(events, values, tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from busaug_core.experiment.config import RUN_EXPERIMENT
import busaug_core.registry
list(RUN_EXPERIMENT.run({values!r}, [], "tiny", Path({str(tmp_path)!r})))
"""
    # Sums over other numbers of threads round otherwise.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    for attempt in range(40):
        worker = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
        try:
            worker.wait(timeout=15 + 3.7 * attempt % 17)
            break
        except subprocess.TimeoutExpired:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
    assert worker.returncode == 0
    assert attempt > 0
    assert Run(tmp_path / "tiny/runs/demo").result["table"] == events[-1].result["table"]
