"""Files of many kinds as samples: what FiftyOne says of them is what they hold, and the App can show them."""

import fiftyone as fo
import numpy as np
import pytest
import tifffile
from PIL import Image

from busaug_core.simulate import simulate
from operators.host.samples import read_samples


@pytest.fixture
def folder(tmp_path):
    """A photo that lies on its side, a TIFF of 12 bits, a JPEG and a PNG without suffix, two with masks."""
    root = tmp_path / "set/benign"
    root.mkdir(parents=True)
    pictures = [Image.fromarray(simulate("benign", 40 + n, 64).image[:48]) for n in range(4)]
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures[0].save(root / "photo.jpg", exif=exif)
    tifffile.imwrite(root / "deep.tif", np.asarray(pictures[1]).astype(np.uint16) << 4)
    pictures[2].save(root / "plain.webp")
    pictures[3].save(root / "IM0001", format="png")
    for name, size in (("photo", (64, 48)), ("deep", (48, 64))):
        mask = np.zeros(size, np.uint8)
        mask[10:20, 5:45] = 255
        Image.fromarray(mask).save(root / f"{name}_mask.jpg", quality=75)
    return tmp_path / "set"


@pytest.fixture
def dataset(call, folder):
    call("load_external", layout="folder", source=str(folder), dataset_name="formats", write_png=True)
    yield fo.load_dataset("formats")
    fo.delete_dataset("formats")


def test_the_size_that_is_stored_is_the_one_that_fiftyone_finds(dataset):
    ours = {s.filepath: s.metadata for s in dataset}
    dataset.compute_metadata(overwrite=True)
    for sample in dataset:
        before, now = ours[sample.filepath], sample.metadata
        for name in ("size_bytes", "width", "height", "num_channels", "mime_type"):
            assert before[name] == now[name], (sample.filepath, name)
    assert (now.width, now.height) != (0, 0)
    photo = dataset.match({"filepath": {"$regex": "photo"}}).first()
    assert (photo.metadata.width, photo.metadata.height) == (48, 64)


def test_every_sample_is_an_image_that_browsers_show(dataset):
    assert dataset.media_type == "image" and len(dataset) == 4
    assert {path.rsplit(".", 1)[1] for path in dataset.values("filepath")} == {"jpg", "png", "webp"}
    originals = [path.rsplit("/", 1)[1] for path in dataset.values("source.file") if path]
    assert sorted(originals) == ["IM0001", "deep.tif"]


def test_a_lesion_lies_where_its_mask_does_on_the_picture_as_it_is_shown(dataset):
    photo = dataset.match({"filepath": {"$regex": "photo"}}).first()
    (lesion,) = photo.lesions.detections
    assert lesion.bounding_box == pytest.approx([5 / 48, 10 / 64, 40 / 48, 10 / 64], abs=0.03)
    record = next(r for r in read_samples(dataset) if "photo" in r.path)
    assert record.lesion_mask().shape == (64, 48)


def test_images_without_classes_become_samples_without_a_class(call, folder):
    result = call("load_external", layout="images", source=str(folder), dataset_name="unlabelled", write_png=True)
    dataset = fo.load_dataset("unlabelled")
    assert result["counts"] == {"": 4}
    assert dataset.values("ground_truth") == [None] * 4
    assert dataset.default_classes == []
    assert [r.label for r in read_samples(dataset)] == [""] * 4
    fo.delete_dataset("unlabelled")
