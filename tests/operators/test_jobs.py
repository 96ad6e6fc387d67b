"""The operators that work on a dataset: what they write, and how they stop, resume, fail and are queued."""

import json

import fiftyone as fo
import numpy as np
import pytest
from fiftyone.operators.delegated import DelegatedOperationService

from busaug_core.errors import UserError
from busaug_core.images import read_synthesis
from busaug_core.jobs.run import runs_folder

PLAIN = dict(variants=["base"], steps=2)


def state(dataset, key):
    return json.loads((runs_folder(dataset.name) / key / "state.json").read_text())["state"]


def test_training_returns_its_result_and_is_known_to_the_dataset(loaded, lora):
    assert lora["run_key"] == "lora"
    assert lora["state"] == "done"
    assert loaded.get_run_info("lora").config.method == "busaug/train_lora"
    assert loaded.get_run_info("lora").config.steps == 2
    assert loaded.load_run_results("lora").weights == lora["weights"]
    json.dumps(lora)


def test_a_run_key_is_made_up_where_none_is_given(call, loaded):
    result = call("train_classifier", loaded, epochs=1, resolution=32)
    assert result["run_key"].startswith("train_classifier_")
    assert result["run_key"] in loaded.list_runs()


def test_training_uses_the_samples_of_the_view(call, loaded, small):
    view = loaded.match_tags("train").match({"ground_truth.label": "benign"})
    result = call("train_lora", view, steps=1, **small)
    assert result["images"] == {"benign": len(view)}


def test_generated_samples_carry_their_provenance(synthetic):
    sample = synthetic.match({"variant": "sd_ti_img2img", "synthesis.run": "balancing"}).first()
    assert sample.origin == "synthetic"
    assert set(sample.tags) == {"synthetic", "sd_ti_img2img"}
    assert sample.synthesis.lora == "lora"
    assert sample.synthesis.token == "token"
    assert sample.synthesis.strength == pytest.approx(0.3)
    assert sample.metadata.width == 64
    stored = {k: v for k, v in read_synthesis(sample.filepath).items() if v is not None}
    assert sample.synthesis.to_dict().items() >= stored.items()


def test_variants_of_one_image_share_their_pair(synthetic):
    groups = synthetic.match({"synthesis.run": "balancing"}).group_by("pair")
    assert len(groups) == 3
    assert set(synthetic.match({"pair": groups.first().pair}).values("variant")) == {"sd", "sd_ti_img2img"}


def test_evaluation_sets_match_the_reference_and_are_tagged(synthetic):
    made = synthetic.match_tags("evaluation").match({"variant": "sd"})
    real = synthetic.match_tags("val").match({"origin": "simulated"})
    assert made.count_values("ground_truth.label") == real.count_values("ground_truth.label")


def test_samples_appear_while_the_job_runs_and_a_stopped_run_goes_on(call, context, loaded, small, monkeypatch):
    from fiftyone.operators import get_operator

    module = __import__("sys").modules[type(get_operator("@busaug/busaug/generate")).__module__]
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    config = PLAIN | small | dict(counts={"normal": 4}, run_key="stopped", batch_size=1)
    operator, ctx = context("generate", loaded, **config)
    events = operator.execute(ctx)
    while loaded.match({"synthesis.run": "stopped"}).count() < 2:
        next(events)
    events.close()
    assert state(loaded, "stopped") == "stopped"
    assert loaded.match({"synthesis.run": "stopped"}).count() == 2
    call("generate", loaded, **config)
    paths = loaded.match({"synthesis.run": "stopped"}).values("filepath")
    assert len(paths) == len(set(paths)) == 4
    assert state(loaded, "stopped") == "done"


def test_the_app_is_sent_progress(context, loaded, small):
    operator, ctx = context("generate", loaded, counts={"normal": 1}, seed=77, **PLAIN, **small)
    sent = [m.body for m in operator.execute(ctx)]
    names = [m.operator_uri for m in sent]
    assert names.index("set_progress") < names.index("reload_dataset") < names.index("notify")
    labels = [m.params["label"] for m in sent if m.operator_uri == "set_progress"]
    assert any("Generating images" in label for label in labels)


def test_deleted_samples_of_a_finished_run_come_back(call, synthetic, small):
    synthetic.delete_samples(synthetic.match({"synthesis.run": "balancing", "variant": "sd"}))
    parts = dict(lora="lora", token="token", variants=["sd", "sd_ti_img2img"], steps=4, **small)
    call("generate", synthetic, counts={"benign": 1, "normal": 2}, run_key="balancing", **parts)
    assert synthetic.match({"synthesis.run": "balancing", "variant": "sd"}).count() == 3


