"""Radiomic features beside pyradiomics' own, on the same filtered images of simulated scans.

    python benchmarks/pyradiomics_parity.py

Needs pyradiomics and SimpleITK, which this project does not install, since pyradiomics must be built from its sources;
so the features were never compared with pyradiomics itself. The tests compare them with numpyradiomics, which has all
but the run lengths. Prints the greatest relative difference of each class of features.
"""

import importlib.util

import numpy as np

from busaug_core.metrics.radiomics.filters import filtered_images
from busaug_core.metrics.radiomics.first_order import first_order
from busaug_core.metrics.radiomics.levels import BIN_WIDTH, gray_levels
from busaug_core.metrics.radiomics.radiomics import TEXTURES
from busaug_core.simulate import simulate

SIZE = 224


def main() -> None:
    """Print a line for each class of features."""
    if any(importlib.util.find_spec(name) is None for name in ("radiomics", "SimpleITK")):
        print("Needs pyradiomics and SimpleITK; install them to compare with pyradiomics.")
        return
    worst: dict[str, tuple[float, str]] = {}
    for seed, label in enumerate(("benign", "malignant", "normal")):
        for name, values in filtered_images(simulate(label, seed, SIZE).image).items():
            levels = gray_levels(values)
            ours = {"FirstOrder": first_order(values, levels), **{k: f(levels) for k, f in TEXTURES.items()}}
            for kind, features in ours.items():
                theirs = of_pyradiomics(kind, values)
                for feature, value in features.items():
                    off = abs(value - theirs[feature]) / max(abs(theirs[feature]), 1e-9)
                    worst[kind] = max(worst.get(kind, (0, "")), (off, f"{feature} of {name}, {label}"))
    for kind, (off, where) in worst.items():
        print(f"{kind:12} {off:.2e}  {where}")


def of_pyradiomics(kind: str, values: np.ndarray) -> dict[str, float]:
    """The features of one class, of the whole image as a single slice."""
    import SimpleITK
    from radiomics import firstorder, glcm, gldm, glrlm, glszm, ngtdm

    modules = {"FirstOrder": firstorder, "GLCM": glcm, "GLRLM": glrlm, "GLSZM": glszm, "GLDM": gldm, "NGTDM": ngtdm}
    image = SimpleITK.GetImageFromArray(values[None])
    mask = SimpleITK.GetImageFromArray(np.ones((1, *values.shape), np.uint8))
    settings = dict(binWidth=BIN_WIDTH, force2D=True, force2Ddimension=0)
    found = getattr(modules[kind], f"Radiomics{kind}")(image, mask, **settings).execute()
    return {name: float(value) for name, value in found.items()}


if __name__ == "__main__":
    main()
