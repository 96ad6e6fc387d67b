"""Seeded breast anatomy: echogenicity, attenuation and the lesion's exact mask."""

from dataclasses import dataclass

import numpy as np

from busaug_core.simulate.fields import curve, ridges, surface, warp
from busaug_core.simulate.lesion import draw_lesion

GRID = 192  # samples down and across
FIELD = 40.0  # mm, depth and width of the field of view
PIXEL = FIELD / GRID  # mm


@dataclass(frozen=True)
class Phantom:
    """Tissue on a square grid of ``pixel`` mm; row 0 is the transducer's face.

    echogenicity: (n, n) float32, dB relative to glandular tissue.
    attenuation: (n, n) float32, dB/cm/MHz, one way, not negative.
    mask: (n, n) bool, True inside the lesion; all False in a normal breast.
    """

    echogenicity: np.ndarray
    attenuation: np.ndarray
    mask: np.ndarray
    pixel: float = PIXEL


def make_phantom(label: str, rng: np.random.Generator) -> Phantom:
    """Anatomy of one breast; ``label`` is 'normal', 'benign' or 'malignant'."""
    y, x = np.mgrid[:GRID, :GRID].astype(np.float32) * PIXEL
    rows = _bent_rows(rng, y, x)
    echogenicity, attenuation, in_gland, in_muscle = _layers(rng, rows * PIXEL)
    _connective_tissue(rng, rows, echogenicity, in_gland, in_muscle)
    _deep_structures(rng, y, x, echogenicity, attenuation)
    _uneven_contact(rng, y, attenuation)
    mask = np.zeros((GRID, GRID), bool)
    if label != "normal":
        lesion = draw_lesion(label, rng, y, x, FIELD)
        mask = lesion.apply(echogenicity, attenuation)
    return Phantom(echogenicity, np.maximum(attenuation, 0), mask)


def _bent_rows(rng, y, x):
    """The flat layer (in rows) that each pixel belongs to: layers sag and undulate with depth."""
    sag = rng.choice([rng.normal(0, 1.0), rng.uniform(0, 4)])
    bend = 0.8 * curve(rng, GRID, 2) + 0.35 * curve(rng, GRID, 5)
    tilt = rng.normal(0, 2.0) * (x / FIELD - 0.5)
    bow = sag * ((x / FIELD - rng.uniform(0.35, 0.65)) ** 2 * 4 - 0.3)
    ripple = 0.45 * surface(rng, GRID, 5, 5) + 0.13 * surface(rng, GRID, 26, 20)
    return (y + np.clip(y / 14, 0, 1.6) * (bend[None] + tilt + bow + ripple)) / PIXEL


def _layers(rng, depth):
    """Echogenicity, attenuation and shares of gland and muscle of the layers; ``depth`` in mm."""
    n = depth.shape[0]
    rows = depth / PIXEL
    skin = rng.uniform(1.0, 2.2)
    fat = skin + rng.choice([rng.uniform(0.5, 4), rng.uniform(3, 10)])
    gland = fat + rng.uniform(6, 18)
    fat_edge = fat + 0.9 * curve(rng, n, 4)[None] + 0.5 * curve(rng, n, 12)[None]
    gland_edge = gland + 0.8 * curve(rng, n, 4)[None]
    blotches = warp(surface(rng, n, 12, 6), rows)
    grain = warp(surface(rng, n, 40, 16), rows)

    echo_gland = rng.uniform(-3, 2) + 1.6 * grain + rng.uniform(1, 4.5) * blotches
    if rng.random() < 0.45:  # fat lobules and ducts within the gland
        cells = rng.uniform(27, 46)
        across = int(cells * rng.uniform(0.4, 0.7))
        lobules = warp(surface(rng, n, int(cells), across), rows)
        echo_gland = echo_gland - rng.uniform(5, 9) * _step(lobules - rng.uniform(0.0, 0.9), 0.15)
    echo_fat = rng.uniform(-13, -7) + 0.8 * grain + 0.8 * blotches
    echo_muscle = rng.uniform(-15, -6) + 1.6 * grain + 2.0 * blotches

    in_gland, in_muscle = _step(depth - fat_edge, 0.35), _step(depth - gland_edge, 0.9)
    echogenicity = echo_fat + in_gland * (echo_gland - echo_fat)
    echogenicity = echogenicity + in_muscle * (echo_muscle - echogenicity)
    attenuation = 0.5 + 0.25 * in_gland + 0.05 * in_muscle

    in_skin = _step(skin - depth, 0.15)
    echogenicity += in_skin * (rng.uniform(-10, 2) - echogenicity)
    edges = ((0.2, 8, 0.2), (skin, rng.uniform(4, 13), 0.16), (fat_edge, rng.uniform(0, 9), 0.25))
    for edge, gain, width in edges:
        strength = np.clip(0.5 + 0.5 * curve(rng, n, 7), 0, 1.2)[None]
        echogenicity += gain * strength * np.exp(-((depth - edge) ** 2) / (2 * width**2))
    for _ in range(rng.integers(1, 5)):  # sheets of the pectoral fascia
        sheet = gland_edge + rng.uniform(-1, 5) + 0.3 * curve(rng, n, 4)[None]
        strength = np.clip(0.4 + 0.7 * curve(rng, n, 5), 0, 1.2)[None]
        echogenicity += rng.uniform(7, 15) * strength * np.exp(-((depth - sheet) ** 2) / (2 * 0.18**2))
    return echogenicity.astype(np.float32), attenuation.astype(np.float32), in_gland, in_muscle


