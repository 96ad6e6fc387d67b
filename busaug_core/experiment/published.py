"""What a paper has published of the same arms, and why it cannot be found again exactly."""

from collections.abc import Collection

from busaug_core.experiment.arms import ORIGINAL
from busaug_core.measure.report import markdown_table
from busaug_core.records import Record

HYBRID = {
    ORIGINAL.name: (0.904, 0.887, 0.979, 0.890, None),
    "sd": (0.917, 0.905, 0.986, 0.901, 45.97),
    "sd_img2img": (0.898, 0.879, 0.978, 0.878, 38.34),
    "sd_ti": (0.924, 0.912, 0.980, 0.906, 45.66),
    "sd_ti_img2img": (0.905, 0.884, 0.975, 0.890, 37.18),
}
"""Table 1 of the hybrid-diffusion paper: accuracy, F1, AUC, PPV and FID, of one ResNet18 each on 157 images."""
WHY = (
    "As published for Stable Diffusion 1.5 and a ResNet18, one training each. It cannot be found again exactly: one of "
    "its 157 validation images is .006 of accuracy, so that .904 and .924 are three images apart; a random split of "
    "BUSI, as there, has a copy or another frame of 76 of the 157 in training, which here lie on one side; and its FID "
    "is of 780 against 780 images, without the floor between real ones (the abstract has 33.29 where the table has "
    "37.18). Distances in other features, of other numbers of images, do not compare with it at all."
)


def published(arms: Collection[str], images: Collection[Record]) -> list[str]:
    """The lines of the table, where real scans of BUSI were tested by all of its arms; none otherwise."""
    if not set(HYBRID) <= set(arms) or any(image.origin == "simulated" for image in images):
        return []
    rows = [
        [arm if arm == ORIGINAL.name else f"+ {arm}", *(f"{v:.3f}" for v in metrics), "–" if fid is None else f"{fid}"]
        for arm, (*metrics, fid) in HYBRID.items()
    ]
    return [*markdown_table(["arm", "accuracy", "F1", "AUC", "PPV", "FID"], rows), "", WHY]
