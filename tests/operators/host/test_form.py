"""Forms are made from the jobs' configs."""

import fiftyone as fo
import pytest
from fiftyone.operators.executor import ValidationContext

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
    operator, ctx = context("generate", loaded, lora="/some/file.safetensors", amount="ratio", ratio=1.0)
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
    first, second = dataset.limit(2)
    first.ground_truth.label = "cyst"
    first.save()
    second.ground_truth = None
    second.save()
    for name in ("train_lora", "train_textual_inversion", "generate"):
        operator, ctx = context(name, dataset)
        assert set(properties(operator, ctx)["prompts"].type.properties) == {"benign", "cyst", "malignant", "normal"}
    operator, ctx = context("train_lora", loaded)
    assert "prompts" not in properties(operator, ctx)
    operator, ctx = context("generate", dataset, amount="counts")
    assert "cyst" in properties(operator, ctx)["counts"].type.properties
    fo.delete_dataset("odd")
