"""Radiomic features as an extractor."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from generators import run_to_end

from busaug_core.errors import UserError
from busaug_core.features.cache import FeatureCache, extract
from busaug_core.features.extractors import NAMES, RADIOMICS, make_extractor
from busaug_core.features.radiomics import Radiomics

CPU = torch.device("cpu")


@pytest.fixture
def extractor(run, monkeypatch):
    monkeypatch.setattr(Radiomics, "resolution", 64)
    return make_extractor(RADIOMICS, run, CPU)


def test_it_is_one_of_the_extractors_and_its_distance_is_frd(run):
    extractor = make_extractor(RADIOMICS, run, CPU)
    assert RADIOMICS in NAMES and isinstance(extractor, Radiomics)
    assert (extractor.name, extractor.metric, extractor.resolution) == ("radiomics", "FRD", 224)
    with pytest.raises(UserError, match="takes no other weights"):
        make_extractor(f"{RADIOMICS}:/nowhere", run, CPU)
    with pytest.raises(UserError, match="'radiomics' has none"):
        make_extractor(RADIOMICS, run, CPU, "legacy")


def test_features_are_blind_to_batch_and_order_and_raw_in_the_cache(records, extractor, run):
    images = [extractor.load(r.path) for r in records[:4]]
    together = extractor(images)
    assert together.shape == (4, 782) and together.dtype == np.float32
    assert np.array_equal(np.concatenate([extractor([image]) for image in images[::-1]])[::-1], together)
    found, _ = run_to_end(extract(records[:4], extractor, run, 3))
    assert np.array_equal(found.matrix, together)
    kept = dict(FeatureCache(run, extractor).rows(found.hashes))
    assert np.array_equal(np.stack([kept[h] for h in found.hashes]), together)


def test_families_are_the_columns_of_an_image_and_a_class(extractor):
    columns = list(extractor.families.values())
    assert len(columns) == 54 and columns[0].start == 0 and columns[-1].stop == 782
    assert all(one.stop == other.start for one, other in pairwise(columns))
    assert [f for f in extractor.families if f.startswith("LoG 2")] == [
        f"LoG 2 {name}" for name in ("first-order", "GLCM", "GLRLM", "GLSZM", "GLDM", "NGTDM")
    ]


def test_only_radiomic_features_are_put_into_other_units(records, extractor, run):
    found, _ = run_to_end(extract(records[:5], extractor, run, 5))
    scored = found.standardised(extractor, records[1:4])
    np.testing.assert_allclose(scored.of(records[1:4]).mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(scored.of(records[1:4]).std(0), 1, atol=1e-6)
    lite0 = make_extractor("efficientnet_lite0", run, CPU)
    assert found.standardised(lite0, records[1:4]).matrix is found.matrix
