"""Burnt-in annotations."""

import numpy as np
from PIL import Image, ImageDraw

from busaug_core.data.audit.annotations import annotation_score
from busaug_core.images import open_image
from busaug_core.simulate import simulate


def marked(scan, path, draw):
    image = scan.convert("RGB")
    draw(ImageDraw.Draw(image))
    image.save(path)
    return annotation_score(open_image(path))


def cross(draw):
    draw.line([(100, 90), (100, 102)], fill="white", width=2)
    draw.line([(94, 96), (106, 96)], fill="white", width=2)


def test_a_caliper_text_and_colour_are_annotations_and_a_plain_scan_is_not(scan, tmp_path):
    assert marked(scan, tmp_path / "plain.png", lambda d: None) < 1
    assert marked(scan, tmp_path / "cross.png", cross) >= 1
    assert marked(scan, tmp_path / "text.png", lambda d: d.text((30, 180), "RT UOQ", fill="white", font_size=14)) >= 1
    assert marked(scan, tmp_path / "colour.png", lambda d: d.rectangle((90, 90, 110, 110), outline="yellow")) >= 1


def test_simulated_scans_bear_no_annotations(tmp_path):
    scores = []
    for seed in range(12):
        Image.fromarray(simulate(("benign", "malignant", "normal")[seed % 3], seed, 224).image).save(tmp_path / "s.png")
        scores.append(annotation_score(open_image(tmp_path / "s.png")))
    assert np.mean(np.array(scores) >= 1) <= 1 / 12
