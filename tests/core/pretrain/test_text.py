"""The text side of mini: one token a word, and a tokenizer and a text encoder that agree."""

import random

import pytest

from busaug_core.pretrain import text
from busaug_core.prompts import BUSI_PROMPTS


@pytest.mark.parametrize("label", text.CLASSES)
def test_every_word_of_every_caption_is_one_token(tokenizer, label):
    wording = random.Random(0)
    captions = [text.caption(label, a, wording) for a in ("", *text.ADJECTIVES) for _ in range(9)]
    for caption in [BUSI_PROMPTS[label], *captions]:
        words = caption.lower().replace("-", " - ").split()
        assert tokenizer.tokenize(caption) == [w + "</w>" for w in words]


def test_unknown_words_fall_apart_into_known_pieces(tokenizer):
    ids = tokenizer("zyx é 7").input_ids
    assert max(ids) < len(tokenizer) and len(ids) == 2 + 3 + 2 + 1


def test_the_tokenizer_survives_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    prompt = "Bright ultrasound image of xyz"
    assert again(prompt).input_ids == tokenizer(prompt).input_ids
    assert again.model_max_length == 77


def test_start_end_and_padding_agree_between_tokenizer_and_text_encoder(tokenizer):
    config = text.build_text_encoder(tokenizer, 0).config
    ids = text.tokenize(tokenizer, ["a"])[0]
    assert ids.shape == (77,)
    assert ids[0] == config.bos_token_id
    assert set(ids[2:].tolist()) == {config.eos_token_id} == {config.pad_token_id}
    assert config.vocab_size == len(tokenizer)
