"""Datasets that others have made: what a job adds to them, where their classes lie, what the App shows of them."""

import shutil

import fiftyone as fo
import pytest

from busaug_core.errors import UserError
from operators.host.samples import read_samples
from operators.host.suggestions import prompts_for

OURS = {"origin", "variant", "duplicate_group", "split_group", "annotation_score"}


@pytest.fixture
def foreign(loaded, tmp_path):
    """A function that makes a dataset of copies of the loaded scans, with classes and tags as their author likes."""
    made = []

    def foreign(name, n=30, field="diagnosis", as_string=False, spell=str):
        dataset = fo.Dataset(name, persistent=True)
        made.append(dataset)
        samples = []
        for i, sample in enumerate(loaded.match({"origin": "simulated"}).limit(n)):
            path = shutil.copy(sample.filepath, tmp_path / f"{name}_{i}.png")
            split = [tag for tag in sample.tags if tag in ("train", "val")]
            samples.append(fo.Sample(filepath=path, tags=split))
            if field:
                label = spell(sample.ground_truth.label)
                samples[-1][field] = label if as_string else fo.Classification(label=label)
        dataset.add_samples(samples)
        return dataset

    yield foreign
    for dataset in made:
        dataset.delete()


def test_an_audit_of_plain_images_adds_what_it_writes_and_no_more(call, foreign):
    dataset = foreign("plain", n=3, field=None)
    before = set(dataset.get_field_schema())
    call("audit", dataset, run_key="audit")
    assert set(dataset.get_field_schema()) - before == OURS
    assert dataset.values("origin") == dataset.values("variant") == ["real"] * 3
    call("manage_runs", dataset, action="delete", run_key="audit")
    assert set(dataset.get_field_schema()) == before


def test_what_is_filled_in_stays_while_any_run_is_left(call, foreign):
    dataset = foreign("left", n=3, field=None)
    for key in ("first", "second"):
        call("audit", dataset, run_key=key)
    call("manage_runs", dataset, action="delete", run_key="first")
    assert dataset.values("variant") == ["real"] * 3
    call("manage_runs", dataset, action="delete", run_key="second")
    assert dataset.get_field("variant") is None and dataset.get_field("origin") is None


def test_samples_that_join_later_are_filled_in_by_the_next_run(call, foreign, loaded, tmp_path):
    dataset = foreign("later", n=3, field=None)
    call("audit", dataset)
    dataset.add_sample(fo.Sample(filepath=shutil.copy(loaded.first().filepath, tmp_path / "new.png")))
    call("audit", dataset)
    assert dataset.values("origin") == ["real"] * 4


def test_fields_of_the_users_own_that_hold_other_words_are_left_as_they_are(call, foreign):
    dataset = foreign("hospitals", n=3, field=None)
    dataset.add_sample_field("origin", fo.StringField)
    dataset.set_values("origin", ["Cairo", None, "Leiria"])
    call("audit", dataset)
    assert dataset.values("origin") == ["Cairo", None, "Leiria"]
    assert dataset.values("variant") == ["real"] * 3
    assert {r.origin for r in read_samples(dataset)} == {"real"}


def test_the_app_is_tidied_at_the_first_write(call, foreign):
    dataset = foreign("tidied", field="ground_truth")
    assert dataset.app_config.color_scheme is None and "variant" not in dataset.get_field_schema()
    call("audit", dataset)
    colours = {field["path"] for field in dataset.app_config.color_scheme.fields}
    assert {"ground_truth", "variant"} <= colours
    groups = {group.name: group.paths for group in dataset.app_config.sidebar_groups}
    assert groups["audit"] == ["duplicate_group", "split_group", "annotation_score"]
    assert all(dataset.get_field(path) is not None for paths in groups.values() for path in paths)
    assert {"train", "validation"} <= set(dataset.list_saved_views())
    assert "synthetic by variant" not in dataset.list_saved_views()


def test_the_users_own_looks_and_views_stay(call, foreign):
    dataset = foreign("own_looks", field="ground_truth")
    dataset.app_config.color_scheme = fo.ColorScheme(color_by="field", color_pool=["#ff0000"])
    dataset.app_config.sidebar_groups = [fo.SidebarGroupDocument(name="mine", paths=["ground_truth"])]
    dataset.save()
    dataset.save_view("train", dataset.limit(1))
    call("audit", dataset)
    dataset.reload()
    assert dataset.app_config.color_scheme.color_pool == ["#ff0000"]
    assert [group.name for group in dataset.app_config.sidebar_groups] == ["mine"]
    assert len(dataset.load_saved_view("train")) == 1
    assert dataset.app_config.active_fields.paths == ["ground_truth", "variant"]


