"""Images of which nothing says where they come from: they are real, and the dataset says so from the first write on."""

import fiftyone as fo

from ..host.fields import declare_fields, is_ours
from .overwritten import GRANTED, Overwritten
from .values import Values, read_values

REAL = ("real", "simulated")


def adopt(dataset: fo.Dataset, kept: Overwritten) -> None:
    """Fill in `origin` and `variant` where they are empty, save in a field that is the user's own by type or values."""
    now = read_values(dataset, GRANTED)
    filled: Values = {}
    for name in sorted(GRANTED):
        of_images = {id_: value for id_, value in now[name].items() if now["origin"][id_] != "synthetic"}
        if is_ours(dataset, name) and {*of_images.values()} <= {None, *REAL}:
            origins = {id_: now["origin"][id_] for id_, value in of_images.items() if value is None}
            filled[name] = {id_: origin if origin in REAL else "real" for id_, origin in origins.items()}
    filled = {name: values for name, values in filled.items() if values}
    if filled:
        kept.note(made=declare_fields(dataset, filled))
        kept.write(filled, again=False)
