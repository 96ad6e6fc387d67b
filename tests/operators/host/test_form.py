"""Forms are made from the jobs' configs."""

import re

import fiftyone as fo
import pytest
from fiftyone.operators.executor import ValidationContext

from busaug_core.features.extractors import INCEPTION_FILE
from busaug_core.jobs.runs import runs_folder


def properties(operator, ctx):
    return operator.resolve_type(ctx, "inputs").type.properties


def problems(operator, ctx):
    found = ValidationContext(ctx, operator.resolve_input(ctx), operator)
    return [(e.path, e.reason) for e in found.errors]


def test_fields_carry_bounds_defaults_and_help_of_the_config(context, loaded):
    operator, ctx = context("train_lora", loaded, all_settings=True)
    form = properties(operator, ctx)
    assert (form["rank"].type.min, form["rank"].type.max) == (1, 320)
    assert not form["rank"].required
    assert form["seed"].default == 51
    assert "Rank of the update" in form["rank"].view.description
    assert form["layers"].type.values == ["attention", "cross_attention", "wide", ""]
    assert set(form["prompts"].type.properties) == {"benign", "malignant", "normal"}


def test_further_fields_show_only_on_demand(context, loaded):
    operator, ctx = context("train_lora", loaded)
    assert "learning_rate" not in properties(operator, ctx)
    operator, ctx = context("train_lora", loaded, all_settings=True)
    assert "learning_rate" in properties(operator, ctx)


@pytest.mark.parametrize(
    "name", ["train_textual_inversion", "generate", "compute_fid", "train_classifier", "run_experiment"]
)
def test_every_field_of_a_config_is_in_its_form(context, loaded, name):
    operator, ctx = context(name, loaded, all_settings=True)
    hidden = set(operator.hidden_fields(ctx.params))
    assert set(properties(operator, ctx)) >= set(operator.config_class.model_fields) - hidden


def test_a_wrong_value_is_marked_at_its_field(context, loaded):
    operator, ctx = context("train_lora", loaded, steps=0)
    (problem,) = problems(operator, ctx)
    assert problem[0].endswith("steps")
    assert "greater than or equal to 1" in problem[1]


def test_a_wrong_value_that_is_not_shown_is_told_as_well(context, loaded):
    operator, ctx = context("train_lora", loaded, learning_rate=7.0)
    (problem,) = problems(operator, ctx)
    assert "learning_rate" in problem[1]


def test_empty_entries_leave_a_field_to_its_default(context, loaded):
    operator, ctx = context("train_lora", loaded, steps=None, preset="", run_key="", seed=None)
    assert problems(operator, ctx) == []


def test_a_dictionary_of_any_keys_is_taken_as_json(context, loaded):
    settings = '{"generate": {"steps": 4}, "train_classifier": {"resamples": 5}}'
    typed = dict(settings=settings, networks='{"arch": "resnet18"}', seeds=2, learning_curve="yes")
    operator, ctx = context("run_experiment", loaded, form=True, all_settings=True, **typed)
    values = operator.read_form(ctx.params)
    assert values["settings"] == {"generate": {"steps": 4}, "train_classifier": {"resamples": 5}}
    assert values["networks"] == {"arch": "resnet18"}
    assert operator.config_class.parse(values).learning_curve is True
    assert problems(operator, ctx) == []
    shown = properties(operator, ctx)
    assert shown["learning_curve"].type.values == ["yes", "no", ""]
    wrong = dict(form=True, all_settings=True, settings="{'generate': 1}")
    operator, ctx = context("run_experiment", loaded, **wrong)
    ((path, told),) = problems(operator, ctx)
    assert path == ".settings" and "is not JSON" in told and '{"train_lora": {"steps": 100}}' in told
    # A call, and what is queued, has the dictionary itself.
    operator, ctx = context("run_experiment", loaded, all_settings=True, settings={"generate": {"steps": 4}})
    assert problems(operator, ctx) == []


