"""Sets of equal class counts."""

import numpy as np

from busaug_core.measure.sets import matched
from busaug_core.records import Record


def test_matched_subsets_have_equal_class_counts():
    left = [Record(f"l{i}", c) for i, c in enumerate("aaabb")]
    right = [Record(f"r{i}", c) for i, c in enumerate("abbbc")]
    one, other = matched(left, right, np.random.default_rng(0))
    assert sorted(r.label for r in one) == sorted(r.label for r in other) == ["a", "b", "b"]
