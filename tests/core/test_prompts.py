"""The words of a class, and the token among them."""

import pytest
from pydantic import BaseModel, ValidationError

from busaug_core.errors import UserError
from busaug_core.prompts import (
    BUSI_PROMPTS,
    Prompts,
    prompt_of,
    proposed,
    refuse_unknown_classes,
    with_token,
    wordings_of,
)


class Config(BaseModel):
    prompts: Prompts


@pytest.mark.parametrize("name", ["Benign", "BENIGN", " benign "])
def test_a_class_is_meant_whatever_the_case_of_its_name(name):
    prompts = Config(prompts={name: "a cyst, ultrasound"}).prompts
    assert prompts == {**BUSI_PROMPTS, "benign": "a cyst, ultrasound"}
    assert prompt_of("Benign", prompts) == prompt_of("benign", prompts) == "a cyst, ultrasound"


def test_what_a_form_proposes_stands_in_the_way_of_nothing():
    proposals = {"cyst": proposed("cyst"), "benign": BUSI_PROMPTS["benign"], "Benign": "a lesion"}
    prompts = Config(prompts=proposals).prompts
    assert prompts == Config(prompts=dict(reversed(proposals.items()))).prompts
    assert prompts == {**BUSI_PROMPTS, "benign": "a lesion", "cyst": "ultrasound image of the breast, cyst"}
    refuse_unknown_classes(prompts, ["malignant"])


def test_a_class_named_twice_is_refused():
    with pytest.raises(ValidationError, match="the class 'cyst' is named twice"):
        Config(prompts={"cyst": "one", "CYST": "other"})
    with pytest.raises(ValidationError, match="the class 'benign' is named twice"):
        Config(prompts={"Benign": "one", "benign": "other"})


def test_a_prompt_of_no_class_is_refused_with_the_classes_there_are():
    with pytest.raises(
        UserError, match="names 'benine', which is no class of these images; they are .'benign', 'cyst'."
    ):
        refuse_unknown_classes({**BUSI_PROMPTS, "benine": "x"}, ["cyst", "benign"])
    refuse_unknown_classes({**BUSI_PROMPTS, "Cyst": "x"}, ["cyst", "benign"])


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("ultrasound, benign lesion", "<us>, benign lesion"),
        ("An Ultrasound-guided biopsy", "An <us>-guided biopsy"),
        ("breast (ultrasound)", "breast (<us>)"),
        ("b-mode/ultrasound. ultrasound", "b-mode/<us>. ultrasound"),
        ("breast_ultrasound", "breast_<us>"),
        ("a  ULTRASOUND\nimage", "a  <us>\nimage"),
    ],
)
def test_the_token_takes_the_place_of_the_first_ultrasound_whatever_marks_stand_beside_it(prompt, expected):
    assert with_token(prompt, "<US>") == expected


@pytest.mark.parametrize("prompt", ["a lesion", "ultrasounds", "ultrasonography", "ultrasound2"])
def test_a_prompt_without_the_word_is_refused(prompt):
    with pytest.raises(UserError, match="has no word 'ultrasound' for the token"):
        with_token(prompt, "<us>")


def test_a_prompt_has_several_wordings_as_a_list_or_in_one_text():
    given = ["ultrasound of a cyst", "a cyst"]
    prompts = Config(prompts={"Benign": given}).prompts
    assert prompts == Config(prompts={"benign": "ultrasound of a cyst | a cyst"}).prompts
    assert wordings_of("BENIGN", prompts) == given
    assert prompt_of("benign", prompts) == given[0]
    with pytest.raises(ValidationError, match="a wording of the class 'benign' is empty"):
        Config(prompts={"benign": "a cyst | "})
    with pytest.raises(ValidationError, match="the prompt of 'benign' is empty; write one, or leave it out"):
        Config(prompts={"benign": " "})


def test_another_modality_takes_the_place_of_ultrasound_and_a_token_that_of_the_modality():
    prompts = {"benign": "Ultrasound image of a lesion", "cyst": "X-ray of a cyst"}
    assert prompt_of("benign", prompts, "X-ray") == "X-ray image of a lesion"
    assert [with_token(prompt_of(name, prompts, "X-ray"), "<x>", "X-ray") for name in prompts] == [
        "<x> image of a lesion",
        "<x> of a cyst",
    ]
    assert prompt_of("benign", prompts) == "Ultrasound image of a lesion"
