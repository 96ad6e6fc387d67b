"""How much of the heat maps lies on lesions and on burnt-in marks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from busaug_core.classify.attention import LESION, MARKS, attention_rows, measure_attention
from busaug_core.classify.heatmaps import SIDE, path_of
from busaug_core.jobs.run import Run
from busaug_core.records import Lesion, Record

EVERYWHERE = np.full((SIDE, SIDE), 9, np.uint8)


def at(row, column, side=SIDE // 4):
    """A map of one square."""
    heat = np.zeros((SIDE, SIDE), np.uint8)
    heat[row : row + side, column : column + side] = 255
    return heat


def scan(name, lesion=None, size=(96, 72), **more):
    """A record of no file yet; its lesion is a box (left, top, right, bottom) of an image of that width and height."""
    lesions = []
    if lesion is not None:
        mask = np.zeros(size[::-1], bool)
        mask[lesion[1] : lesion[3], lesion[0] : lesion[2]] = True
        lesions = [Lesion.of(None, mask)]
    return Record(f"/{name}.png", "benign", lesions=lesions, size=[*size, 1], **more)


@pytest.fixture
def measured(tmp_path):
    """A function that writes records' maps and images, and returns what is measured of them, and the rows.

    Images are black but for a yellow mark, a box of them (left, top, right, bottom), of those that have one.
    """

    def measured(records, heats, evaluated=None, target=LESION, marks=None):
        run = Run(tmp_path / "run")
        records = [replace(r, path=str(tmp_path / Path(r.path).name)) for r in records]
        for record, box in zip(records, marks or [None] * len(records), strict=True):
            picture = Image.new("RGB", record.size[:2])
            if box is not None:
                ImageDraw.Draw(picture).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="yellow")
            picture.save(record.path)
        for i, heat in enumerate(heats):
            path_of(run, i).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(heat).save(path_of(run, i))
        found = measure_attention(run, records, ["benign"] * len(records))
        evaluated = range(len(records)) if evaluated is None else evaluated
        return found, attention_rows(run, records, found, evaluated, target)

    return measured


def test_a_map_that_is_the_same_everywhere_has_on_a_lesion_what_its_mask_covers(measured):
    (one, other), _ = measured([scan("a", (10, 5, 31, 48)), scan("b", (1, 2, 90, 71), (100, 72))], [EVERYWHERE] * 2)
    assert one.covered == pytest.approx(21 * 43 / (96 * 72), rel=1e-6)
    assert other.covered == pytest.approx(89 * 69 / 7200, rel=1e-6)
    assert (one.on_lesion, other.on_lesion) == pytest.approx((one.covered, other.covered), rel=1e-6)


def test_a_map_is_laid_over_a_mask_of_another_size_and_shape(measured):
    quarter = (24, 18, 48, 36)  # the second of four columns and rows
    heats = [at(32, 32), at(64, 64), at(32, 48)]
    found, _ = measured([scan(name, quarter) for name in "abc"], heats)
    assert [one.on_lesion for one in found] == pytest.approx([1, 0, 0.5])


def test_pixels_of_a_mask_that_a_maps_pixel_covers_in_part_count_in_part(measured):
    fine = scan("a", (0, 0, 129, 256), (256, 256))  # 64 columns of the map and half of another
    (one,), _ = measured([fine], [at(0, 64, side=1)])
    assert one.on_lesion == pytest.approx(0.5)


def test_maps_that_show_one_place_have_as_much_on_the_lesions_of_other_scans(measured):
    middle = (24, 18, 72, 54)
    found, (row,) = measured([scan(name, middle) for name in "abc"], [at(48, 48)] * 3)
    assert [one.on_lesion for one in found] == [1, 1, 1]
    assert (row["on_lesion"], row["low"], row["high"], row["covered"]) == pytest.approx((1, 1, 1, 0.25))
    assert (row["on_others"], row["excess"], row["excess_low"], row["excess_high"]) == pytest.approx((1, 0, 0, 0))


def test_maps_that_follow_the_lesion_exceed_what_they_have_on_others(measured):
    records = [scan("a", (0, 0, 24, 18)), scan("b", (72, 54, 96, 72)), scan("c", (72, 0, 96, 18))]
    _, (row,) = measured(records, [at(0, 0), at(96, 96), at(0, 0)])
    # the third is looked at where the first one's lesion is
    assert (row["on_lesion"], row["on_others"], row["excess"]) == pytest.approx((2 / 3, 0.5 / 3, 0.5))
    assert row["low"] < row["on_lesion"] < row["high"]
    assert row["excess_low"] < row["excess"] < row["excess_high"]


def test_images_of_one_scan_are_one_draw_and_none_of_anothers(measured):
    lesion = (0, 0, 24, 18)
    records = [scan(name, lesion, split_group="one") for name in "ab"]
    _, (row,) = measured(records, [at(0, 0), at(64, 64)])
    assert row["n"] == 2
    assert row.keys() == {"variant", "n", "covered", "on_lesion"}
    apart = scan("c", (72, 54, 96, 72))
    _, (row,) = measured([*records, apart], [at(0, 0), at(0, 0), at(0, 0)])
    assert row["on_others"] == pytest.approx(1 / 3)  # the pair's maps on the third's lesion, and that one's on theirs
    assert row["low"] == 0 and row["high"] == 1


def test_an_empty_map_is_told_and_counts_in_no_mean_and_without_a_mask_there_is_no_share(measured):
    records = [scan("a", (0, 0, 24, 18)), scan("b", (0, 0, 24, 18)), scan("c")]
    found, (row,) = measured(records, [at(0, 0), np.zeros_like(EVERYWHERE), EVERYWHERE])
    assert [(one.empty, one.on_lesion) for one in found] == [(False, 1.0), (True, None), (False, None)]
    assert row["n"] == 1


def test_there_is_a_row_of_each_variant_with_masks_and_of_real_images_the_evaluated_count(measured):
    records = [scan(name, (0, 0, 24, 18)) for name in "abc"]
    made = dict(origin="synthetic", variant="sd_mask")
    records += [scan("d", (0, 0, 24, 18), **made), replace(scan("e", **made), variant="sd")]
    heats = [at(0, 0), at(0, 0), at(64, 64), at(64, 64), at(0, 0)]
    _, rows = measured(records, heats, evaluated=[0, 1])
    assert [(row["variant"], row["n"], row["on_lesion"]) for row in rows] == [("real", 2, 1), ("sd_mask", 1, 0)]
    assert measured(records, heats, evaluated=[])[1] == rows[1:]


LARGE = (224, 448)
"""A size at which marks are looked for as they are, so that their masks are their boxes and 4 pixels on each side."""
MARK = (32, 64, 52, 116)
UNDER = (28, 60, 56, 120)
"""What the mask of that mark covers: in a map the columns 16 to 32, and rows from 17.1 to 34.3."""


def test_a_map_has_on_marks_what_lies_within_four_pixels_of_them(measured):
    records = [scan(name, size=LARGE) for name in "abcd"]
    heats = [EVERYWHERE, at(20, 20, 8), at(20, 28, 8), at(60, 60)]
    found, _ = measured(records, heats, marks=[MARK] * 4)
    area = (UNDER[2] - UNDER[0]) * (UNDER[3] - UNDER[1]) / (LARGE[0] * LARGE[1])
    assert [one.marked for one in found] == pytest.approx([area] * 4)
    assert [one.on_marks for one in found] == pytest.approx([area, 1, 0.5, 0])
    assert all(one.on_lesion is None for one in found)


def test_where_no_marks_are_found_nothing_is_said_of_them(measured):
    records = [scan(name, (0, 0, 24, 18)) for name in "abc"]
    found, rows = measured(records, [EVERYWHERE] * 3, target=MARKS)
    assert {(one.on_marks, one.marked) for one in found} == {(None, None)}
    assert rows == []


def test_of_marks_too_the_maps_are_laid_over_those_of_other_scans_and_only_marked_images_count(measured):
    records = [scan(name, size=LARGE) for name in "abcd"]
    other = (152, 320, 172, 372)  # 120 pixels further right and 256 further down
    heats = [at(20, 20, 8), at(20, 20, 8), at(20, 20, 8), EVERYWHERE]
    found, (row,) = measured(records, heats, target=MARKS, marks=[MARK, MARK, other, None])
    assert found[3].on_marks is None
    assert (row["variant"], row["n"]) == ("real", 3)
    assert (row["on_marks"], row["on_others"], row["excess"]) == pytest.approx((2 / 3, 2 / 3, 0))
    assert row["low"] < row["on_marks"] < row["high"]
    assert row["excess_low"] < 0 < row["excess_high"]
    assert row["marked"] == pytest.approx(found[0].marked)


def test_a_variants_marks_have_a_row_of_their_own(measured):
    made = scan("b", size=LARGE, origin="synthetic", variant="sd")
    heats, marks = [EVERYWHERE, at(20, 20, 8)], [MARK, MARK]
    _, rows = measured([scan("a", size=LARGE), made], heats, [0], MARKS, marks)
    assert [(row["variant"], row["n"]) for row in rows] == [("real", 1), ("sd", 1)]
    assert rows[1]["on_marks"] == pytest.approx(1)
    assert rows[1].keys() == {"variant", "n", "marked", "on_marks"}
