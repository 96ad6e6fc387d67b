"""Settings of an experiment: what is wrong is told at once, and arms are read from their names."""

import re
from pathlib import Path

import pytest

from busaug_core.classify.config import TRAIN_CLASSIFIER
from busaug_core.errors import UserError
from busaug_core.experiment.config import RunExperiment
from busaug_core.experiment.plan import planned
from busaug_core.train.config import TRAIN_LORA

WORDS = (
    "colorful",
    "stylized",
    "high_contrast",
    "low_contrast",
    "posterized",
    "sheared",
    "solarized",
    "bright",
    "dark",
)


def test_presets_of_the_demo_are_presets_of_the_experiment():
    assert RunExperiment.presets.keys() >= {"demo", "minute"}


def test_what_is_wrong_with_the_settings_of_a_late_job_is_told_at_once():
    with pytest.raises(UserError, match="train_classifier: a probe has no epochs"):
        RunExperiment.parse(dict(settings={"train_classifier": dict(epochs=3)}))
    with pytest.raises(UserError, match="steps of generate: Input should be greater than or equal to 1"):
        RunExperiment.parse(dict(settings={"generate": dict(steps=0)}))
    with pytest.raises(UserError, match="stpes of train_lora: is not a field of this job"):
        RunExperiment.parse(dict(settings={"train_lora": dict(stpes=3)}))
    for values in (dict(arch="resnet18", epochs=3), dict(preset="hybrid"), dict(resamples=5), dict(extractor="clip")):
        RunExperiment.parse(dict(settings={"train_classifier": values}))


def test_settings_are_checked_and_take_the_presets_place_field_by_field():
    config = RunExperiment.parse(dict(preset="minute", settings={"generate": dict(steps=9)}))
    assert config.settings["generate"] == dict(steps=9, batch_size=16, resolution=64)
    assert config.settings["train_lora"]["steps"] == 4
    with pytest.raises(UserError, match="no job 'train_lroa' in the chain"):
        RunExperiment.parse(dict(settings={"train_lroa": {}}))
    with pytest.raises(UserError, match="include of train_classifier are set by the experiment"):
        RunExperiment.parse(dict(settings={"train_classifier": dict(include=["sd"])}))
    with pytest.raises(UserError, match="datasets of train_lora: an experiment trains on the dataset that it makes"):
        RunExperiment.parse(dict(settings={"train_lora": dict(datasets=["busi"])}))


