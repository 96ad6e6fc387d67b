"""What the tables of an experiment say."""

from types import SimpleNamespace

from busaug_core.experiment.table import _membership


def run(**membership):
    return SimpleNamespace(result={"membership": membership or None})


def test_membership_is_told_of_each_training_or_that_it_was_not_measured():
    two = [run(value=0.5, low=0.4, high=0.6), run(value=0.6, low=0.5, high=0.7)]
    (told,) = _membership({"lora": two, "unet": two})
    assert "(.5 is not at all; mean of the folds, and the highest upper end of their 95% interval)" in told
    assert told.endswith(": lora 0.55 (0.70), unet 0.55 (0.70).")
    one, spared = _membership({"lora": two[:1], "token": [run()]})
    assert one.endswith("and the upper end of its 95% interval): lora 0.50 (0.60).")
    assert spared == "Membership was not measured of token: settings spare it (membership)."
    assert _membership({}) == []
