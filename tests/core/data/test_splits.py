"""Splits and folds by group, and their sizes."""

from collections import Counter

import pytest

from busaug_core.data.config import LoadBusi
from busaug_core.data.splits import class_sizes, fold_numbers, grouped_split
from busaug_core.errors import UserError


def alone(labels):
    return [None] * len(labels)


def test_the_80_20_split_of_busi_has_the_published_sizes():
    labels = ["benign"] * 437 + ["malignant"] * 210 + ["normal"] * 133
    counts = Counter(zip(grouped_split(labels, alone(labels), "80-20", seed=0), labels, strict=True))
    assert [counts["train", c] for c in ("benign", "malignant", "normal")] == [349, 168, 106]
    assert [counts["val", c] for c in ("benign", "malignant", "normal")] == [88, 42, 27]


def test_groups_stay_together_and_the_sizes_stay_exact():
    labels = ["a"] * 100 + ["b"] * 50
    groups = [f"g{i // 3}" if i < 60 else None for i in range(150)]
    split = grouped_split(labels, groups, "70-15-15", seed=4)
    assert Counter(split[:100]) == {"train": 70, "val": 15, "test": 15}
    assert Counter(split[100:]) == {"train": 35, "val": 7, "test": 8}
    for g in set(groups) - {None}:
        assert len({s for s, other in zip(split, groups, strict=True) if other == g}) == 1


def test_a_group_of_two_classes_trains():
    labels = ["a"] * 10 + ["b"] * 10
    groups = ["odd" if i in (9, 10) else None for i in range(20)]
    for seed in range(20):
        split = grouped_split(labels, groups, "50-50", seed)
        assert split[9] == split[10] == "train"
        assert Counter(split) == {"train": 10, "val": 10}


def test_a_split_depends_on_its_seed_alone():
    labels = ["a", "b"] * 20
    splits = [grouped_split(labels, alone(labels), "70-15-15", seed) for seed in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]
    assert set(splits[0]) == {"train", "val", "test"}


def test_a_split_that_cannot_be_made_is_refused():
    with pytest.raises(UserError, match="'b' has 1 image"):
        grouped_split(["a"] * 10 + ["b"], [None] * 11, "80-20", 0)
    with pytest.raises(UserError, match="80-10 do not sum to 100"):
        LoadBusi.parse({"split": "80-10"})
    with pytest.raises(UserError, match="cannot fill the split 'val'"):
        grouped_split(["a"] * 10, ["g"] * 10, "80-20", 0)
    pairs = [f"g{i // 2}" for i in range(10)]
    with pytest.raises(UserError, match="1 of 3 short"):
        grouped_split(["a"] * 10, pairs, "7/3", 0)
    assert Counter(grouped_split(["a"] * 10, pairs, "70-30", 0)) == {"train": 8, "val": 2}


def test_the_split_of_meddap_has_its_sizes():
    sizes = class_sizes({"benign": 437, "malignant": 210, "normal": 133}, "545/115/120")
    assert [sum(column) for column in zip(*sizes.values(), strict=True)] == [545, 115, 120]
    with pytest.raises(UserError, match="sums to 700, but the set has 780"):
        class_sizes({"benign": 437, "malignant": 210, "normal": 133}, "600/100")


def test_folds_hold_every_clear_image_once_and_no_group_twice():
    labels = ["a"] * 60 + ["b"] * 40
    groups = ["odd" if i in (59, 60) else f"g{i // 2}" if i < 30 else None for i in range(100)]
    numbers = fold_numbers(labels, groups, 5, seed=0)
    assert [i for i, n in enumerate(numbers) if n is None] == [59, 60]
    assert set(numbers) == {None, 1, 2, 3, 4, 5}
    for g in set(groups) - {None}:
        assert len({n for n, other in zip(numbers, groups, strict=True) if other == g}) == 1
    for label in "ab":
        sizes = Counter(n for n, other in zip(numbers, labels, strict=True) if other == label and n)
        assert max(sizes.values()) - min(sizes.values()) <= 3