def test_predictions_and_their_evaluation_are_written(call, loaded, classifier):
    result = call("apply_classifier", loaded, classifier="clf")
    predicted = loaded.match_tags("val").first().predictions_clf
    assert predicted.logits.dtype == np.float32
    assert predicted.logits.shape == (3,)
    assert 0 < predicted.confidence <= 1
    held_out = loaded.match_tags("val")
    figures = loaded.load_evaluation_results("eval_clf").metrics()
    assert figures["accuracy"] == pytest.approx(result["metrics"]["accuracy"])
    assert figures["support"] == len(held_out)


def test_embeddings_lie_in_a_field_and_a_brain_run(call, synthetic, classifier):
    result = call("compute_embeddings", synthetic, extractor="clf")
    vectors = np.load(runs_folder("loaded") / result["run_key"] / "features.npy")
    assert result["field"] == "features_clf"
    products = (runs_folder("loaded") / result["run_key"] / "products.jsonl").read_text().splitlines()
    path = json.loads(products[3])["path"]
    assert np.array_equal(synthetic[path].features_clf, vectors[3])
    assert "umap_clf" in synthetic.list_brain_runs()
    assert synthetic.load_brain_results("umap_clf").points.shape == (len(vectors), 2)


def test_distances_are_written_on_the_samples_of_each_variant(call, synthetic, classifier, capsys):
    result = call("compute_fid", synthetic, extractor="clf", reference="val")
    wanted = {"variant": "sd", "class": "all", "reference": "val", "metric": "FD (classifier)"}
    (row,) = [r for r in result["rows"] if wanted.items() <= r.items()]
    assert "| FD (classifier) |" in capsys.readouterr().out
    samples = synthetic.match({"variant": "sd"})
    assert samples.distinct("fid.value") == [pytest.approx(row["value"])]
    assert samples.count("fid") == len(samples)
    assert synthetic.match({"origin": "simulated"}).count("fid") == 0
    assert synthetic.load_run_results(result["run_key"]).rows == result["rows"]


def test_a_run_of_a_deleted_dataset_of_that_name_is_not_taken_for_its_successors(call):
    def make(run_key, **values):
        call("load_busi", dataset_name="again", run_key=run_key, images=30, image_size=64, **values)
        return fo.load_dataset("again")

    train = dict(epochs=1, resolution=32, run_key="clf")
    call("train_classifier", make("load"), **train)
    fo.delete_dataset("again")
    dataset = make("load_anew", seed=7)
    with pytest.raises(UserError, match="'clf' was made from other images"):
        call("train_classifier", dataset, **train)
    fo.delete_dataset("again")
    dataset = make("load")
    assert call("train_classifier", dataset, **train)["state"] == "done"
    held_out = dataset.match_tags("val").first()
    held_out.tags = ["train", "simulated"]
    held_out.save()
    with pytest.raises(UserError, match="1 images of run 'clf' lie in other splits now"):
        call("train_classifier", dataset, **train)


def test_a_classifier_of_another_dataset_is_evaluated_on_any_tag(call, loaded, classifier):
    outside = loaded.match({"origin": "simulated"}).clone("outside_set")
    outside.tag_samples("external")
    result = call("apply_classifier", outside, classifier=classifier["folder"], evaluate_on="external")
    held_out = outside.match_tags("val")
    assert result["metrics"]["n"] == len(held_out)
    assert outside.count("predictions_loaded_clf") == len(outside)
    assert outside.load_evaluation_results("eval_loaded_clf").metrics()["support"] == len(held_out)
    call("apply_classifier", outside, classifier=classifier["folder"], evaluate_on="nothing")
    assert outside.has_evaluation("eval_loaded_clf")
    fo.delete_dataset("outside_set")


def test_what_is_no_dataset_is_named(call):
    with pytest.raises(UserError, match="'loaded' is neither a dataset nor a view"):
        call("train_classifier", "loaded")


def test_a_wrong_field_is_a_user_error(call, loaded):
    with pytest.raises(UserError, match="'stepz' is not a field"):
        call("train_lora", loaded, stepz=3)


