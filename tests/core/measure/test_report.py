"""The tables and plots of a measurement."""

import json
from pathlib import Path

import numpy as np
from evaluation_sets import MEASURE, evaluation_set
from PIL import Image

from busaug_core.registry import job


def test_the_tables_and_plots_of_a_measurement_are_written(records, home, tmp_path):
    sets = evaluation_set(records, tmp_path, "near", 30)
    result = list(job("compute_fid").run(MEASURE | dict(run_key="tables"), records + sets, "trial", home))[-1].result
    folder = Path(result["folder"])
    assert (folder / "fid.csv").read_text().count("\n") == len(result["rows"]) + 1
    assert json.loads((folder / "fid.json").read_text())["rows"] == result["rows"]
    table = (folder / "fid.md").read_text()
    assert "## Against val, all classes" in table
    assert "| FD (classifier) |" in table
    for name in ("fid.png", "spectra.png"):
        with Image.open(folder / name) as image:
            assert np.asarray(image.convert("L")).std() > 10
