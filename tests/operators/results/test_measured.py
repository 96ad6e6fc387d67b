"""Embeddings as a field and a brain run; distances on the samples of each variant."""

import json

import numpy as np
import pytest

from busaug_core.jobs.runs import runs_folder


def test_embeddings_lie_in_a_field_and_a_brain_run(call, synthetic, classifier):
    result = call("compute_embeddings", synthetic, extractor="clf")
    vectors = np.load(runs_folder("loaded") / result["run_key"] / "features.npy")
    assert result["field"] == "features_clf"
    products = (runs_folder("loaded") / result["run_key"] / "products.jsonl").read_text().splitlines()
    path = json.loads(products[3])["path"]
    assert np.array_equal(synthetic[path].features_clf, vectors[3])
    assert "umap_clf" in synthetic.list_brain_runs()
    assert synthetic.load_brain_results("umap_clf").points.shape == (len(vectors), 2)


def test_the_app_is_shown_how_the_variants_overlap_with_real_images(context, call, synthetic, classifier):
    result = call("compute_embeddings", synthetic, extractor="clf")
    operator, ctx = context("compute_embeddings", synthetic)
    shown = [m.body.params for m in operator.show(ctx, synthetic, result) if m.body.operator_uri == "show_output"]
    rows = shown[0]["results"]["overlap"]
    assert {"sd", "sd_ti_img2img"} <= {row["variant"] for row in rows}
    assert [row["n"] for row in rows] == [row["n"] for row in result["overlap"]]
    assert all("coverage" in row for row in rows)


def test_distances_are_written_on_the_samples_of_each_variant(call, synthetic, classifier, capsys):
    result = call("compute_fid", synthetic, extractor="clf", reference="val")
    wanted = {"variant": "sd", "class": "all", "reference": "val", "metric": "FD (classifier)"}
    (row,) = [r for r in result["rows"] if wanted.items() <= r.items()]
    assert "| FD (classifier) |" in capsys.readouterr().out
    samples = synthetic.match({"variant": "sd"})
    assert samples.distinct("distance.value") == [pytest.approx(row["value"])]
    assert samples.count("distance") == len(samples)
    assert synthetic.match({"origin": "simulated"}).count("distance") == 0
    assert synthetic.load_run_results(result["run_key"]).rows == result["rows"]


def test_the_app_is_shown_where_a_distance_comes_from(context, call, synthetic, classifier):
    result = call("compute_fid", synthetic, extractor="clf", metrics=["fid", "ladder"], floor_draws=2)
    operator, ctx = context("compute_fid", synthetic)
    shown = [m.body.params for m in operator.show(ctx, synthetic, result) if m.body.operator_uri == "show_output"]
    assert "autoencoder" in shown[0]["results"]["section_0"]
    assert "Where the distance comes from" in json.dumps(shown[0]["outputs"])
