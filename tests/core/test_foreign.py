import json
import pickle
import struct
import zipfile

import pytest
from PIL import Image

from busaug_core.errors import UserError, first_sentence
from busaug_core.foreign import kind_of, read_document, reading


def write_zip(path, *names):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"x")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file"),
        (bytes(100), "a file of zeros"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "a git-LFS pointer"),
        (b"\n <!DOCTYPE html><html><body>log in</body></html>", "an HTML page"),
        (b"<HTML><head></head></HTML>", "an HTML page"),
        (bytes(128) + b"DICM" + bytes(9), "a DICOM file"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "a WebP image"),
        (pickle.dumps({"weight": 1}), "a pickle"),
        (b'{"a": 1}', "a JSON document"),
        ("image,class\nnódulo,benigno".encode("latin-1"), "a text that is not in UTF-8"),
        ("image,class".encode("utf-16"), "a text in UTF-16"),
        ("image,class\né".encode(), "a text"),
        (b"\x01\x00\x02\x00\x03" * 9, "a binary file"),
        (struct.pack("<Q", 5000) + b'{"a":', "a safetensors file that is cut short"),
    ],
)
def test_a_file_is_told_by_its_first_bytes(tmp_path, content, kind):
    (tmp_path / "file").write_bytes(content)
    assert kind_of(tmp_path / "file").startswith(kind)


def test_archives_are_told_apart(tmp_path):
    for name, member, kind in [
        ("a", "archive/data.pkl", "a PyTorch pickle"),
        ("b", "xl/workbook.xml", "an Excel workbook"),
        ("c", "x.png", "a zip archive"),
    ]:
        write_zip(tmp_path / name, member)
        assert kind_of(tmp_path / name).startswith(kind)
    (tmp_path / "d").write_bytes((tmp_path / "c").read_bytes()[:20])
    assert "cut short" in kind_of(tmp_path / "d")


def test_a_safetensors_file_is_known_to_be_whole_or_cut(tmp_path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    whole = struct.pack("<Q", len(header)) + header + bytes(16)
    (tmp_path / "whole").write_bytes(whole)
    (tmp_path / "cut").write_bytes(whole[:-3])
    assert kind_of(tmp_path / "whole") == "a safetensors file"
    assert "cut short" in kind_of(tmp_path / "cut")
    entries = {f"layer.{i}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i in range(500)}
    long = json.dumps(entries).encode()
    whole = struct.pack("<Q", len(long)) + long + bytes(2000)
    (tmp_path / "whole").write_bytes(whole)
    (tmp_path / "cut").write_bytes(whole[:-1])
    assert kind_of(tmp_path / "whole") == "a safetensors file"
    assert "cut short" in kind_of(tmp_path / "cut")


def test_an_image_and_a_folder_are_told(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "picture.txt", format="png")
    assert kind_of(tmp_path / "picture.txt") == "a PNG image"
    assert kind_of(tmp_path) == "a folder"


def test_a_readers_error_becomes_a_sentence_with_file_and_kind(tmp_path):
    path = tmp_path / "lora.safetensors"
    path.write_bytes(b"<!doctype html>")
    expected = r"lora.safetensors cannot be read as a LoRA \(invalid header\); it seems to be an HTML page"
    with pytest.raises(UserError, match=expected), reading(path, "a LoRA"):
        raise ValueError("invalid header\nand more")
    absent = tmp_path / "absent"
    with pytest.raises(UserError, match="absent is missing; give the path of a LoRA"), reading(absent, "a LoRA"):
        absent.read_bytes()


def test_a_sentence_that_is_one_already_stays(tmp_path):
    with pytest.raises(UserError, match="^as it is$"), reading(tmp_path, "a table"):
        raise UserError("as it is")


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"[1]", "a JSON document"), (b'{"a":', "a JSON document"), (b"<html>", "an HTML page"), (b"", "empty")],
)
def test_a_document_that_is_no_object_of_names_is_told(tmp_path, content, kind):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=f"config.json cannot be read as a configuration .* it seems to be .*{kind}"):
        read_document(tmp_path / "config.json", "a configuration")
    (tmp_path / "config.json").write_bytes(b'{"a": 1}')
    assert read_document(tmp_path / "config.json", "a configuration") == {"a": 1}


@pytest.mark.parametrize(
    ("error", "told"),
    [(ValueError(), "ValueError"), (OSError("\nNo such file. Look elsewhere.\nOr not."), "No such file")],
)
def test_an_error_is_told_by_its_first_sentence_or_by_its_kind(error, told):
    assert first_sentence(error) == told
