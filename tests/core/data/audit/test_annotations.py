"""Burnt-in annotations, drawn onto simulated scans."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation

import busaug_core
from busaug_core.data.audit.annotations import annotation_mask, annotation_score
from busaug_core.simulate import simulate

LIST = Path(busaug_core.__file__).parents[1] / "docs" / "burnt-in-marks.csv"
KINDS = {
    *("text", "patient text", "unreadable text", "caliper", "cursor", "body mark", "frame"),
    *("scale", "edge of scale", "logo"),
}


def marked(draw, label="benign", size=224):
    """The score of a simulated scan that a function has drawn onto, in units of 1/224 of its side."""
    image = Image.fromarray(simulate(label, 7, size).image).convert("RGB")
    draw(ImageDraw.Draw(image), size / 224)
    return annotation_score(image)


def cross(level, diagonal=False):
    def draw(onto, unit):
        x, y, arm, width = 100 * unit, 90 * unit, 5 * unit, max(1, round(unit))
        ends = [(arm, arm), (arm, -arm)] if diagonal else [(arm, 0), (0, arm)]
        for right, down in ends:
            onto.line([(x - right, y - down), (x + right, y + down)], fill=(level,) * 3, width=width)

    return draw


def text(words, level, size):
    return lambda onto, unit: onto.text((30 * unit, 180 * unit), words, fill=(level,) * 3, font_size=size * unit)


def dotted(degrees, level=255, step=3):
    def draw(onto, unit):
        for n in range(20):
            right, down = n * step * math.cos(math.radians(degrees)), n * step * math.sin(math.radians(degrees))
            x, y, side = round((80 + right) * unit), round((60 + down) * unit), round(unit) - 1
            onto.rectangle((x, y, x + side, y + side), fill=(level,) * 3)

    return draw


def cursor(onto, unit):
    onto.line([(60 * unit, 150 * unit), (60 * unit, 160 * unit)], fill=(180,) * 3, width=max(1, round(unit)))


def frame(onto, unit):
    onto.rectangle((60 * unit, 60 * unit, 140 * unit, 120 * unit), outline=(180,) * 3, width=max(1, round(unit)))


def arrow(onto, unit):
    x, y = 100 * unit, 60 * unit
    tip = [(x, y), (x, y + 20 * unit), (x - 4 * unit, y + 16 * unit)]
    onto.line([*tip, (x + 4 * unit, y + 16 * unit), tip[1]], fill=(255,) * 3, width=max(1, round(unit)))


MARKS = {
    "white cross": cross(255),
    "gray cross": cross(180),
    "diagonal cross": cross(255, diagonal=True),
    "white text": text("RT UOQ", 255, 14),
    "gray text": text("37 ANOS", 140, 12),
    "small gray text": text("lt axilla", 180, 8),
    "dotted line": dotted(5),
    "gray dotted line": dotted(90, 180),
    "slanting dotted line": dotted(35),
    "cursor": cursor,
    "arrow": arrow,
    "frame": frame,
    "colour": lambda onto, unit: onto.rectangle((90, 90, 110, 110), outline="yellow"),
}


@pytest.mark.parametrize("label", ["benign", "normal"])
@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_on_a_scan_is_an_annotation(mark, label):
    assert marked(lambda onto, unit: None, label) < 1
    assert marked(MARKS[mark], label) >= 1


@pytest.mark.parametrize("label", ["benign", "normal"])
@pytest.mark.parametrize("mark", MARKS)
def test_the_mask_of_a_mark_covers_it_and_hardly_anything_else(mark, label):
    scan = Image.fromarray(simulate(label, 7, 224).image).convert("RGB")
    assert not annotation_mask(scan).any()
    with_mark = scan.copy()
    MARKS[mark](ImageDraw.Draw(with_mark), 1)
    drawn = (np.asarray(with_mark) != np.asarray(scan)).any(-1)
    mask = annotation_mask(with_mark)
    assert mask.shape == drawn.shape and mask.dtype == bool
    # Level lines, such as those of half a frame, are like echoes and no sign of a mark.
    assert mask[drawn].mean() > (0.4 if mark == "frame" else 0.75)
    assert mask[~binary_dilation(drawn, np.ones((17, 17)))].sum() < 0.1 * mask.sum()


def test_the_mask_of_a_large_scan_lies_at_the_same_place_in_its_reduced_picture():
    scan = Image.fromarray(simulate("benign", 7, 480).image[:, :360])
    ImageDraw.Draw(scan).rectangle((150, 240, 240, 330), outline=255, width=2)
    mask = annotation_mask(scan)
    assert mask.shape == (round(480 * 224 / 360), 224)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    found = np.array([columns[0], rows[0], columns[-1], rows[-1]]) * 360 / 224
    assert np.abs(found - [150, 240, 240, 330]).max() < 12


@pytest.mark.parametrize("mark", ["white cross", "gray text", "small gray text", "cursor", "arrow", "frame"])
def test_a_mark_is_found_on_a_scan_of_full_size(mark):
    assert marked(MARKS[mark], size=500) >= 1


def test_a_hundred_simulated_scans_bear_no_annotations():
    scans = (simulate(("benign", "malignant", "normal")[n % 3], n, (128, 160, 224)[n // 3 % 3]) for n in range(100))
    assert sum(annotation_score(Image.fromarray(scan.image)) >= 1 for scan in scans) == 0


def test_a_scan_has_a_mask_of_marks_where_its_score_says_that_it_is_annotated():
    for level in range(20, 250, 10):
        scan = Image.fromarray(simulate("normal", 7, 224).image)
        ImageDraw.Draw(scan).text((30, 180), "RT", fill=level, font_size=10)
        assert annotation_mask(scan).any() == (annotation_score(scan) >= 1)


def test_the_scanners_mark_in_the_corner_and_what_cropping_left_at_the_edge_are_none():
    def draw(onto, unit):
        onto.text((1, 1), "Q", fill="white", font_size=9)
        for y in range(40, 200, 20):
            onto.line([(220, y), (224, y)], fill="white")

    assert marked(draw) < 1


def test_a_scan_in_a_colour_map_is_not_taken_for_marked():
    gray = simulate("normal", 7, 224).image
    assert annotation_score(Image.fromarray(np.stack([gray, gray // 2, gray // 4], -1))) < 1


def test_a_strip_is_looked_at_without_being_blown_up():
    strip = Image.fromarray(np.random.default_rng(0).integers(0, 255, (3, 4000), np.uint8))
    assert annotation_score(strip) >= 0
    assert annotation_score(strip.transpose(Image.Transpose.ROTATE_90)) >= 0
    assert annotation_score(Image.new("L", (1, 1))) == 0
    assert not annotation_mask(Image.new("L", (1, 1))).any()


def test_the_list_of_marks_names_each_scan_once_with_known_kinds():
    rows = list(csv.DictReader(LIST.open(encoding="utf-8")))
    assert len({(r["set"], r["name"]) for r in rows}) == len(rows)
    for row in rows:
        assert row["set"] in ("busi", "bus_bra") and row["name"].endswith(".png")
        assert row["half"] in ("tune", "report") and row["drawn"] in ("random", "unflagged")
        assert set(filter(None, row["marks"].split("; "))) <= KINDS
    for name in ("busi", "bus_bra"):
        clean = [r for r in rows if r["set"] == name and set(r["marks"].split("; ")) <= {"", "logo", "edge of scale"}]
        assert sum(r["set"] == name for r in rows) >= 200 and len(clean) >= 60
    halves = {}
    for row in rows:
        if row["set"] == "bus_bra":
            halves.setdefault(row["name"].split("-")[0], set()).add(row["half"])
    assert all(len(found) == 1 for found in halves.values())
