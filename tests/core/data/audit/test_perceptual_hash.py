"""Candidate pairs by perceptual hash."""

import numpy as np

from busaug_core.data.audit import perceptual_hash as search
from busaug_core.data.audit.perceptual_hash import HashIndex, perceptual_hash
from busaug_core.data.audit.similarity import SIDE, likeness, locally_normalised
from busaug_core.data.config import SCAN
from busaug_core.simulate import simulate


def candidates(grays):
    """Pairs of pictures that an index of their perceptual hashes proposes."""
    index = HashIndex(np.stack([perceptual_hash(g) for g in grays]))
    return {tuple(p) for p in index.candidates(slice(None))}


def test_candidates_are_all_copies_and_few_others():
    grays = [simulate("normal", seed, SIDE).image for seed in range(60)]
    noisy = [np.clip(g + np.random.default_rng(i).normal(0, 8, g.shape), 0, 255) for i, g in enumerate(grays)]
    pairs = candidates(grays + noisy)
    assert all((i, i + 60) in pairs for i in range(60))
    assert len(pairs) < 120 * 119 / 2 / 10


def test_the_candidates_hold_every_pair_of_one_scan_that_a_search_of_all_pairs_finds():
    grays = [simulate("benign", seed, SIDE).image for seed in range(30)]
    rng = np.random.default_rng(0)
    frames = [np.roll(g, (int(rng.integers(-5, 6)), int(rng.integers(-10, 11))), (0, 1)) for g in grays]
    frames = [np.clip(f + rng.normal(0, 25, f.shape), 0, 255) for f in frames]
    normalised = np.stack([locally_normalised(g) for g in grays + frames])
    everything = np.stack(np.triu_indices(60, 1), 1)
    same = {tuple(p) for p in everything[likeness(normalised, everything) >= SCAN]}
    assert len(same) >= 25
    assert same <= candidates(grays + frames)


def test_cells_find_what_a_search_of_all_pairs_finds_from_whatever_block(monkeypatch):
    grays = [simulate(("benign", "normal")[seed % 2], seed, SIDE).image for seed in range(200)]
    rng = np.random.default_rng(0)
    frames = [np.roll(g, (int(rng.integers(-4, 5)), int(rng.integers(-8, 9))), (0, 1)) for g in grays]
    hashes = np.stack([perceptual_hash(g) for g in grays + frames])
    whole = HashIndex(hashes)
    monkeypatch.setattr(search, "CELL", 8)
    celled = HashIndex(hashes)
    assert len(whole.members) == 1 and len(celled.members) == 50
    assert sorted(np.concatenate(celled.members)) == list(range(400))
    everything = {tuple(p) for p in whole.candidates(slice(None))}
    found = {tuple(p) for first in range(0, 400, 64) for p in celled.candidates(slice(first, first + 64))}
    true = {(i, i + 200) for i in range(200)}
    assert true <= everything
    assert len(true & found) >= 198


def test_many_copies_of_one_image_do_not_hide_another_frame_of_its_scan():
    gray = simulate("benign", 3, SIDE).image
    frame = np.roll(gray, 3, axis=1)
    assert len(candidates([gray] * 12 + [frame] * 12)) == 24 * 23 / 2
