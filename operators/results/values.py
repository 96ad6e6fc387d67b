"""Values of samples, column by column: how they are read, written, compared and kept as JSON.

A column is a sample field, or a tag as `tags.<tag>`, whose values are True and False.
"""

import base64
import hashlib
import io
import json
import zlib
from collections.abc import Iterable
from typing import Any

import fiftyone as fo
import numpy as np
from bson import json_util

from ..host.images import every_image

TAGS = "tags."

DOCUMENT = (fo.EmbeddedDocument, fo.DynamicEmbeddedDocument)

Values = dict[str, dict[str, Any]]
"""The values of each column by sample id."""


def is_tag(column: str) -> bool:
    return column.startswith(TAGS)


def read_values(dataset: fo.Dataset, columns: Iterable[str]) -> Values:
    """The values of all samples; None in a field that the dataset lacks."""
    columns = list(columns)
    names = [c for c in columns if not is_tag(c) and dataset.get_field(c) is not None]
    with_tags = any(map(is_tag, columns))
    ids, *found = every_image(dataset).values(["id", *names, *(["tags"] if with_tags else [])])
    tags = {id_: frozenset(own or ()) for id_, own in zip(ids, found.pop(), strict=True)} if with_tags else {}
    values = {name: dict(zip(ids, column, strict=True)) for name, column in zip(names, found, strict=True)}
    for column in columns:
        if is_tag(column):
            values[column] = {id_: column.removeprefix(TAGS) in own for id_, own in tags.items()}
        elif column not in values:
            values[column] = dict.fromkeys(ids)
    return values


def write_values(dataset: fo.Dataset, values: Values) -> None:
    """Set values of samples that the dataset has, in fields that it has; other tags of theirs stay."""
    images = every_image(dataset)
    changed: dict[str, dict[str, bool]] = {}
    for column, of_samples in values.items():
        if is_tag(column):
            for id_, wanted in of_samples.items():
                changed.setdefault(id_, {})[column.removeprefix(TAGS)] = wanted
        elif of_samples:
            images.set_values(column, of_samples, key_field="id")
    if changed:
        tags = dict(zip(*images.select(list(changed)).values(["id", "tags"]), strict=True))
        for id_, wanted in changed.items():
            kept = [tag for tag in tags[id_] or () if wanted.get(tag, True)]
            tags[id_] = kept + [tag for tag, given in wanted.items() if given and tag not in kept]
        images.set_values("tags", tags, key_field="id")


def digest(value: Any) -> str | None:
    """What tells a value from another, also one read back from the dataset; None for none."""
    plain = _plain(value)
    return None if plain is None else hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def to_json(value: Any) -> Any:
    """A value as plain JSON, for `from_json`."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.ndarray):
        buffer = io.BytesIO()
        np.save(buffer, value, allow_pickle=False)
        return {"array": base64.b64encode(zlib.compress(buffer.getvalue())).decode()}
    if isinstance(value, DOCUMENT):
        return {"document": json.loads(value.to_json()), "class": type(value).__name__}
    return {"value": json.loads(json_util.dumps(value))}


def from_json(value: Any) -> Any:
    """The value that `to_json` gave."""
    match value:
        case {"array": text}:
            return np.load(io.BytesIO(zlib.decompress(base64.b64decode(text))), allow_pickle=False)
        case {"document": fields, "class": name}:
            return getattr(fo, name).from_json(json.dumps(fields))
        case {"value": other}:
            return json_util.loads(json.dumps(other))
    return value


def _plain(value: Any) -> Any:
    """A value without what does not tell it from another: ids, what a document leaves open, number types."""
    if isinstance(value, DOCUMENT):
        value = value.to_dict()
    if isinstance(value, np.ndarray):
        return [value.dtype.str, list(value.shape), hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        found = {name: _plain(inner) for name, inner in value.items() if name not in ("_id", "_cls")}
        return {name: inner for name, inner in found.items() if inner not in (None, [], {})}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return str(value)