def test_the_form_of_load_busi_needs_no_dataset(context):
    operator, ctx = context("load_busi")
    assert {"source", "dataset_name", "split"} <= set(properties(operator, ctx))
    assert problems(operator, ctx) == []


def test_generate_shows_the_one_amount_that_is_chosen(context, loaded):
    operator, ctx = context("generate", loaded, amount="counts")
    shown = properties(operator, ctx)
    assert "counts" in shown
    assert not {"balance_to", "ratio"} & set(shown)
    assert set(shown["counts"].type.properties) == {"benign", "malignant", "normal"}


def test_generate_ignores_the_amounts_of_the_form_that_are_hidden(context, loaded):
    params = dict(amount="ratio", ratio=0.5, balance_to=9, counts={"benign": 1}, variants=["base"], all_settings=False)
    operator, ctx = context("generate", loaded, form=True, **params)
    assert operator.read_values(ctx) == {"ratio": 0.5, "variants": ["base"]}


def test_a_call_gets_what_it_names_whatever_a_form_would_hide(context, loaded):
    values = dict(mode="evaluation", counts={"benign": 1}, variants=["base"])
    operator, ctx = context("generate", loaded, **values)
    assert operator.read_values(ctx) == values
    operator, ctx = context("generate", loaded, form=True, **values)
    assert operator.read_values(ctx) == {"mode": "evaluation", "variants": ["base"]}


def test_every_form_says_that_it_is_one(context, loaded):
    for name in ("load_busi", "audit", "generate"):
        operator, ctx = context(name, loaded)
        assert properties(operator, ctx)["form"].default is True


def test_runs_are_offered_by_what_a_field_says_it_names(context, loaded, classifier, lora):
    operator, ctx = context("compute_fid", loaded, all_settings=True)
    offered = [choice.value for choice in properties(operator, ctx)["extractor"].view.choices]
    assert offered[:2] == ["efficientnet_lite0", "inception"]
    assert "clf" in offered
    operator, ctx = context("train_textual_inversion", loaded, all_settings=True)
    field = properties(operator, ctx)["lora"]
    assert [choice.value for choice in field.view.choices] == ["lora"]
    assert field.default is None
    operator, ctx = context("apply_classifier", loaded)
    assert properties(operator, ctx)["classifier"].default is not None


def test_run_keys_are_suggested_and_free_text_is_allowed(context, loaded, lora):
    operator, ctx = context("generate", loaded)
    field = properties(operator, ctx)["lora"]
    assert "lora" in [choice.value for choice in field.view.choices]
    assert field.default == "lora"
    operator, ctx = context("generate", loaded, lora=lora["weights"], amount="ratio", ratio=1.0)
    assert problems(operator, ctx) == []


def test_the_form_of_generate_proposes_a_seed_that_no_run_has_used(context, call, small):
    def proposed():
        operator, ctx = context("generate", dataset)
        return properties(operator, ctx)["seed"].default

    call("load_busi", dataset_name="seeds", images=12, image_size=64)
    dataset = fo.load_dataset("seeds")
    assert proposed() == 51
    operator, ctx = context("generate", dataset, variants=["base"], counts={"benign": 2}, steps=2, seed=70, **small)
    events = operator.execute(ctx)
    while not list(runs_folder("seeds").glob("generate_*/images")):
        next(events)
    events.close()  # a stopped run has used its seed too
    assert proposed() == 71


def test_further_classes_of_a_dataset_get_a_prompt_and_samples_without_one_break_no_form(context, loaded):
    dataset = loaded.match_tags("train").limit(3).clone("odd")
    first, second, third = dataset
    first.ground_truth.label = "cyst"
    first.save()
    second.ground_truth = None
    second.save()
    for name in ("train_lora", "train_textual_inversion", "generate"):
        operator, ctx = context(name, dataset)
        assert set(properties(operator, ctx)["prompts"].type.properties) == {"cyst", third.ground_truth.label}
    operator, ctx = context("train_lora", loaded)
    assert "prompts" not in properties(operator, ctx)
    operator, ctx = context("generate", dataset, amount="counts")
    assert "cyst" in properties(operator, ctx)["counts"].type.properties
    fo.delete_dataset("odd")


