"""Learned tokens: every vector acts, whoever made the file and however it is called; no word is taken over."""

import pytest
import torch
from foreign_base import PAGE, POINTER
from safetensors.torch import load_file, save_file

from busaug_core.base.components import TOKEN
from busaug_core.base.loading import load_pipeline
from busaug_core.errors import UserError

CPU = torch.device("cpu")
SMALL = dict(steps=2, batch_size=2, resolution=64, precision="fp32", membership=False)


def vectors(n, seed=0, width=128):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def states(base, path, tensors, prompt="ultrasound, image of a lesion"):
    """The text encoder's answer to the prompt with the token of a file that is written first."""
    save_file(tensors, path)
    pipe = load_pipeline(base, CPU, torch.float32)
    attached = TOKEN.attach(pipe, path)
    return pipe.encode_prompt(attached.prompt(prompt), CPU, 1, False)[0]


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("<US>", 1),
        ("<US>", 3),
        ("<us>", 2),
        ("<ÜBER-Us>", 2),
        ("MyStyle", 2),
        ("<ΣΟΦΟΣ>", 2),
        ("emb_params", 2),
        ("a b", 2),
    ],
)
def test_every_vector_of_a_token_acts_whatever_its_name(base, tmp_path, name, n):
    path = tmp_path / "My Token.safetensors"
    plain = states(base, path, {name: vectors(n)})
    for i in range(n):
        changed = vectors(n)
        changed[i] = vectors(1, seed=9)[0]
        assert not torch.allclose(states(base, path, {name: changed}), plain, atol=1e-3), i


def test_a_trained_token_with_capitals_is_trained_and_used_with_all_its_vectors(run_job, records, base, tmp_path):
    result = run_job("train_textual_inversion", records, base_model=base, token="<US>", vectors=3, **SMALL)
    assert result["token"] == "<us>"
    learned = load_file(result["weights"])
    assert list(learned) == ["<us>"] and learned["<us>"].shape == (3, 128)
    assert len({tuple(row.tolist()) for row in learned["<us>"]}) == 3, "each vector has learned for itself"


@pytest.mark.parametrize("name", ["breast", "Breast", "ultrasound", "rea", "a", "<|startoftext|>", ","])
def test_a_token_that_would_take_over_a_word_is_refused(base, tmp_path, name):
    with pytest.raises(UserError, match=r"is a word of this base already, or in one .*; choose another name"):
        states(base, tmp_path / "token.safetensors", {name: vectors(1)})


@pytest.mark.parametrize("name", ["breast", "<breast", "<a b>", "", "<>"])
def test_a_token_to_be_trained_stands_in_brackets(run_job, records, base, name):
    with pytest.raises(UserError, match="'token': a token is one word in angle brackets, such as <ultrasound>"):
        run_job("train_textual_inversion", records, base_model=base, token=name, **SMALL)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"<x>": vectors(1, width=768)}, "is 768 wide, the base's text encoder 128"),
        ({"clip_l": vectors(1), "clip_g": vectors(1)}, "it seems to be a learned token of Stable Diffusion XL"),
        ({"unet.a.lora_A.weight": vectors(1), "unet.a.lora_B.weight": vectors(1)}, "it seems to be a LoRA"),
        ({"conv.weight": torch.zeros(1, 1, 3, 3)}, "no learned token .*something else .*conv.weight"),
        ({}, "it seems to be a file without tensors"),
    ],
)
def test_what_is_no_token_of_this_base_is_refused_with_what_it_is(base, tmp_path, tensors, message):
    with pytest.raises(UserError, match=message):
        states(base, tmp_path / "token.safetensors", tensors)


@pytest.mark.parametrize(
    ("content", "kind"), [(POINTER, "a git-LFS pointer"), (PAGE, "an HTML page"), (b"x", "a text")]
)
def test_a_file_that_is_none_is_named(base, tmp_path, content, kind):
    (tmp_path / "token.safetensors").write_bytes(content)
    pipe = load_pipeline(base, CPU, torch.float32)
    with pytest.raises(UserError, match=f"cannot be read as a learned token .* it seems to be {kind}"):
        TOKEN.attach(pipe, tmp_path / "token.safetensors")
    torch.save({"<x>": vectors(1)}, tmp_path / "token.safetensors")
    with pytest.raises(UserError, match="is a pickle"):
        TOKEN.attach(pipe, tmp_path / "token.safetensors")


def test_a_token_that_is_not_finite_is_refused(base, tmp_path):
    with pytest.raises(UserError, match="token.safetensors holds values that are not finite"):
        states(base, tmp_path / "token.safetensors", {"<x>": vectors(1) * float("nan")})
