"""How many images of which class are made, and with which seeds."""

import numpy as np
from generating import Generate

from busaug_core.generate.plan import class_counts, item_seed, work_list
from busaug_core.jobs.roles import of_split
from busaug_core.records import Lesion, Record, count_labels


def counts_of(records, **amount):
    config = Generate.parse({"variants": ["base"], **amount})
    return class_counts(config, lambda split: count_labels(of_split(records, split)))


def test_balancing_fills_each_class_of_the_training_split():
    records = [
        Record(f"{c}{i}", c, tags=["train"])
        for c, n in (("benign", 349), ("malignant", 168), ("normal", 106))
        for i in range(n)
    ] + [Record("v", "benign", tags=["val"])]
    assert counts_of(records, balance_to=350) == {"benign": 1, "malignant": 182, "normal": 244}


def test_a_ratio_is_rounded_up_but_not_by_binary_fractions():
    records = [Record(str(i), "benign", tags=["train"]) for i in range(110)]
    for ratio, wanted in ((1.1, 121), (0.5, 55), (0.501, 56)):
        assert counts_of(records, ratio=ratio) == {"benign": wanted}


def test_seeds_differ_between_items_and_stay_when_counts_grow():
    few, many = (
        work_list(Generate(variants=["base"], seed=1, counts=counts), [])
        for counts in ({"benign": 2}, {"benign": 3, "normal": 3})
    )
    assert few == many[:2]
    assert len({item.seed for item in many}) == 6
    assert len({item_seed(mode, seed, "benign", 0) for mode in ("new", "evaluation") for seed in (1, 2)}) == 4


def test_masks_are_taken_from_all_of_the_split_in_an_order_that_the_seed_draws():
    lesion = Lesion.of(None, np.ones((4, 4), bool))
    records = [Record(f"{i}.png", "benign", tags=["train"], lesions=[lesion] if i % 2 else []) for i in range(80)]

    def masks(n, seed=1, **more):
        values = dict(variants=["base_mask"], controlnet="x", seed=seed, counts={"benign": n}, **more)
        return [item.mask for item in work_list(Generate(**values), records)]

    drawn = masks(40)
    assert sorted(drawn) == sorted(r.path for r in records if r.lesions) and drawn[:10] == masks(10)
    assert sum(int(name.split(".")[0]) < 20 for name in drawn[:10]) < 6, "neighbours may be frames of one scan"
    assert masks(10, seed=2) != drawn[:10]
    assert masks(6, samples_per_mask=3) == [drawn[0]] * 3 + [drawn[1]] * 3
    assert masks(80)[40:] == drawn
