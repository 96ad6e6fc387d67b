"""The list of extractors, which turn images into features, by name. Importing this file loads none of them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from busaug_core.errors import UserError
from busaug_core.jobs.execute import imported
from busaug_core.jobs.lineage import run_that_made
from busaug_core.jobs.run import Ancestor, Run
from busaug_core.jobs.runs import runs_in

if TYPE_CHECKING:
    import torch

    from busaug_core.features.extractor import Extractor

CANONICAL, LEGACY = "canonical", "legacy"
PREPROCESSINGS = (CANONICAL, LEGACY)
INCEPTION = "inception"
LITE0 = "efficientnet_lite0"
RADIOMICS = "radiomics"
TORCHVISION = "torchvision"
OF_FORMULAS = (RADIOMICS,)
"""Those that are no network."""
WIDTHS = {INCEPTION: 2048, "inception-64": 64, "inception-192": 192, "inception-768": 768}
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
OF_A_RUN = "run"
PROBE = "probe"
"""The `arch` of classifiers that are themselves trained on an extractor's features, and so are none."""
EXTRACTORS = {
    LITE0: "busaug_core.features.efficientnet_lite:Lite0",
    "dinov2": "busaug_core.features.transformer:Dinov2",
    "clip": "busaug_core.features.transformer:Clip",
    RADIOMICS: "busaug_core.features.radiomics:Radiomics",
    TORCHVISION: "busaug_core.features.imagenet:ImageNetClassifier",
}
"""Where each kind's class lies; it is called with the device and what the name has behind a colon."""
NAMES = (LITE0, *WIDTHS, "dinov2", "clip", "torchvision:resnet50", RADIOMICS)
"""What can be asked for without a run; any torchvision classifier may stand for resnet50."""


def register(kind: str, place: str) -> None:
    """Add a kind of extractor, `module:name`; that of a run's own features is called with run, device and name."""
    EXTRACTORS[kind] = place


def default_extractor() -> str:
    """Inception where its weights are, so that distances compare with published FIDs; else EfficientNet-Lite0."""
    return LITE0 if inception_weights() is None else INCEPTION


def make_extractor(name: str, run: Run, device: "torch.device", preprocessing: str = CANONICAL) -> "Extractor":
    """The extractor of that name.

    Args:
        name: `efficientnet_lite0`; or `inception` (2048 features), `inception-64`, `inception-192`, `inception-768`,
            `dinov2` or `clip`, these each perhaps with other weights behind a colon (a file, or a folder or Hub id);
            `torchvision:` and a classifier's name; `radiomics`; the key of a classifier run beside `run`, or the
            folder of any
        preprocessing: `canonical`, or for the Inceptions `legacy`, which is pytorch-fid's own

    Raises:
        UserError: there is no such extractor, or it cannot work with this preprocessing
        MissingWeights: its weights cannot be had here
    """
    refuse_unknown(name, run, preprocessing)
    kind, _, place = name.partition(":")
    if kind in WIDTHS:
        network = "LegacyInception" if preprocessing == LEGACY else "Inception"
        return imported(f"busaug_core.features.inception:{network}")(device, place, WIDTHS[kind])
    if not is_of_a_run(name):
        return imported(EXTRACTORS[kind])(device, place)
    used = _classifier(name, run)
    return imported(EXTRACTORS[OF_A_RUN])(used.run, device, run.name_of(used))


def inception_weights() -> Path | None:
    """Where pytorch-fid's weights lie in the torch cache, or None; needs no torch."""
    path = hub_folder() / INCEPTION_FILE
    return path if path.exists() else None


def hub_folder() -> Path:
    """Where torch keeps the weights that it downloads."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or f"{cache}/torch").expanduser() / "hub" / "checkpoints"


def refuse_unknown(name: str, run: Run, preprocessing: str = CANONICAL) -> None:
    """Raises UserError where there is no such extractor, as far as that is known before weights are read."""
    kind, _, place = name.partition(":")
    if preprocessing not in PREPROCESSINGS:
        raise UserError(f"There is no preprocessing '{preprocessing}'; there are {' and '.join(PREPROCESSINGS)}.")
    if preprocessing == LEGACY and kind not in WIDTHS:
        raise UserError(f"The preprocessing '{LEGACY}' is pytorch-fid's, for {', '.join(WIDTHS)}; '{name}' has none.")
    if is_of_a_run(name):
        _classifier(name, run)
    elif kind == TORCHVISION:
        imported("busaug_core.features.imagenet:refuse_unknown_network")(place)
    elif kind in (LITE0, RADIOMICS) and place:
        raise UserError(f"{kind} takes no other weights (found '{place}'); name it alone.")
    elif kind in WIDTHS:
        if place and not Path(place).expanduser().is_file():
            raise UserError(f"There is no file {place}; put pytorch-fid's {INCEPTION_FILE} there.")
    elif place.startswith(("/", "~", ".")) and not Path(place).expanduser().is_dir():
        raise UserError(f"There is no folder {place} with weights of {kind}.")


def refuse_without_maps(name: str) -> None:
    """Raises UserError where the extractor of that name is no network, in whose layers there are maps of features."""
    if name in OF_FORMULAS:
        raise UserError(
            f"There are no heat maps of a probe on '{name}', whose features are formulas of the whole image, and lie "
            f"nowhere in it; leave heatmaps out, or train a probe on a network's features, such as {LITE0}."
        )


def is_of_a_run(name: str) -> bool:
    """Whether the name is no network's, so that it can only be that of a classifier's run."""
    kind = name.partition(":")[0]
    return kind not in WIDTHS and (kind not in EXTRACTORS or kind == OF_A_RUN)


def is_probe(run: Run) -> bool:
    """Whether a run has trained a probe."""
    return run.job is not None and run.config.get("arch") == PROBE


def _classifier(name: str, run: Run) -> Ancestor:
    """The classifier whose run, beside `run` or anywhere, bears the name; raises UserError where there is none."""
    used = next((u for field, u in run.used.items() if field == "extractor" and u.given == name), None)
    if used is None and (trained := run_that_made(run.sibling(name).folder)):
        used = Ancestor(name, trained.folder, trained)
    if used is None or used.run is None:
        trained = [r for r in runs_in(run.folder.parent, "train_classifier", done=True) if not is_probe(r)]
        raise UserError(
            f"There is no extractor '{name}'; there are {', '.join(NAMES)} (or another classifier of torchvision), "
            f"and the classifier runs of this dataset: {', '.join(r.key for r in trained) or 'none yet'}."
        )
    if is_probe(used.run):
        raise UserError(
            f"Classifier '{name}' is a probe, which has no features of its own; name the extractor whose features it "
            f"is trained on, '{used.run.config['extractor']}'."
        )
    return used