def test_what_the_user_changes_afterwards_stays_and_the_rest_follows_the_fields(call, foreign, small):
    dataset = foreign("changed", field="ground_truth")
    call("audit", dataset)
    dataset.app_config.active_fields = fo.ActiveFields(paths=["variant"])
    dataset.save()
    dataset.delete_saved_view("train")
    call("generate", dataset, variants=["base"], counts={"benign": 1}, steps=2, **small)
    dataset.reload()
    assert dataset.app_config.active_fields.paths == ["variant"]
    assert "train" not in dataset.list_saved_views()
    assert "synthetic by variant" in dataset.list_saved_views()
    groups = {group.name: group.paths for group in dataset.app_config.sidebar_groups}
    assert "pair" in groups["origin"] and "synthesis.seed" in groups["synthesis"]


@pytest.mark.parametrize("as_string", [False, True])
def test_the_class_may_lie_in_another_field(call, foreign, small, as_string):
    dataset = foreign(f"diagnosed_{as_string}".lower(), as_string=as_string)
    with pytest.raises(UserError, match="no class in the field ground_truth .*label_field"):
        call("train_classifier", dataset, arch="squeezenet1_1", epochs=1, resolution=32)
    result = call(
        "train_classifier",
        dataset,
        label_field="diagnosis",
        arch="squeezenet1_1",
        epochs=1,
        resolution=32,
        run_key="clf",
    )
    assert result["classes"] == ["benign", "malignant", "normal"]
    assert dataset.get_run_info("clf").config.label_field == "diagnosis"
    applied = call("apply_classifier", dataset, label_field="diagnosis", classifier="clf")
    assert applied["metrics"]["n"] == len(dataset.match_tags("val"))
    assert dataset.has_evaluation("eval_clf") is not as_string
    values = dict(label_field="diagnosis", variants=["base"], counts={"malignant": 2}, steps=2, run_key="made", **small)
    call("generate", dataset, **values)
    made = dataset.match({"origin": "synthetic"})
    assert made.values("diagnosis" if as_string else "diagnosis.label") == ["malignant"] * 2
    assert "ground_truth" not in dataset.get_field_schema()
    made = made.first()
    dataset.delete_samples([made.id])
    call("generate", dataset, **values)
    assert dataset.match({"filepath": made.filepath}).count() == 1
    assert {r.label for r in read_samples(dataset, "diagnosis") if r.synthetic} == {"malignant"}
    with pytest.raises(UserError, match="other settings .label_field: 'diagnosis' there, 'ground_truth' here"):
        call("generate", dataset, **{**values, "label_field": "ground_truth"})


