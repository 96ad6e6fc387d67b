"""What the three papers did runs from loading to the report, here at sizes at which nothing is learned."""

import pytest

from busaug_core.experiment.config import RUN_EXPERIMENT, RunExperiment
from busaug_core.jobs.run import Run

TRAINED = dict(steps=2, batch_size=2, resolution=64, membership=False)
TOY = {
    "load_busi": dict(images=24, image_size=64),
    "train_lora": TRAINED,
    "train_textual_inversion": TRAINED,
    "finetune_unet": TRAINED,
    "train_controlnet": TRAINED,
    "generate": dict(steps=4, batch_size=8, resolution=64),
    "train_classifier": dict(epochs=1, batch_size=8, resolution=32),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "arch", "variants"),
    [
        ("hybrid", "resnet18", {"sd", "sd_img2img", "sd_ti", "sd_ti_img2img"}),
        ("meddap", "densenet121", {"sd", "sd_adj", "sd_adj_dark"}),
        ("controlnet-paper", "resnet50", {"ft", "ft_mask"}),
    ],
)
def test_a_papers_preset_runs_to_its_report(preset, arch, variants, tmp_path):
    used = RunExperiment.presets[preset]["settings"].keys() | {"load_busi"}
    settings = {name: values for name, values in TOY.items() if name in used or name.startswith("train_text")}
    folds = {}
    if preset == "meddap":
        folds = dict(folds=2, candidates=["sd@50%", "sd_adj_dark@50%", "sd_adj_dark@100%"])
        settings["load_busi"] = dict(images=72, image_size=64)
    values = dict(preset=preset, base_model="mini", seeds=2, dataset_name="toy", run_key="paper", settings=settings)
    *_, finished = RUN_EXPERIMENT.run({**values, **folds}, [], "toy", tmp_path)
    runs = {key: Run(tmp_path / "toy/runs" / key) for key in finished.result["runs"]}
    measured = [r.variant for key, run in runs.items() if key.startswith("evaluation") for r in run.products]
    assert set(measured) == {*variants, "base"}
    assert {run.result["arch"] for run in runs.values() if run.job == "train_classifier"} == {arch}
    assert len([key for key in finished.result["further_runs"] if key.startswith("probe_")]) == (
        6 if preset == "meddap" else 0
    )
    arms = RunExperiment.presets[preset]["arms"]
    assert {claim["arm"] for claim in finished.result["claims"]} == set(arms)
    page = (tmp_path / "toy/runs/paper/report.html").read_text(encoding="utf-8")
    assert len(page) > 10_000 and ('alt="masks"' in page) == ("ft_mask" in variants)
