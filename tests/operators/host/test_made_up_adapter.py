"""A made-up adapter and its variant are offered, described and coloured without a word of them in this layer."""

import fiftyone as fo
import pytest

from busaug_core.base.components import COMPONENTS, Component, register
from busaug_core.generate.recipes import RECIPES, Recipe
from busaug_core.jobs.lineage import Product


class Shift(Component):
    """Something that can be put on a base."""

    def attach(self, pipe, path):
        """Never called here."""


@pytest.fixture
def shift():
    product = Product("pytorch_lora_weights.safetensors", job="train_lora")
    words = dict(title="Shift", called="a shift", description="Shift of the variant shifted.")
    register(Shift(field="shift", product=product, **words))
    RECIPES["shifted"] = Recipe(frozenset({"shift"}), title="shifted", color="#123456")
    yield
    del COMPONENTS["shift"], RECIPES["shifted"]


def test_the_form_offers_its_field_with_the_runs_that_make_it_and_its_variant(shift, context, loaded, lora):
    operator, ctx = context("generate", loaded, all_settings=True)
    properties = operator.resolve_input(ctx).type.properties
    assert properties["shift"].to_json()["view"]["description"].startswith("Shift of the variant shifted.")
    assert lora["run_key"] in [choice.value for choice in properties["shift"].view.choices]
    assert "shifted" in [choice.value for choice in properties["variants"].view.choices]


def test_a_dataset_describes_and_colours_it(shift, call):
    call("load_busi", dataset_name="shifted", run_key="load", images=12, image_size=64)
    dataset = fo.load_dataset("shifted")
    assert dataset.get_field("synthesis.shift").description == "What was named as a shift"
    colours = next(f for f in dataset.app_config.color_scheme.fields if f["path"] == "variant")["valueColors"]
    assert {"value": "shifted", "color": "#123456"} in colours
    dataset.delete()
