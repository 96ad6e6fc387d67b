"""What the metrics of a classifier cannot tell, said beside them."""

from busaug_core.records import Record, count_labels


def remarks_on_evaluation(held_out: list[Record], classes: list[str], split: str) -> list[str]:
    """A sentence for each lack of the images that a classifier of these classes is evaluated on."""
    counts = count_labels(held_out)
    absent, lone = [c for c in classes if c not in counts], [c for c, n in counts.items() if n == 1]
    remarks = []
    if len(counts) == 1:
        remarks.append(
            f"All evaluated images ({len(held_out)} of '{split}') are of the class '{next(iter(counts))}': the metrics "
            "do not tell whether classes are told apart, and there is no AUC."
        )
    elif absent:
        remarks.append(f"'{split}' has no image of {', '.join(absent)}, of which the metrics tell nothing.")
    if lone:
        remarks.append(f"'{split}' has a single image of {', '.join(lone)}: its recall there can only be 0 or 1.")
    return remarks