def _connective_tissue(rng, rows, echogenicity, in_gland, in_muscle):
    """Cooper's ligaments and septa: thin, broken, mostly near-horizontal bright lines."""
    n = rows.shape[0]
    amount = rng.uniform(0.6, 1.4) * (1 - rng.uniform(-0.1, 0.8) * (1 - in_gland))
    for cells_y, cells_x, gain, width in ((14, 5, 12, 0.75), (24, 7, 11, 0.65), (36, 10, 10, 0.55)):
        field = warp(surface(rng, n, int(cells_y * rng.uniform(0.7, 1.3)), cells_x), rows)
        present = np.clip(0.35 + 0.75 * surface(rng, n, 15, 11), 0, 1.4)
        lines = ridges(field, width * rng.uniform(0.8, 1.3), rng.uniform(1.5, 4.0))
        echogenicity += amount * gain * rng.uniform(0.5, 1.2) * present * lines
    if rng.random() < 0.6:  # the muscle's own sheets
        field = warp(surface(rng, n, int(rng.integers(24, 50)), int(rng.integers(3, 7))), rows)
        present = np.clip(0.3 + 0.8 * surface(rng, n, 18, 8), 0, 1.5)
        echogenicity += rng.uniform(5, 14) * present * in_muscle * ridges(field, 0.7, 2.0)
    fibres = np.clip(warp(surface(rng, n, 64, int(rng.integers(8, 18))), rows) - 0.3, 0, 2)
    where = np.clip(0.6 + 0.6 * surface(rng, n, 5, 4), 0, 1.4)
    echogenicity += rng.uniform(2, 7) * where * fibres


def _deep_structures(rng, y, x, echogenicity, attenuation):
    """Rib with its shadow, pleural line with lung below, loss of penetration, or nothing."""
    kind = rng.choice(["none", "rib", "pleura", "fade"], p=[0.45, 0.12, 0.13, 0.3])
    n = y.shape[0]
    if kind == "rib":
        centre, top, half = rng.uniform(2, 38), rng.uniform(24, 33), rng.uniform(5, 10)
        arc = top + 3.5 * ((x - centre) / half) ** 2 + 0.3 * curve(rng, n, 6)[None]
        near = np.exp(-(((x - centre) / half) ** 4))
        echogenicity += rng.uniform(8, 18) * near * np.exp(-((y - arc) ** 2) / (2 * 0.25**2))
        attenuation += rng.uniform(0.8, 2.5) * _step(y - arc, 0.8) * near * (y - arc < 8)
    elif kind == "pleura":
        line = rng.uniform(25, 36) + rng.normal(0, 2) * (x / 20 - 1) + 0.6 * curve(rng, n, 4)[None]
        lung = _step(y - line, 0.5)
        echogenicity += lung * (rng.uniform(-16, -8) + 2 * surface(rng, n, 30, 6) - echogenicity)
        strength = np.clip(0.4 + 0.7 * curve(rng, n, 5), 0, 1.1)[None]
        echogenicity += rng.uniform(10, 20) * strength * np.exp(-((y - line) ** 2) / (2 * 0.25**2))
        attenuation += lung * rng.uniform(0.1, 0.8)
    elif kind == "fade":
        start = rng.uniform(12, 26) + 2.5 * curve(rng, n, 5)[None]
        attenuation += _step(y - start, 2.5) * rng.uniform(0.15, 0.6)


def _uneven_contact(rng, y, attenuation):
    """Streaks of loss (dB at 9 MHz) below the skin: poor contact and ligaments shade columns."""
    n = y.shape[0]
    for cells, most in ((24, 2.5), (10, 3.0), (4, 3.0)):
        loss = np.clip(curve(rng, n, cells), -0.7, 2.0) * rng.uniform(0, most)
        start, length = rng.uniform(1, 14), rng.uniform(5, 18)
        attenuation += ((y > start) & (y < start + length)) * loss[None] / (2 * 9.0 * length / 10)


def _step(distance, width):
    """Smooth 0 to 1 step, ``width`` in the unit of ``distance``."""
    return 0.5 + 0.5 * np.tanh(distance / width)