def test_a_failing_job_is_a_user_error_and_a_notice_in_the_app(call, context, loaded):
    with pytest.raises(UserError, match="no finished classifier"):
        call("apply_classifier", loaded, classifier="nothing")
    operator, ctx = context("apply_classifier", loaded, classifier="nothing")
    sent = []
    with pytest.raises(UserError):
        sent.extend(m.body for m in operator.execute(ctx))
    notices = [m.params for m in ctx.executor._requests if m.operator_uri == "notify"]
    assert notices[-1]["variant"] == "error"
    assert "Traceback" not in notices[-1]["message"]


def test_another_config_under_a_used_key_is_refused(call, loaded, lora, small):
    with pytest.raises(UserError, match="other settings"):
        call("train_lora", loaded, steps=3, run_key="lora", **small)


def test_a_job_without_a_dataset_is_refused(call):
    with pytest.raises(UserError, match="open or pass one"):
        call("train_lora", steps=1)


def test_samples_without_a_class_are_refused(call):
    dataset = fo.Dataset("bare")
    dataset.add_sample(fo.Sample(filepath="/nowhere.png"))
    with pytest.raises(UserError, match="no class in the field ground_truth"):
        call("train_classifier", dataset)
    assert list(runs_folder(dataset.name).iterdir()) == []


def test_a_field_of_the_users_own_under_our_name_is_refused_before_the_job(call, loaded):
    dataset = loaded.match({"origin": "simulated"}).clone("own_field")
    dataset.delete_sample_field("source")
    dataset.add_sample_field("source", fo.StringField)
    with pytest.raises(UserError, match=r"own field 'source'.*rename_sample_field\('source', 'my_source'\)"):
        call("audit", dataset)
    dataset.delete_sample_field("source")
    dataset.add_sample_field("source", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    with pytest.raises(UserError, match="own field 'source'"):
        call("audit", dataset)
    assert call("train_classifier", dataset, epochs=1, resolution=32)["state"] == "done"
    dataset.rename_sample_field("source", "my_source")
    assert call("audit", dataset)["images"] == len(dataset)
    fo.delete_dataset("own_field")


def test_samples_without_a_class_are_classified_but_not_evaluated(call, loaded, classifier):
    dataset = loaded.match_tags("val").clone("partly")
    first = dataset.first()
    first.ground_truth = None
    first.save()
    result = call("apply_classifier", dataset, classifier=classifier["folder"])
    assert dataset.count("predictions_loaded_clf") == len(dataset)
    assert result["metrics"]["n"] == len(dataset) - 1
    fo.delete_dataset("partly")


def test_background_from_python_is_delegation(call, loaded):
    queued = call("train_classifier", loaded, background=True, epochs=1, resolution=32)
    assert queued["state"] == "queued"
    DelegatedOperationService().execute_queued_operations(limit=1)
    assert queued["run_key"] in loaded.list_runs()


def test_queued_jobs_have_keys_of_their_own_and_run_later(call, loaded):
    queued = [call("train_classifier", loaded, delegate=True, epochs=1, resolution=32, seed=s) for s in (1, 2)]
    assert [q["state"] for q in queued] == ["queued", "queued"]
    keys = {q["run_key"] for q in queued}
    assert len(keys) == 2
    service = DelegatedOperationService()
    service.execute_queued_operations(limit=10)
    assert {op.run_state for op in service.list_operations()} == {"completed"}
    assert keys <= set(loaded.list_runs())


def test_the_form_queues_a_job_in_the_background(context, loaded):
    operator, ctx = context("train_classifier", loaded, epochs=1, resolution=32, background=True, all_settings=False)
    (notice,) = [m.body for m in operator.execute(ctx)]
    assert "queued as run" in notice.params["message"]
    service = DelegatedOperationService()
    (queued,) = service.list_operations(run_state="queued")
    service.execute_queued_operations(limit=1)
    assert service.get(queued.id).run_state == "completed"


def test_samples_without_a_class_hinder_no_run_that_was_begun_before(call, loaded):
    dataset = loaded.match({"origin": "simulated"}).clone("growing")
    values = dict(epochs=1, resolution=32, run_key="clf")
    call("train_classifier", dataset, **values)
    dataset.add_sample(fo.Sample(filepath="/nowhere.png"))
    assert call("train_classifier", dataset, **values)["state"] == "done"
    with pytest.raises(UserError, match="1 samples have no class"):
        call("train_classifier", dataset, **values | dict(run_key="other"))
    fo.delete_dataset("growing")