def test_an_arm_joins_variants_and_treatments():
    network = {"train_classifier": dict(arch="squeezenet1_1")}
    config = RunExperiment.parse(
        dict(arms=["trivial", "sd + trivial", "sd+base+confidence"], settings=network, seeds=3)
    )
    assert config.arms == ["trivial", "sd+trivial", "base+sd+confidence"]
    assert [arm.run_key for arm in config.compared] == ["clf_trivial", "clf_sd_trivial", "clf_base_sd_confidence"]
    assert config.compared[1].fields == {"augmentation": "trivial"} and config.compared[2].include == ("base", "sd")
    assert config.variants == ["sd", "base"] and config.trained == ["lora"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(arms=["sd+trivail"]), "there is no 'trivail'; an arm joins by . some of base, sd,"),
        (dict(arms=["sd+"]), "there is no ''"),
        (dict(arms=["sd", "filtered"]), "chooses among synthetic images and takes none"),
        (dict(arms=["sd@50%+filtered"]), "takes all that passes the filter"),
        (dict(arms=["sd@half"]), "behind a variant may stand a share above 0"),
        (dict(arms=["sd@0%"]), "behind a variant may stand a share above 0"),
        (dict(arms=["sd@0.001%"]), "with at most two decimals"),
        (dict(arms=["sd+confidence@50%"]), "behind a variant may stand a share above 0"),
        (dict(arms=["sd@50%+base"]), "in different shares; give all of them one"),
        (dict(arms=["sd@50%", "sd @ 50.0 %"]), "sd@50% is there twice"),
        (dict(settings={"train_classifier": dict(ratio=0.5)}), "ratio of train_classifier are set by"),
        (dict(arms=["sd+confidence", "confidence+sd"]), "sd.confidence is there twice"),
        (dict(arms=["sd", "best@50%"]), "best is chosen among arms that take one variant, or a share of it"),
        (dict(arms=["sd", "base", "best+sd"]), "so no other stands beside it"),
        (dict(arms=["best", "sd"], candidates=["sd+confidence"]), "'sd.confidence' is not one variant as it is"),
        (
            dict(arms=["best", "sd"], candidates=["sd@50%"]),
            "best is chosen among arms that take one variant, or a share of it",
        ),
        (dict(arms=["sd"], candidates=["sd", "base"]), "no arm takes it; name best in arms"),
        (dict(arms=["best+filtered", "sd", "base@50%"]), "best may be an arm with a share, such as base@50%"),
        (dict(arms=["sd+trivial"], networks=dict(arch="resnet18")), "differs by its synthetic images alone"),
        (dict(arms=["sd"], networks=dict(arch="probe")), "networks: probes are what the arms are already"),
        (dict(arms=["sd"], networks=dict(arch="resnet18", ratio=1)), "networks: ratio are set by the experiment"),
        (dict(arms=["sd"], networks=dict(epochs=3)), "networks: probes are what the arms are already; name a network"),
        (dict(arms=["sd"], networks=dict(arch="resnet18", epochs=0)), "networks: epochs: Input should be greater"),
        (dict(arms=["sd"], networks=dict(arch="resnet18", resamples=3)), "networks: resamples are of probes"),
        (dict(arms=["best", "sd"], candidates=["sd"]), "name two of these in candidates, such as sd@50% and"),
        (
            dict(arms=["sd"], networks=dict(arch="resnet18"), settings={"train_classifier": dict(arch="resnet34")}),
            "networks are beside probes; settings name a network",
        ),
        (dict(arms=["sd+alone"]), "takes no real images; say how many synthetic ones by a share"),
        (dict(arms=["sd@50%+alone+confidence"]), "confidence is judged by real training images"),
        (
            dict(arms=["sd"], heatmaps=True, settings={"train_classifier": dict(extractor="radiomics")}),
            "heatmaps: There are no heat maps of a probe on 'radiomics'",
        ),
        (dict(arms=["sd+sd"]), "names one of its parts twice"),
        (dict(arms=["sd+oversample+class_weights"]), "sets balance twice"),
        (dict(arms=["sd", "confidence"]), "chooses among synthetic images and takes none"),
        (dict(arms=["trivial"], settings={"train_classifier": dict(arch="resnet18")}), "must take synthetic images"),
        (dict(arms=["sd", "oversample"]), "arm 'oversample' is for networks; set arch of train_classifier in settings"),
        (dict(arms=["sd"], seeds=2), "seeds are of networks; set networks for some beside the probes"),
        (dict(external="busaug-demo"), "external is 'busaug-demo', the dataset that is made"),
        (dict(folds=3, settings={"load_busi": dict(split="70-30")}), "folds deal the scans out; leave split of load"),
        (dict(settings={"train_classifier": dict(weighting="confidence")}), "weighting of train_classifier are set by"),
        (
            dict(arms=["sd+trivial"], settings={"train_classifier": dict(arch="resnet18", augmentation="none")}),
            "arm 'sd.trivial' sets augmentation; leave that out of settings, or the arm",
        ),
    ],
)
def test_arms_that_cannot_be_are_told_at_once(values, message):
    with pytest.raises(UserError, match=message):
        RunExperiment.parse(values)
    assert any(re.search(message, text) for text in RunExperiment.find_problems(values).values())


def test_arms_of_probes_may_be_augmented_also_beside_confidence():
    config = RunExperiment.parse(dict(arms=["sd", "trivial", "sd+trivial+confidence"]))
    assert [arm.fields.get("augmentation") for arm in config.compared] == [None, "trivial", "trivial"]
    assert RunExperiment.parse(dict(preset="laptop")).arms[-2:] == ["trivial", "best+trivial"]
    flipped = {"train_classifier": dict(augmentation="flip")}
    RunExperiment.parse(dict(arms=["sd"], settings=flipped))
    with pytest.raises(UserError, match="arm 'trivial' sets augmentation; leave that out of settings, or the arm"):
        RunExperiment.parse(dict(arms=["sd", "trivial"], settings=flipped))