def test_a_run_goes_on_with_the_field_that_it_began_with(call, context, foreign):
    dataset = foreign("resumed")
    operator, ctx = context(
        "train_classifier",
        dataset,
        label_field="diagnosis",
        arch="squeezenet1_1",
        epochs=2,
        resolution=32,
        run_key="clf",
    )
    steps = operator.execute(ctx)
    for _ in range(4):
        next(steps)
    steps.close()
    assert call("manage_runs", dataset, action="list")["runs"][0]["state"] == "stopped"
    assert call("manage_runs", dataset, action="resume", run_key="clf")["state"] == "done"


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("nothing", "'nothing' is no field of this dataset; .*there are: diagnosis"),
        ("boxes", "'boxes' is a Detections, which holds no class"),
        ("age", "'age' is an IntField, which holds no class"),
    ],
)
def test_a_field_that_holds_no_classes_is_refused_before_the_job(call, foreign, field, message):
    dataset = foreign("wrong", n=3)
    dataset.add_sample_field("boxes", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    dataset.add_sample_field("age", fo.IntField)
    with pytest.raises(UserError, match=message):
        call("audit", dataset, label_field=field)
    assert dataset.list_runs() == []


def test_a_string_field_of_the_usual_name_serves(call, foreign):
    dataset = foreign("strings", field="ground_truth", as_string=True)
    result = call("train_classifier", dataset, arch="squeezenet1_1", epochs=1, resolution=32)
    assert result["classes"] == ["benign", "malignant", "normal"]


def test_a_set_that_joins_or_makes_a_dataset_has_its_classes_in_the_named_field(call, foreign, tmp_path):
    dataset = foreign("joined", n=4, as_string=True)
    folder = tmp_path / "set" / "benign"
    folder.mkdir(parents=True)
    shutil.copy(dataset.first().filepath, folder / "1.png")
    values = dict(layout="folder", source=str(tmp_path / "set"), label_field="diagnosis")
    call("load_external", dataset, **values)
    assert dataset.match_tags("external").values("diagnosis") == ["benign"]
    assert "ground_truth" not in dataset.get_field_schema()
    call("load_external", dataset_name="joined_new", **values)
    assert fo.load_dataset("joined_new").values("diagnosis.label") == ["benign"]
    fo.delete_dataset("joined_new")
    with pytest.raises(UserError, match="'meta.diagnosis' is no field|lies within another field"):
        call("load_external", dataset, **{**values, "label_field": "meta.diagnosis"})


def test_an_audit_finds_conflicts_of_the_classes_in_the_named_field(call, foreign, tmp_path):
    dataset = foreign("conflict", n=6)
    first = dataset.first()
    copy = shutil.copy(first.filepath, tmp_path / "copy.png")
    dataset.add_sample(fo.Sample(filepath=copy, diagnosis=fo.Classification(label="other")))
    assert call("audit", dataset)["tags"]["label_conflict"] == 0
    assert call("audit", dataset, label_field="diagnosis")["tags"]["label_conflict"] == 2


def test_forms_offer_the_fields_that_may_hold_the_class(context, foreign):
    dataset = foreign("offered")
    dataset.add_sample_field("hospital", fo.StringField)
    operator, ctx = context("train_lora", dataset)
    shown = operator.resolve_input(ctx).type.properties["label_field"]
    assert shown.default == "diagnosis"
    assert [choice.value for choice in shown.view.choices] == ["diagnosis", "hospital"]


def test_forms_offer_prompts_of_the_classes_that_are_there_case_aside(context, foreign):
    dataset = foreign("capitals", spell=str.capitalize)
    dataset.delete_samples(dataset.match({"diagnosis.label": "Normal"}))
    assert prompts_for(dataset, "diagnosis") == {
        "Benign": "ultrasound image of a benign breast lesion",
        "Malignant": "ultrasound image of a malignant breast lesion",
    }
    for name in ("train_lora", "generate"):
        operator, ctx = context(name, dataset, all_settings=True)
        assert set(operator.resolve_input(ctx).type.properties["prompts"].type.properties) == {"Benign", "Malignant"}
    operator, ctx = context("generate", dataset, amount="counts")
    assert set(operator.resolve_input(ctx).type.properties["counts"].type.properties) == {"Benign", "Malignant"}


def test_a_run_whose_class_field_is_gone_is_taken_back_all_the_same(call, foreign):
    dataset = foreign("gone")
    call(
        "train_classifier",
        dataset,
        run_key="clf",
        label_field="diagnosis",
        arch="squeezenet1_1",
        epochs=1,
        resolution=32,
    )
    dataset.rename_sample_field("diagnosis", "finding")
    call("manage_runs", dataset, action="delete", run_key="clf")
    assert call("manage_runs", dataset)["runs"] == []


def test_a_field_pair_of_the_users_own_without_a_variant_is_no_trouble(call, foreign, small):
    dataset = foreign("paired")
    dataset.set_values("pair", ["a"] * len(dataset))
    call("train_lora", dataset, run_key="lora", label_field="diagnosis", steps=1, membership=False, **small)
    assert "lora" in dataset.list_runs()


def test_images_without_classes_are_embedded_and_generated_beside(call, foreign, small, classifier):
    dataset = foreign("unlabelled", n=6, field=None)
    assert call("compute_embeddings", dataset, extractor=classifier["folder"])["n"] == 6
    made = call("generate", dataset, variants=["base"], counts={"benign": 1}, steps=2, **small)
    assert made["images"] == 1
    with pytest.raises(UserError, match="6 samples have no class"):
        call("generate", dataset, variants=["base"], balance_to=2, steps=2, **small)


def test_boxes_in_the_usual_field_are_no_classes_and_stop_no_audit(call, foreign):
    dataset = foreign("boxes", n=3, field=None)
    dataset.set_values("ground_truth", [fo.Detections() for _ in range(3)])
    assert call("audit", dataset)["images"] == 3


def test_a_field_of_paths_is_refused_as_that_of_classes(call, foreign):
    with pytest.raises(UserError, match="label_field 'filepath'"):
        call("audit", foreign("paths", n=3, field=None), label_field="filepath")


def test_a_field_of_another_kind_under_the_name_of_predictions_is_told_and_writing_goes_on(call, foreign):
    dataset = foreign("taken", field="ground_truth")
    dataset.add_sample_field("predictions_clf", fo.IntField)
    values = dict(run_key="clf", arch="squeezenet1_1", epochs=1, resolution=32)
    with pytest.raises(UserError, match="field 'predictions_clf' of another kind"):
        call("train_classifier", dataset, **values)
    dataset.rename_sample_field("predictions_clf", "mine")
    call("train_classifier", dataset, **values)
    assert dataset.count("predictions_clf") == len(dataset.match_tags("val"))


def test_manage_runs_refuses_what_it_does_not_take(call, foreign):
    with pytest.raises(UserError, match="folder is nothing that manage_runs takes; it takes action, run_key"):
        call("manage_runs", foreign("managed", n=1), action="import", folder="/x")
