"""Getting at a set: folders, zips that may not be trusted, downloads that fail."""

import shutil
import sys
import zipfile

import pytest

from busaug_core.data import sources
from busaug_core.data.busi import list_scans
from busaug_core.data.config import LoadBusi, LoadExternal
from busaug_core.errors import UserError
from busaug_core.jobs.events import drain


def zipped(folder, archive):
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.png")):
            file.write(path, path.relative_to(folder.parent))
    return archive


def test_a_zip_gives_the_same_scans_as_its_folder(busi, tmp_path, run_job):
    archive = zipped(busi, tmp_path / "busi.zip")
    result = run_job("load_busi", source=str(archive), dataset_name="trial", split="50-50", run_key="load")
    assert result["counts"] == {"benign": 6, "malignant": 5, "normal": 4}


def test_a_zip_that_was_repaired_is_unpacked_anew(busi, tmp_path, run_job):
    folder = shutil.copytree(busi, tmp_path / "copy" / busi.name)
    image = folder / "benign" / "benign (1).png"
    whole = image.read_bytes()
    image.write_bytes(b"no image")
    values = dict(source=str(tmp_path / "busi.zip"), split="50-50", run_key="load")
    zipped(folder, tmp_path / "busi.zip")
    with pytest.raises(UserError, match="cannot be read"):
        run_job("load_busi", **values)
    image.write_bytes(whole)
    zipped(folder, tmp_path / "busi.zip")
    assert run_job("load_busi", **values)["counts"]["benign"] == 6


def test_a_source_is_noted_as_it_stands_from_everywhere(busi, monkeypatch):
    monkeypatch.chdir(busi.parent)
    assert LoadBusi(source=busi.name).source == str(busi)
    (busi.parent / "simulated").mkdir()
    for word in ("simulated", "kaggle"):
        assert LoadBusi(source=word).source == word
    assert LoadBusi(source="~nobody-here/x/..").source == str(busi.parent / "~nobody-here")


def test_paths_are_stored_without_dots(busi):
    first, *_ = list_scans(busi / ".." / busi.name).scans
    assert first.path == busi / "benign" / "benign (1).png"
    assert drain(sources.open_source(f"{busi}/../{busi.name}", busi, sources.BUSI)) == busi


@pytest.mark.parametrize("name", ["../outside.png", "/abs.png", "a/../../b.png", "C:/x.png", "..\\x.png"])
def test_a_name_outside_the_folder_is_refused_and_nothing_is_left(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        file.writestr("benign/benign (1).png", b"x")
        file.writestr(name, b"x")
    with pytest.raises(UserError, match="outside its folder"):
        drain(sources.unpack(tmp_path / "bad.zip", tmp_path / "into" / "here"))
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["bad.zip"]


def test_a_link_a_bomb_and_a_broken_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as file:
        entry = zipfile.ZipInfo("link.png")
        entry.external_attr = 0o120777 << 16
        file.writestr(entry, "/etc/passwd")
    with pytest.raises(UserError, match="link"):
        drain(sources.unpack(tmp_path / "link.zip", tmp_path / "one"))
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros.png", bytes(50_000_000))
    with pytest.raises(UserError, match="200-fold"):
        drain(sources.unpack(tmp_path / "bomb.zip", tmp_path / "two"))
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(UserError, match="cannot be unpacked"):
        drain(sources.unpack(tmp_path / "broken.zip", tmp_path / "three"))
    assert not any((tmp_path / name).exists() for name in ("one", "two", "three"))


def test_a_download_with_another_checksum_is_refused(tmp_path):
    (tmp_path / "page.zip").write_bytes(b"not BUSI")
    page = sources.Published(address=(tmp_path / "page.zip").as_uri(), sha256=sources.BUSI.sha256)
    with pytest.raises(UserError, match="SHA-256 differs"):
        drain(sources.open_source("download", tmp_path / "work", page))
    assert not list((tmp_path / "work").iterdir())


def test_an_address_that_cannot_be_reached_says_what_to_do(tmp_path):
    nowhere = sources.Published(address=(tmp_path / "nothing.zip").as_uri())
    with pytest.raises(UserError, match="download it by hand"):
        drain(sources.open_source("download", tmp_path / "work", nowhere))


def test_kaggle_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install kagglehub"):
        drain(sources.open_source("kaggle", tmp_path, sources.BUSI))


def test_a_path_that_is_nothing_is_named(tmp_path):
    with pytest.raises(UserError, match="neither a folder nor a zip"):
        drain(sources.open_source(str(tmp_path / "nothing"), tmp_path, sources.BUSI))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<!DOCTYPE html><html>Sign in</html>", "an HTML page, as a download that asks for a login"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-LFS pointer"),
        (b"Rar!\x1a\x07", "a RAR archive"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"PK\x03\x04 and so on", "a zip archive that is cut short or broken"),
        (b"", "an empty file"),
    ],
)
def test_what_is_no_zip_is_called_what_it_is_before_anything_is_made(tmp_path, run_job, content, kind):
    (tmp_path / "set.zip").write_bytes(content)
    for name, values in (("load_busi", {}), ("load_external", dict(layout="folder"))):
        with pytest.raises(UserError, match=f"set.zip is no zip; it seems to be {kind}"):
            run_job(name, source=str(tmp_path / "set.zip"), dataset_name="trial", run_key="load", **values)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["set.zip"]


@pytest.mark.parametrize("source", ["http://example.org/set.zip", "https://example.org/set", "s3://bucket/set"])
def test_an_address_as_source_is_refused_with_what_to_do(source):
    for config, values in ((LoadBusi, {}), (LoadExternal, dict(layout="folder"))):
        with pytest.raises(UserError, match="'source': addresses are not fetched; download it, and give the path"):
            config.parse(dict(source=source, **values))