def remarks(operator, ctx):
    return [p.view.label for name, p in properties(operator, ctx).items() if name.startswith("remark")]


@pytest.mark.parametrize(
    ("name", "amount"), [("generate", dict(amount="ratio", ratio=1.0)), ("train_textual_inversion", {})]
)
def test_a_product_that_is_not_there_is_marked_at_its_field(context, loaded, name, amount):
    operator, ctx = context(name, loaded, lora="nope", form=True, **amount)
    ((path, reason),) = problems(operator, ctx)
    assert path.endswith("lora")
    assert "'nope' is neither a run of this dataset, nor a file" in reason


def test_what_a_field_is_when_left_open_is_told(context, loaded, small):
    def described(**params):
        operator, ctx = context("train_lora", loaded, all_settings=True, **params)
        return {name: prop.view.description for name, prop in properties(operator, ctx).items()}

    assert "(empty: 600, the base's own)" in described()["steps"]
    assert "(empty: wide, the base's own)" in described()["layers"]
    assert "(empty: 0.001, the base's own)" in described()["learning_rate"]
    other = described(base_model="stable-diffusion-v1-5/stable-diffusion-v1-5")
    assert "(empty: 3000, the base's own)" in other["steps"]
    assert "(empty: 512" in other["resolution"]
    preset = described(preset="demo", rank=0)
    assert "(empty: 100, by the preset)" in preset["steps"]
    operator, ctx = context("train_classifier", loaded)
    assert "(empty: resnet18)" in properties(operator, ctx)["arch"].view.description


def test_the_form_of_a_classifier_shows_what_its_kind_has_and_reads_nothing_else(context, loaded, classifier):
    def form(**params):
        operator, ctx = context("train_classifier", loaded, form=True, all_settings=True, **params)
        return operator, ctx, properties(operator, ctx)

    operator, ctx, shown = form(
        arch="probe", preset="hybrid", epochs=3, pretrained=True, balance="oversample", resamples=5
    )
    assert {"extractor", "resamples", "resolution", "augmentation"} <= set(shown)
    assert not {"preset", "epochs", "batch_size", "learning_rate", "pretrained", "balance"} & set(shown)
    assert operator.read_values(ctx) == {"arch": "probe", "resamples": 5}
    assert problems(operator, ctx) == []
    assert "(empty: efficientnet_lite0)" in shown["extractor"].view.description
    assert "clf" in [c.value for c in shown["extractor"].view.choices]
    assert remarks(operator, ctx) == []
    operator, ctx, _ = form(arch="probe", extractor="dinov3")
    assert remarks(operator, ctx)[0].startswith("There is no extractor 'dinov3'")
    operator, ctx, shown = form(preset="hybrid", extractor="dinov2", resamples=5)
    assert {"preset", "epochs", "batch_size", "learning_rate", "pretrained", "augmentation", "balance"} <= set(shown)
    assert not {"extractor", "resamples"} & set(shown)
    assert operator.read_values(ctx) == {"preset": "hybrid"}
    assert "(empty: 224, by the preset)" in shown["resolution"].view.description


def test_a_probe_is_offered_as_a_classifier_but_not_for_its_features(context, call, loaded, classifier):
    call("train_classifier", loaded, arch="probe", run_key="probe")
    operator, ctx = context("score_synthetic", loaded, all_settings=True)
    form = properties(operator, ctx)
    assert "probe" in [c.value for c in form["classifier"].view.choices]
    offered = [c.value for c in form["extractor"].view.choices]
    assert "clf" in offered and "probe" not in offered


def test_a_chosen_product_is_told_by_steps_loss_and_date(context, loaded, lora, classifier):
    operator, ctx = context("generate", loaded)
    field = properties(operator, ctx)["lora"]
    (choice,) = [c for c in field.view.choices if c.value == "lora"]
    assert choice.description.startswith(f"steps 2, loss {lora['loss']:.3g}, ")
    assert f"lora: {choice.description}." in field.view.description
    operator, ctx = context("apply_classifier", loaded, classifier="clf")
    assert "clf: epochs 1, accuracy " in properties(operator, ctx)["classifier"].view.description


