"""Rows kept on disk: shared, bounded, and never the reason for a failure."""

import hashlib
import os

import numpy as np
import pytest
from generators import run_to_end

from busaug_core.jobs.cache import RowCache

KEYS = [hashlib.sha256(bytes([i])).hexdigest() for i in range(8)]
ROWS = np.arange(8 * 100, dtype=np.float32).reshape(8, 100)


def kept(cache):
    return {KEYS.index(key): row for key, row in cache.rows(KEYS)}


def test_what_one_process_saves_another_finds_once_it_looks(tmp_path):
    one, other = RowCache(tmp_path / "a", "x"), RowCache(tmp_path / "a", "x")
    for cache, places in ((one, [0, 1]), (other, [1, 2])):
        cache.add([KEYS[i] for i in places], ROWS[places])
        cache.save()
    assert set(kept(one)) == {0, 1} and set(kept(other)) == {1, 2}
    one.refresh()
    assert all(np.array_equal(row, ROWS[i]) for i, row in kept(one).items()) and set(kept(one)) == {0, 1, 2}


def test_what_was_not_used_for_longest_goes_when_the_limit_is_reached(tmp_path):
    for number, place in enumerate((0, 1, 2)):
        cache = RowCache(tmp_path / f"a{place}", "x", limit=10**6)
        cache.add([KEYS[place]], ROWS[[place]])
        cache.save()
        os.utime(next(cache.folder.iterdir()), (number, number))
    size = next(cache.folder.iterdir()).stat().st_size
    assert set(kept(RowCache(tmp_path / "a0", "x", limit=3 * size))) == {0}  # which is its use
    cache = RowCache(tmp_path / "a3", "x", limit=3 * size)
    cache.add([KEYS[3]], ROWS[[3]])
    cache.save()
    assert {i for i in range(4) if kept(RowCache(tmp_path / f"a{i}", "x"))} == {0, 2, 3}
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) <= 3 * size


def test_files_that_go_while_they_are_in_use_are_computed_again(tmp_path):
    cache = RowCache(tmp_path / "a", "x")
    cache.add(KEYS[:2], ROWS[:2])
    cache.save()
    for path in cache.folder.iterdir():
        path.unlink()
    found, events = run_to_end(cache.complete({k: i for i, k in enumerate(KEYS[:2])}, int, lambda i: ROWS[i], 2, "It"))
    assert np.array_equal(found[KEYS[1]], ROWS[1]) and events[-1].total == 2
    assert set(kept(RowCache(tmp_path / "a", "x"))) == {0, 1}


def test_what_was_computed_before_an_error_is_kept(tmp_path):
    def load(i):
        if i == 2:
            raise ValueError("unreadable")
        return i

    cache = RowCache(tmp_path / "a", "x")
    with pytest.raises(ValueError, match="unreadable"):
        run_to_end(cache.complete({k: i for i, k in enumerate(KEYS[:4])}, load, lambda i: ROWS[i], 1, "It"))
    assert set(kept(RowCache(tmp_path / "a", "x"))) == {0, 1}
