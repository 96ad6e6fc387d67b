"""The text side of mini: prompts, a tokenizer in which each of their words is one token, CLIP."""

import random
from collections import Counter
from itertools import pairwise

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from busaug_core.prompts import BUSI_PROMPTS

CLASSES = ("normal", "benign", "malignant")

FINDING = {"normal": "no tumor", "benign": "benign tumor", "malignant": "malignant tumor"}

# Contrast and brightness that the adjectives of MEDDAP stand for, on images in 0–1:
# (gain about .5, gamma). Only adjectives that are applied are ever put into a caption.
ADJECTIVES = {
    "High-contrast": (1.5, 1.0),
    "Low-contrast": (0.6, 1.0),
    "Bright": (1.0, 0.6),
    "Dark": (1.0, 1.7),
}

# Words that users of ultrasound models type; known so that a learned token or an adapter can
# give them a meaning, though mini's own captions do not use them.
OTHER_WORDS = """
    a an the of in with and or no without image images photo picture scan sonogram ultrasound
    ultrasonography sonography breast lesion lesions mass masses tumor tumour tumors cyst nodule
    cancer carcinoma fibroadenoma normal benign malignant healthy tissue fat gland glandular
    fibroglandular skin muscle rib nipple duct axilla shadow shadowing enhancement posterior
    irregular oval round smooth spiculated lobulated margin margins border hypoechoic hyperechoic
    anechoic isoechoic echo speckle calcification calcifications heterogeneous homogeneous dense
    fatty left right large small deep superficial dark bright colorful stylized high low contrast
    posterized sheared solarized blurry noisy sharp clear high-quality low-quality grayscale
    medical clinical probe transducer linear mode b patient woman style synthetic simulated real
"""


def caption(label: str, adjective: str, wording: random.Random) -> str:
    """One of the varied wordings for `label`; `adjective` is '' or a key of `ADJECTIVES`."""
    if adjective:
        start = f"{adjective} ultrasound image"
    elif wording.random() < 1 / 3:
        return f"Ultrasound image of a {label} breast"
    else:
        start = "ultrasound image"
    if label == "normal":
        return f"{start} of no tumor in the breast"
    return f"{start} of {wording.choice((label, FINDING[label]))} in the breast"


def build_tokenizer() -> CLIPTokenizer:
    """A CLIPTokenizer: 256 bytes, 256 bytes that end a word, and merges for every known word.

    Byte-pair encoding is run on the words until each is one token; any other word falls apart
    into bytes and pieces, as in CLIP. Start and end are the last two ids, the end also pads.
    """
    prompts = " ".join([*BUSI_PROMPTS.values(), *FINDING.values(), *ADJECTIVES, OTHER_WORDS])
    words = sorted(set(prompts.lower().replace("-", " - ").split()))
    symbols = list(bytes_to_unicode().values())
    tokens = symbols + [s + "</w>" for s in symbols]
    splits = {w: [*w[:-1], w[-1] + "</w>"] for w in words}
    merges = []
    while True:
        pairs = Counter(p for s in splits.values() for p in pairwise(s))
        if not pairs:
            break
        pair = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(pair)
        tokens.append("".join(pair))
        for word, parts in splits.items():
            splits[word] = _merge(parts, pair)
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def build_text_encoder(tokenizer: CLIPTokenizer, seed: int) -> CLIPTextModel:
    """A CLIPTextModel of about .7 M parameters, 128 wide, for the tokens of `tokenizer`.

    Token embeddings start at a standard deviation of .5: at CLIP's .02 the prompts of two
    classes stay alike for so long that the UNet learns to ignore them.
    """
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512,
        projection_dim=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = CLIPTextModel(config)
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=0.5)
    return model


def tokenize(tokenizer: CLIPTokenizer, prompts: list[str]) -> torch.Tensor:
    """Ids of `prompts`, len × 77, padded and cut as the pipeline does it."""
    return tokenizer(prompts, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
