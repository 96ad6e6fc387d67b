"""Saved views, indexes, colours and similarity, which come and go with what they show."""

import fiftyone as fo
import pytest

from operators import results
from operators.host.appearance import CLASS_COLORS, ORIGIN_COLORS, tidy
from operators.results.views import BESIDE, SIDE_BY_SIDE, refresh


@pytest.fixture
def dataset(synthetic):
    """A dataset with images of two variants and two runs that no job has measured."""
    dataset = synthetic.clone("viewed_in_app")
    refresh(dataset, "ground_truth")
    yield dataset
    dataset.delete()


def test_only_views_that_show_something_are_saved(dataset):
    views = set(dataset.list_saved_views())
    assert {"train", "validation", "synthetic by variant", SIDE_BY_SIDE, BESIDE} <= views
    assert not {"test", "axilla", "annotated", "rejected"} & views
    assert all(len(dataset.load_saved_view(name)) for name in views)


@pytest.mark.parametrize("tag", ["axilla", "annotated", "rejected"])
def test_a_view_comes_with_its_tag_and_goes_with_it(dataset, tag):
    chosen = dataset.limit(2)
    chosen.tag_samples(tag)
    refresh(dataset, "ground_truth")
    assert len(dataset.load_saved_view(tag)) == 2
    chosen.untag_samples(tag)
    refresh(dataset, "ground_truth")
    assert not dataset.has_saved_view(tag)


@pytest.mark.parametrize("name", ["rejected", "Rejected"])
def test_a_view_of_the_users_own_under_such_a_name_is_left_alone(dataset, name):
    dataset.save_view(name, dataset.limit(1), description="Mine")
    refresh(dataset, "ground_truth")
    assert len(dataset.load_saved_view(name)) == 1
    dataset.match_tags("val").tag_samples("rejected")
    refresh(dataset, "ground_truth")
    assert len(dataset.load_saved_view(name)) == 1


def test_a_view_that_the_user_has_deleted_does_not_come_back(dataset):
    dataset.delete_saved_view("train")
    refresh(dataset, "ground_truth")
    assert not dataset.has_saved_view("train")


def test_tags_of_the_users_own_without_our_fields_are_no_trouble(dataset):
    plain = fo.Dataset("tagged_by_hand")
    plain.add_sample(fo.Sample("/none.png", tags=["duplicate", "annotated", "label_conflict"]))
    refresh(plain, "ground_truth")
    assert plain.list_saved_views() == []
    plain.delete()


def test_runs_whose_keys_differ_by_a_sign_alone_are_no_trouble(dataset):
    dataset.limit(1).set_values("synthesis", [fo.DynamicEmbeddedDocument(run="Balancing")])
    refresh(dataset, "ground_truth")
    assert dataset.has_saved_view("images of balancing")


def test_variants_of_one_seed_are_leafed_through_in_one_group(dataset):
    view = dataset.load_saved_view(SIDE_BY_SIDE)
    assert view._is_dynamic_groups
    group = next(iter(view.iter_dynamic_groups()))
    assert group.values("variant") == ["sd", "sd_ti_img2img"]
    assert len(set(group.values("synthesis.seed"))) == 1
    assert len(view) == len(set(dataset.exists("pair").values("pair")))


def test_validation_stands_beside_the_sets_made_to_be_measured_by_it(dataset):
    view = dataset.load_saved_view(BESIDE)
    labels = view.values("ground_truth.label")
    assert labels == sorted(labels)
    assert set(view.values("variant")) == {"simulated", "sd", "sd_ti_img2img"}
    assert view.match({"origin": "synthetic"}).match_tags("evaluation", bool=False).count() == 0


def test_each_runs_images_are_a_view_until_they_are_gone(dataset):
    assert set(dataset.load_saved_view("images of balancing").values("synthesis.run")) == {"balancing"}
    dataset.delete_samples(dataset.match({"synthesis.run": "balancing"}))
    refresh(dataset, "ground_truth")
    assert not dataset.has_saved_view("images of balancing")
    assert dataset.has_saved_view("images of evaluation")


def test_what_has_values_is_indexed_and_nothing_else(scans):
    refresh(scans, "ground_truth")
    assert {"ground_truth.label", "origin", "variant"} <= set(scans.list_indexes())
    assert not {"scores.realism", "distance.value", "pair"} & set(scans.list_indexes())
    first = scans.first()
    first["scores"] = fo.DynamicEmbeddedDocument(realism=0.5)
    first.save()
    refresh(scans, "ground_truth")
    assert "scores.realism" in scans.list_indexes()
    scans.clear_sample_field("scores")
    refresh(scans, "ground_truth")
    assert "scores.realism" not in scans.list_indexes()


def test_samples_without_any_of_our_fields_are_no_trouble():
    dataset = fo.Dataset("plain_samples")
    dataset.add_sample(fo.Sample("/none.png"))
    refresh(dataset, "ground_truth")
    assert dataset.list_saved_views() == []
    dataset.delete()


def test_a_run_that_was_made_elsewhere_gets_its_view_and_one_taken_back_loses_it(scans, run_core, small):
    config = dict(variants=["base"], counts={"benign": 1}, steps=2, **small)
    run = run_core("generate", scans, "elsewhere", **config)
    results.write(scans, run)
    assert len(scans.load_saved_view("images of elsewhere")) == 1
    results.remove(scans, run)
    assert not scans.has_saved_view("images of elsewhere")


def test_predictions_are_coloured_as_the_classes_are(dataset):
    tidy(dataset)
    dataset.add_sample_field("predictions_a", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    tidy(dataset)
    colors = {entry["path"]: entry.get("valueColors") for entry in dataset.app_config.color_scheme.fields}
    assert colors["predictions_a"] == colors["ground_truth"]
    assert {c["value"]: c["color"] for c in colors["predictions_a"]} == CLASS_COLORS
    dataset.delete_sample_field("predictions_a")
    tidy(dataset)
    assert "predictions_a" not in [entry["path"] for entry in dataset.app_config.color_scheme.fields]


def test_no_two_variants_look_alike():
    import itertools

    from skimage.color import rgb2lab

    from busaug_core.generate.recipes import RECIPES

    colors = {**ORIGIN_COLORS, **{slug: recipe.color for slug, recipe in RECIPES.items()}}
    lab = {n: rgb2lab([[[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)]]])[0, 0] for n, c in colors.items()}
    for one, other in itertools.combinations(lab, 2):
        assert sum((lab[one] - lab[other]) ** 2) ** 0.5 > 25, (one, other)
    assert sum((lab["simulated"] - lab["sd"]) ** 2) ** 0.5 > 60


def test_similar_samples_are_found_by_the_features(scans, classifier, run_core):
    run = run_core("compute_embeddings", scans, "features", extractor=classifier["folder"])
    results.write(scans, run)
    query = scans.first()
    found = scans.sort_by_similarity(query.id, k=3, brain_key="similar_loaded_clf")
    assert found.first().id == query.id
    assert len(found) == 3
    results.remove(scans, run)
    assert scans.list_brain_runs() == []