def test_only_what_the_arms_need_is_trained():
    assert RunExperiment.parse(dict(arms=["base"])).trained == []
    assert RunExperiment.parse(dict(arms=["sd_ti", "base"])).trained == ["lora", "token"]


@pytest.mark.parametrize("preset", ["hybrid", "meddap", "controlnet-paper"])
def test_what_the_papers_did_is_of_stable_diffusion_unless_another_base_is_named(preset):
    config = RunExperiment.parse(dict(preset=preset, source="/data/busi"))
    assert "stable-diffusion" in config.base_model and config.seeds == 3 and config.decoder == "base"
    assert RunExperiment.parse(dict(preset=preset, base_model="mini", seeds=1)).base_model == "mini"


def test_the_papers_settings_are_those_that_were_published():
    hybrid, meddap, controlnet = (
        RunExperiment.parse(dict(preset=name)) for name in ("hybrid", "meddap", "controlnet-paper")
    )
    assert hybrid.arms == ["sd", "sd_img2img", "sd_ti", "sd_ti_img2img"] and hybrid.folds is None
    network = TRAIN_CLASSIFIER.config_class().parse(hybrid.settings["train_classifier"]).resolve()
    told = (network.arch, network.learning_rate, network.batch_size, network.epochs, network.augmentation)
    assert told == ("resnet18", 1e-4, 16, 30, "flip")
    assert meddap.folds == 5 and {(a.include[0], a.ratio) for a in meddap.candidate_arms} == {
        (slug, share) for slug in ("sd", *(f"sd_adj_{word}" for word in WORDS)) for share in (0.5, 1, 2)
    }
    lora = TRAIN_LORA.config_class().parse(meddap.settings["train_lora"])
    # 100 epochs of four fifths of 759 scans, one a step
    assert (lora.rank, lora.layers, lora.steps, lora.batch_size) == (4, "cross_attention", 60_700, 1)
    network = TRAIN_CLASSIFIER.config_class().parse(meddap.settings["train_classifier"]).resolve()
    assert (network.arch, network.learning_rate, network.batch_size, network.epochs) == ("densenet121", 1e-3, 32, 100)
    assert controlnet.trained == ["unet", "controlnet"]
    assert [arm.name for arm in controlnet.compared if arm.fields.get("synthetic_only")] == ["ft_mask@100%+alone"]


def test_a_tuned_decoder_is_trained_first_where_it_is_asked_for():
    assert RunExperiment.parse(dict(arms=["sd"], decoder="tuned")).trained == ["vae", "lora"]
    assert RunExperiment.parse(dict(arms=["sd"])).trained == ["lora"]
    with pytest.raises(UserError, match="serves variants that put something on the base"):
        RunExperiment.parse(dict(arms=["base"], decoder="tuned"))


def test_what_a_preset_has_beside_its_arms_goes_where_it_does_not_fit_what_is_asked_for():
    laptop = RunExperiment.parse(dict(preset="laptop"))
    assert laptop.networks["arch"] == "efficientnet_lite0" and laptop.seeds == 3 and laptop.learning_curve
    sampled = {generation.variants[-1]: generation for generation in laptop.generations(Path("runs"))}
    assert {slug: (made.steps, made.spacing) for slug, made in sampled.items()} == dict(base=(10, 1), ft_mask=(13, 1.5))
    of_networks = dict(settings={"train_classifier": dict(arch="resnet18")}, arms=["sd"])
    config = RunExperiment.parse(dict(preset="laptop", **of_networks))
    assert config.networks is None and config.learning_curve is None and config.seeds == 3
    for given in (dict(networks={}), dict(arms=["sd+trivial"])):
        config = RunExperiment.parse(dict(preset="laptop", **given))
        assert not config.networks and config.seeds == 1 and config.learning_curve
    assert RunExperiment.parse(dict(preset="meddap", arms=["sd_adj@100%"])).candidates is None


def test_a_plan_makes_the_bests_images_only_where_no_candidate_has_a_share():
    counts = [
        planned(RunExperiment.parse(dict(arms=["best@50%"], candidates=candidates)))["generate"]
        for candidates in (["sd@50%", "base@100%"], ["sd", "base"])
    ]
    assert counts == [3, 3]  # two shares, or one set that fills up and the best's share; and the evaluation set
