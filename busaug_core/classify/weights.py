"""The weight file of a classifier: its tensors, and in the header what it is."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from busaug_core.base.weights import kind_of_weights, load_weights
from busaug_core.classify.config import WEIGHTS
from busaug_core.errors import UserError
from busaug_core.files import write_whole
from busaug_core.foreign import reading


def save_weights(folder: Path, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
    """Write the file into a run's folder; `document` is plain JSON that says which classifier it is."""
    metadata = {"busaug": json.dumps(document)}
    write_whole(folder / WEIGHTS, lambda partial: save_file(tensors, partial, metadata=metadata))


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The document and the tensors of a file of `save_weights`; raises UserError where it is none."""
    if not path.exists():
        raise UserError(f"There is no finished classifier run in {path.parent}; train one with train_classifier.")
    tensors = load_weights(path, "a classifier")
    with safe_open(path, "pt") as file:
        document = (file.metadata() or {}).get("busaug")
    if document is None:
        raise UserError(
            f"{path} is no classifier of train_classifier, which says what it is; it seems to be "
            f"{kind_of_weights(tensors)}."
        )
    with reading(path, "a classifier"):
        document = json.loads(document)
        if "arch" not in document:
            raise ValueError("it does not say of which architecture")
    return document, tensors
