"""Speckle and burnt-in marks of an evaluation set, and the plot of the spectra."""

import numpy as np
from evaluation_sets import MEASURE, evaluation_set
from PIL import Image
from scipy.ndimage import gaussian_filter

from busaug_core.measure.texture import plot_spectra
from busaug_core.metrics.speckle import spectrum
from busaug_core.registry import job
from busaug_core.simulate import simulate


def test_speckle_and_marks_are_told_for_each_variant(records, home, tmp_path):
    sets = evaluation_set(records, tmp_path, "noisy", 60)
    result = list(job("compute_fid").run(MEASURE, records + sets, "trial", home))[-1].result
    value = {r["metric"]: r["value"] for r in result["rows"] if r["variant"] == "noisy" and r["class"] == "all"}
    assert value["speckle std (Cohen's d)"] > 0.5
    assert value["share of images with burnt-in marks"] is not None


def test_spectra_are_drawn_against_the_reference(tmp_path):
    scans = np.stack([simulate("benign", seed, 96).image for seed in range(4)])
    blurred = np.stack([gaussian_filter(scan, 1) for scan in scans])
    noised = (scans + np.random.default_rng(0).normal(0, 15, scans.shape)).clip(0, 255).astype(np.uint8)
    spectra = {"real": spectrum(scans), "blurred": spectrum(blurred), "noised": spectrum(noised)}
    plot_spectra(spectra, tmp_path / "spectra.png")
    with Image.open(tmp_path / "spectra.png") as image:
        colours = {tuple(colour) for colour in np.asarray(image.convert("RGB")).reshape(-1, 3)}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0, 0, 0)} <= colours
