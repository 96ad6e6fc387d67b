"""Heat maps as a field, which comes and goes with its run."""

import shutil
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest

from busaug_core.errors import UserError
from busaug_core.jobs.runs import runs_folder
from operators import results

FIELD = "heatmap_loaded_clf"


@pytest.fixture
def applied(scans, run_core, classifier):
    """The run of a classifier with heat maps, which is not written yet."""
    return run_core("apply_classifier", scans, "applied", classifier=classifier["folder"], heatmaps=True)


def test_each_sample_gets_its_map(scans, applied):
    results.write(scans, applied)
    assert scans.get_field(FIELD).document_type == fo.Heatmap
    assert "Grad-CAM" in scans.get_field(FIELD).description
    maps = scans.values(FIELD)
    assert len({heatmap.map_path for heatmap in maps}) == len(scans)
    for heatmap in maps:
        assert Path(heatmap.map_path).is_relative_to(applied.folder)
        assert heatmap.range == [0, 255]
        pixels = heatmap.get_map()
        assert (pixels.dtype, pixels.ndim) == (np.uint8, 2)
    assert max(heatmap.get_map().max() for heatmap in maps) == 255


def test_where_no_maps_are_asked_for_there_is_no_field(scans, run_core, classifier):
    results.write(scans, run_core("apply_classifier", scans, "plain", classifier=classifier["folder"]))
    assert scans.get_field("predictions_loaded_clf") is not None
    assert scans.get_field(FIELD) is None


def test_it_is_taken_back_with_its_run_and_comes_back_after_it_was_deleted(scans, applied, snapshot):
    before = snapshot(scans)
    results.write(scans, applied)
    scans.delete_sample_field(FIELD)
    results.write(scans, applied)
    assert scans.count(FIELD) == len(scans)
    results.remove(scans, applied)
    assert scans.get_field(FIELD) is None
    assert snapshot(scans) == before


def test_deleting_the_run_deletes_its_files_and_importing_a_copy_brings_field_and_files(
    call, loaded, classifier, tmp_path
):
    dataset = loaded.match({"origin": "simulated"}).clone("mapped")
    values = dict(classifier=classifier["folder"], heatmaps=True, run_key="applied")
    result = call("apply_classifier", dataset, **values)
    assert dataset.count(FIELD) == len(dataset)
    far = shutil.copytree(result["folder"], tmp_path / "far")
    call("manage_runs", dataset, action="delete", run_key="applied")
    assert dataset.get_field(FIELD) is None
    assert not Path(result["folder"]).exists()
    call("manage_runs", dataset, action="import", source=str(far), run_key="near")
    paths = [Path(heatmap.map_path) for heatmap in dataset.values(FIELD)]
    assert len(paths) == 30
    assert all(path.is_file() and path.is_relative_to(runs_folder("mapped") / "near") for path in paths)
    dataset.delete()


@pytest.mark.parametrize(
    "own", [(fo.FloatField, {}), (fo.EmbeddedDocumentField, dict(embedded_doc_type=fo.Segmentation))]
)
def test_a_field_of_another_kind_under_its_name_is_told_and_left_alone(scans, applied, own):
    kind, options = own
    scans.add_sample_field(FIELD, kind, **options)
    with pytest.raises(UserError, match=f"field '{FIELD}' of another kind"):
        results.write(scans, applied)
    assert scans.count(FIELD) == 0
    scans.rename_sample_field(FIELD, "mine")
    results.write(scans, applied)
    assert scans.count(FIELD) == len(scans)