def test_the_extractor_is_one_that_works_here_and_the_form_says_so(context, loaded, classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    operator, ctx = context("compute_fid", loaded)
    assert properties(operator, ctx)["extractor"].default == "efficientnet_lite0"
    assert remarks(operator, ctx) == ["Measured in the features of efficientnet_lite0"]
    operator, ctx = context("compute_fid", loaded, extractor="inception")
    assert remarks(operator, ctx) == ["The Inception weights are not here"]
    operator, ctx = context("compute_fid", loaded, extractor="incepton")
    assert remarks(operator, ctx)[0].startswith("There is no extractor 'incepton'")
    weights = tmp_path / "hub/checkpoints" / INCEPTION_FILE
    weights.parent.mkdir(parents=True)
    weights.touch()
    operator, ctx = context("compute_fid", loaded)
    assert properties(operator, ctx)["extractor"].default == "inception"
    assert remarks(operator, ctx) == []


def test_generate_says_how_many_images_it_will_make_of_the_samples_at_hand(context, loaded, small, lora):
    values = dict(form=True, variants=["sd", "sd_img2img"], **small)
    counts = loaded.match_tags("train").count_values("ground_truth.label")
    operator, ctx = context("generate", loaded, amount="balance_to", balance_to=max(counts.values()), **values)
    missing = {label: max(counts.values()) - n for label, n in sorted(counts.items())}
    told = ", ".join(f"{n} {label}" for label, n in missing.items())
    assert remarks(operator, ctx) == [f"Will make {2 * sum(missing.values())} images: {told}, of each of 2 variants"]
    operator, ctx = context("generate", loaded, amount="balance_to", balance_to=107, **values)
    ctx.request_params.update(view=loaded.match_tags("train").limit(1)._serialize())
    ctx.params["view_target"] = "CURRENT_VIEW"
    assert remarks(operator, ctx) == ["Will make 212 images: 106 benign, of each of 2 variants"]
    operator, ctx = context("generate", loaded, amount="balance_to", balance_to=1, **values)
    assert remarks(operator, ctx) == ["Nothing to generate: every class has 1 image already."]


def test_the_time_that_a_generation_takes_is_told_by_the_runs_before(context, call, loaded, small, lora):
    params = dict(form=True, variants=["base"], amount="counts", counts={"benign": 600}, **small)
    operator, ctx = context("generate", loaded, **params)
    (view,) = [p.view for n, p in properties(operator, ctx).items() if n.startswith("remark")]
    assert re.fullmatch(r"About [\d.]+ (seconds|minutes|hours), by the runs before.", view.description)
    operator, ctx = context("generate", loaded, **{**params, "resolution": 96})
    (view,) = [p.view for n, p in properties(operator, ctx).items() if n.startswith("remark")]
    assert view.description == "No run on this base tells yet how long that takes."


@pytest.mark.parametrize("name", ["train_lora", "train_textual_inversion", "train_classifier"])
def test_training_on_few_images_is_warned_of(context, loaded, name):
    operator, ctx = context(name, loaded)
    assert remarks(operator, ctx) == []
    operator, ctx = context(name, loaded)
    one = loaded.match_tags("train").match({"ground_truth.label": "benign"}).limit(1)
    ctx.request_params.update(view=one._serialize())
    ctx.params["view_target"] = "CURRENT_VIEW"
    assert remarks(operator, ctx) == ["Few images to train on: 1 benign"]


def test_a_log_that_a_kill_has_cut_tells_what_is_left_of_it(context, call, loaded, small, lora):
    log = runs_folder("loaded") / "lora" / "events.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"time": 1, "eve\n')
    operator, ctx = context(
        "generate", loaded, form=True, variants=["base"], counts={"benign": 1}, amount="counts", **small
    )
    assert remarks(operator, ctx)[0].startswith("Will make 1 image:")
    log.write_text(whole)
