"""The job `train_textual_inversion`: one token learned from images (Gal et al. 2022, arXiv 2208.01618)."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor

from busaug_core.base.components import TOKEN
from busaug_core.base.components.token import refuse_known
from busaug_core.errors import UserError
from busaug_core.files import write_whole
from busaug_core.jobs.events import Steps
from busaug_core.jobs.run import Run
from busaug_core.prompts import with_token, written
from busaug_core.records import Record, count_labels
from busaug_core.train.config import TextualInversion
from busaug_core.train.denoising import Denoising
from busaug_core.train.learned_images import learned_images
from busaug_core.train.training import compared_images, prepare_base, train_denoising


def train_textual_inversion(config: TextualInversion, run: Run) -> Steps[dict[str, Any]]:
    """Learn the token inside the class prompts, on a class-balanced draw from the training split, or on all of it.

    Returns what `train_denoising` does, `token` as prompts hold it, and the mean `norm` of its vectors beside the
    `vocabulary_norm`. Raises UserError where a class has too few images or no prompt.
    """
    learned = yield from learned_images(config, run)
    records = learned
    if config.balance == "none":
        records = balanced_draw(learned, config.images_per_class, config.seed)
    held_out = compared_images(config, run.records, learned)
    method = TokenMethod(prepare_base(config, run), config.token, config.initial_word, config.vectors, config.keep_norm)
    run.record_environment(drawn=[r.path for r in records])
    result = yield from train_denoising(
        method, records, config, run, held_out, lambda prompt: with_token(prompt, config.token, config.modality)
    )
    return {
        **result,
        "token": method.token,
        "norm": float(method.vectors.detach().norm(dim=-1).mean()),
        "vocabulary_norm": method.vocabulary_norm,
    }


def balanced_draw(records: list[Record], per_class: int | None, seed: int) -> list[Record]:
    """As many records of each class, at random: `per_class`, or what the smallest class has.

    Raises UserError where a class has fewer.
    """
    counts = count_labels(records)
    wanted = per_class or min(counts.values())
    short = {label: n for label, n in counts.items() if n < wanted}
    if short:
        raise UserError(f"images_per_class is {wanted}, but the training split has only {short}.")
    rng = np.random.default_rng(seed)
    drawn = []
    for label in counts:
        members = [r for r in records if r.label == label]
        drawn += [members[i] for i in sorted(rng.choice(len(members), wanted, replace=False))]
    return drawn


class TokenMethod(Denoising):
    """The vectors of a new token; everything else stays frozen."""

    message = "Learning the token"
    product = TOKEN.product.name
    trains_text = True

    def __init__(self, pipe: StableDiffusionPipeline, token: str, initial_word: str, vectors: int, keep_norm: bool):
        self.pipe, self.token, self.keep_norm = pipe, written(token), keep_norm
        table = pipe.text_encoder.get_input_embeddings().weight.detach().float()
        self.vocabulary_norm = float(table.norm(dim=-1).mean())
        ids = pipe.tokenizer.encode(initial_word, add_special_tokens=False)
        if len(ids) != 1:
            raise UserError(f"initial_word {initial_word!r} is {len(ids)} tokens for this base; give a single word.")
        # diffusers' names for a token of several vectors, so that its loader splits a prompt alike.
        self.names = [self.token, *(f"{self.token}_{i}" for i in range(1, vectors))]
        refuse_known(pipe.tokenizer, self.token)
        self._words = deepcopy(pipe.tokenizer)
        pipe.tokenizer.add_tokens(self.names)
        pipe.text_encoder.resize_token_embeddings(len(pipe.tokenizer), mean_resizing=False)
        self.ids = pipe.tokenizer.convert_tokens_to_ids(self.names)
        self.vectors = torch.nn.Parameter(table[ids].repeat(vectors, 1).clone())
        self._hook = pipe.text_encoder.get_input_embeddings().register_forward_hook(self._put_vectors)

    def _put_vectors(self, _module: torch.nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        for vector, token_id in zip(self.vectors, self.ids, strict=True):
            output = torch.where((args[0] == token_id)[..., None], vector.to(output.dtype), output)
        return output

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        return {"vectors": self.vectors}

    def take_off(self) -> None:
        self._hook.remove()
        self.pipe.tokenizer = self._words
        self.pipe.text_encoder.resize_token_embeddings(len(self._words))

    def after_step(self) -> None:
        if self.keep_norm:
            with torch.no_grad():
                self.vectors.mul_(self.vocabulary_norm / self.vectors.norm(dim=-1, keepdim=True))

    def save(self, folder: Path) -> None:
        learned = {self.token: self.vectors.detach().cpu().contiguous()}
        write_whole(folder / self.product, lambda partial: save_file(learned, partial))
