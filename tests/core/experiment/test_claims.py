"""What an experiment shows in words: on made-up logits of arms that are better, the same and worse."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_rel

from busaug_core.classify.predictions import write_predictions, write_resampled
from busaug_core.experiment.claims import CLAIMED, Claim, answer, least_shown
from busaug_core.experiment.claims import compare as compare_tested
from busaug_core.experiment.tested import read_tested
from busaug_core.files import write_json
from busaug_core.jobs.run import INPUTS, Run
from busaug_core.records import Record, write_records

CLASSES = ["benign", "malignant", "normal"]
N, TRAININGS = 150, 20


@pytest.fixture
def arm(tmp_path):
    """A function that makes an arm, a run whose probes are right on an image with a chance of its own."""

    def make(name, chances, seed=0):
        rng = np.random.default_rng(seed)
        held_out = [Record(f"{i}.png", CLASSES[i % 3], tags=["val"], split_group=f"scan {i // 2}") for i in range(N)]
        truth = np.arange(N) % 3
        right = rng.random((TRAININGS, N)) < chances
        logits = np.eye(3, dtype=np.float32)[np.where(right, truth, (truth + 1) % 3)]
        run = Run(tmp_path / name)
        run.folder.mkdir()
        write_records(run.folder / INPUTS, held_out)
        write_json(run.folder / "config.json", {"job": "train_classifier", "seed": 51})
        write_predictions(run, held_out, logits[0], CLASSES, range(N))
        write_resampled(run, logits)
        run.finish({"classes": CLASSES, "evaluated_on": "val", "resampled": {"accuracy": {}}})
        return [[run]]

    return make


@pytest.fixture
def chances():
    """How likely a probe of real images alone is right on each image: most are easy or hopeless for every arm."""
    return np.random.default_rng(5).choice([0.02, 0.5, 0.98], N, p=[0.2, 0.2, 0.6])


def compare(arms):
    """The claims of arms, given the runs of their classifiers."""
    return compare_tested(read_tested(arms))


def found_of(arms):
    """The claims on which the answer rests, by arm."""
    return {claim.arm: claim for claim in compare(arms) if claim.metric == CLAIMED}


def test_an_arm_is_called_better_or_worse_only_where_it_is(arm, chances):
    hard = chances == 0.5
    arms = {
        "original": arm("original", chances, 0),
        "sd": arm("sd", np.where(hard, 0.98, chances), 1),
        "base": arm("base", np.where(hard, 0.02, chances), 2),
        "same": arm("same", chances, 3),
    }
    found = found_of(arms)
    assert found["sd"].low > 0 > found["base"].high
    assert found["same"].low < 0 < found["same"].high
    text = answer(compare(arms))
    assert text.startswith("Arm sd is better than the original in accuracy by 0.")
    assert "Arm base is worse than the original in accuracy by 0." in text
    assert "same" not in text
    assert found["sd"].value == pytest.approx(0.48 * hard.mean(), abs=0.03)
    assert (found["sd"].n, found["sd"].groups, found["sd"].trainings) == (N, N // 2, TRAININGS)
    accuracies = {a: (x.argmax(2) == np.arange(N) % 3).mean(1) for a, x in read_tested(arms).logits.items()}
    assert found["sd"].t_test == pytest.approx(ttest_rel(accuracies["sd"], accuracies["original"]).pvalue)
    assert found["sd"].not_better < 0.01 < 0.99 < found["base"].not_better


def test_a_gain_on_a_few_scans_is_not_shown(arm, chances):
    better = chances.copy()
    better[np.flatnonzero(chances == 0.5)[:3]] = 0.98
    claims = compare({"original": arm("original", chances, 0), "sd": arm("sd", better, 0)})
    assert claims[0].value > 0
    assert answer(claims) == "No gain shown: no arm is better than the original with certainty."


def test_of_arms_that_are_the_original_again_hardly_ever_one_is_called_better(arm, chances):
    original = arm("original", chances, 0)
    again = {f"arm{i}": arm(f"arm{i}", chances, i) for i in range(1, 25)}
    assert not any(claim.shown for claim in compare({"original": original, **again}))


def test_more_comparisons_need_more(arm, chances):
    hard = chances == 0.5
    original, better = arm("original", chances, 0), arm("sd", np.where(hard, 0.7, chances), 1)
    alone = found_of({"original": original, "sd": better})["sd"]
    among = found_of({"original": original, "sd": better, "a": original, "b": original, "c": original})["sd"]
    assert among.p == alone.p == alone.p_holm and among.p_holm == pytest.approx(min(1, 4 * alone.p))


def test_the_least_gain_that_would_be_shown_grows_with_the_errors_and_the_arms(arm, chances):
    hard = chances == 0.5
    original, better = arm("original", chances, 0), arm("sd", np.where(hard, 0.7, chances), 1)
    alone = compare({"original": original, "sd": better})
    half = (alone[0].high - alone[0].low) / 2
    assert least_shown(alone) == pytest.approx(half / 1.96 * (1.96 + 0.8416), rel=1e-3)
    assert least_shown(compare({"original": original, "sd": better, "again": better})) > least_shown(alone)


def test_the_sentence_tells_the_amount_as_what_it_is_named():
    chances = dict(
        p=0.001, p_holm=0.004, permuted=None, mcnemar=0.01, t_test=0.01, not_better=0.99, n=150, groups=75, trainings=20
    )
    worse = Claim("base", "original", CLAIMED, -0.05, -0.08, -0.02, **chances)
    assert answer([worse]) == (
        "No gain shown: no arm is better than the original with certainty. Arm base is worse than the original in "
        "accuracy by 0.050 (0.020 to 0.080; p = 0.004 after Holm's correction)."
    )


def test_confusion_tells_which_share_of_a_class_is_taken_for_which(arm):
    tested = read_tested({"original": arm("original", np.where(np.arange(N) % 3 == 1, 0.0, 1.0))})
    assert np.allclose(tested.confusion("original"), [[1, 0, 0], [0, 0, 1], [0, 0, 1]])


def test_classes_that_another_set_lacks_are_left_out_or_wrong(arm):
    tested = read_tested({"original": arm("original", np.ones(N))})
    second = np.float32([[1, 0, 0], [0, 1, 2], [0, 0, 1]])[tested.truth]  # malignant is normal, then malignant
    tested = replace(tested, logits={"original": np.stack([second, second])})
    shared = tested.of_classes(["benign", "malignant"], renormalised=True)
    assert shared.classes == ["benign", "malignant"] and len(shared.truth) == len(shared.images) == 100
    assert shared.metrics["original"]["accuracy"]["value"] == 1
    every = tested.of_classes(["benign", "malignant"], renormalised=False)
    assert every.metrics["original"]["accuracy"]["value"] == 0.5
    assert every.classes == CLASSES and set(every.truth) == {0, 1}
