"""Tables in any separator and encoding, and what is said of those that are none."""

import pytest

from busaug_core.data.tables import find_tables, read_fitting, read_table
from busaug_core.errors import UserError

ROWS = [["Image", "Label"], ["nódulo.png", "Benign"], ["b, c.png", "Malignant"]]
EXPECTED = [{"Image": "nódulo.png", "Label": "Benign"}, {"Image": "b, c.png", "Label": "Malignant"}]


def written(separator, quote='"'):
    return "\n".join(separator.join(quote + cell + quote for cell in row) for row in ROWS) + "\n"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_any_separator_and_encoding_is_read(tmp_path, separator, encoding):
    (tmp_path / "t.csv").write_bytes(written(separator).encode(encoding))
    assert read_table(tmp_path / "t.csv", ("Image", "Label")) == EXPECTED


@pytest.mark.parametrize(
    "text",
    [
        "image,LABEL\nnódulo.png,Benign\n",
        " Image , Label \n nódulo.png , Benign \n",
        "I_mage;la-bel\r\nnódulo.png;Benign\r\n\r\n;\r\n",
        "\n\nImage,Label,\nnódulo.png,Benign,\n",
        "sep=;\nImage;Label\nnódulo.png;Benign\n",
        "Image,Label\nnódulo.png,Benign,more,cells\n",
    ],
)
def test_columns_are_found_however_they_are_written(tmp_path, text):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    (row,) = read_table(tmp_path / "t.csv", ("Image", "Label"))
    assert (row["Image"], row["Label"]) == ("nódulo.png", "Benign")


def test_a_row_that_is_short_has_empty_entries(tmp_path):
    (tmp_path / "t.csv").write_text("Image,Label,BIRADS\na.png,Benign\n")
    assert read_table(tmp_path / "t.csv", ("Image",), ("BIRADS",))[0]["BIRADS"] == ""


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"Image,Kind\na,b\n", r"lacks Label among its columns: it has Image, Kind"),
        ("t.csv", b"", r"lacks Image, Label among its columns: it has no rows"),
        ("t.csv", b"\x89PNG\r\n\x1a\n\x00\x00", "cannot be read as a table.*it seems to be a PNG image"),
        ("t.csv", b"Image,Label\n\x00\x01\x02", "cannot be read as a table"),
        ("t.xlsx", b"Image,Label\na,b\n", "cannot be read as a table.*it seems to be a text"),
        ("t.xlsx", b"<!doctype html>", "cannot be read as a table.*it seems to be an HTML page"),
        ("t.xlsx", b"version https://git-lfs.github.com/spec/v1\n", "git-LFS pointer"),
    ],
)
def test_a_table_that_cannot_be_used_is_named_with_what_it_is(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}.*{said}"):
        read_table(tmp_path / name, ("Image", "Label"))


def test_of_several_tables_the_one_that_fits_is_read(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/b.tsv").write_text("Image\tLabel\na\tb\n")
    path, rows = read_fitting(tmp_path, ("Image", "Label"))
    assert (path.name, rows) == ("b.tsv", [{"Image": "a", "Label": "b"}])
    with pytest.raises(UserError, match=r"a\.csv lacks Pathology among its columns"):
        read_fitting(tmp_path, ("Pathology",))


def test_a_spreadsheet_is_read_as_text(tmp_path):
    import pandas as pd

    pd.DataFrame({" image ": ["a.png", "b.png"], "Label": [1, None]}).to_excel(tmp_path / "t.xlsx", index=False)
    assert [row["Image"] for row in read_table(tmp_path / "t.xlsx", ("Image", "Label"))] == ["a.png", "b.png"]


def test_a_folder_without_tables_says_so(tmp_path):
    with pytest.raises(UserError, match="lacks the table of classes"):
        find_tables(tmp_path)
