"""The job that computes embeddings."""

import numpy as np
import pytest
import torch

from busaug_core.classify.features import ClassifierFeatures
from busaug_core.errors import MissingWeights
from busaug_core.images import load_gray
from busaug_core.jobs.run import Run
from busaug_core.registry import job


def test_embeddings_come_in_the_records_order_and_are_computed_once(records, home, monkeypatch):
    events = list(job("compute_embeddings").run(dict(extractor="clf", run_key="emb"), records, "trial", home))
    stored = np.load(home / "trial/runs/emb/features.npy")
    assert stored.shape == (len(records), 512)
    assert events[-1].result["field"] == "features_clf"
    monkeypatch.setattr(ClassifierFeatures, "load", lambda *_: pytest.fail("computed a second time"))
    extractor = ClassifierFeatures(Run(home / "trial/runs/clf"), torch.device("cpu"))
    for i, record in enumerate(records):
        assert np.allclose(extractor([load_gray(record.path, 32)])[0], stored[i], atol=1e-4)
    again = records[::-1]
    list(job("compute_embeddings").run(dict(extractor="clf", run_key="again"), again, "trial", home))
    assert np.array_equal(np.load(home / "trial/runs/again/features.npy"), stored[::-1])


def test_embeddings_are_blind_to_batch_size(records, home, tmp_path):
    extractor = ClassifierFeatures(Run(home / "trial/runs/clf"), torch.device("cpu"))
    images = np.stack([load_gray(r.path, 32) for r in records])
    one_by_one = np.concatenate([extractor(images[i : i + 1]) for i in range(len(images))])
    assert np.allclose(extractor(images), one_by_one, atol=1e-4)


def test_fid_without_inception_weights_says_where_they_belong(records, home, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeights, match="pt_inception-2015-12-05-6726825d.pth into"):
        list(job("compute_embeddings").run({"extractor": "inception"}, records, "trial", home))
