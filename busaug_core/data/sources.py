"""Where a set comes from: a folder, a zip, Kaggle, or its official download. All end in a folder."""

import hashlib
import importlib.util
import shutil
import stat
import urllib.error
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from busaug_core.errors import UserError
from busaug_core.files import content_hash, written_whole
from busaug_core.foreign import kind_of
from busaug_core.jobs.events import Progress, Steps
from busaug_core.paths import absolute

KAGGLE = "kaggle"
DOWNLOAD = "download"
MAX_FILES = 200_000
MAX_BYTES = 8 * 2**30
MAX_RATIO = 200
"""Unpacked over packed size of one file; pictures hardly shrink, zip bombs do."""
CHUNK = 2**20


@dataclass(frozen=True)
class Published:
    """Where a set is published: its name on Kaggle, and the address and SHA-256 of its zip."""

    kaggle: str | None = None
    address: str | None = None
    sha256: str | None = None


BUSI = Published(
    kaggle="aryashah2k/breast-ultrasound-images-dataset",
    address="https://scholar.cu.edu.eg/Dataset_BUSI.zip",
    sha256="b2ce09f6063a31a73f628b6a6ee1245187cbaec225e93e563735691d68654de7",
)


def open_source(source: str, workspace: Path, published: Published) -> Steps[Path]:
    """Fetch or unpack what needs it into `workspace`, yielding progress; returns the folder.

    Args:
        source: a folder, a zip file, or `kaggle` or `download` where the set is published there
        workspace: a folder of the run's own
        published: where the set can be had

    Raises:
        UserError: the source cannot be had, is damaged or unsafe
    """
    refuse_unusable(source, published)
    if source == KAGGLE and published.kaggle:
        return _from_kaggle(published.kaggle)
    if source == DOWNLOAD and published.address:
        archive = workspace / published.address.split("/")[-1]
        if not archive.exists():
            yield from _download(published.address, published.sha256, archive)
        return (yield from unpack(archive, workspace / "unpacked"))
    path = absolute(source)
    if path.is_dir():
        return path
    # A zip that was repaired after a failure is another one.
    return (yield from unpack(path, workspace / f"unpacked_{content_hash(path)[:12]}"))


def refuse_unusable(source: str, published: Published) -> None:
    """Raises UserError where a source cannot be had, as far as it can be known without fetching or unpacking it."""
    if source == KAGGLE and published.kaggle:
        if importlib.util.find_spec("kagglehub") is None:
            raise UserError("The source 'kaggle' needs the package kagglehub; run pip install kagglehub.")
        return
    path = absolute(source)
    if path.is_dir() or (source == DOWNLOAD and published.address):
        return
    if not path.exists():
        raise UserError(f"{path} is neither a folder nor a zip; give the path of the set's folder or zip.")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no zip; it seems to be {kind_of(path)}. Give the path of the set's folder or zip.")


def unpack(archive: Path, folder: Path) -> Steps[Path]:
    """Unpack a zip that may not be trusted, yielding progress; returns the folder.

    Raises UserError for what is no zip, names that leave the folder, links, and sizes out of bounds; then
    nothing is left behind.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            entries = [e for e in file.infolist() if not e.is_dir()]
            if all((folder / e.filename).is_file() for e in entries):
                return folder
            shutil.rmtree(folder, ignore_errors=True)
            _check_entries(archive, entries)
            with written_whole(folder) as partial:
                for n, entry in enumerate(entries, 1):
                    target = partial / entry.filename
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with file.open(entry) as packed, target.open("wb") as unpacked:
                        shutil.copyfileobj(packed, unpacked, CHUNK)
                    if n % 100 == 0 or n == len(entries):
                        yield Progress(n, len(entries), "Unpacking")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise UserError(
            f"{archive} cannot be unpacked ({error}); it seems to be {kind_of(archive)}. Fetch it again, or unpack "
            "it by hand."
        ) from None
    return folder


def _check_entries(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_FILES or sum(e.file_size for e in entries) > MAX_BYTES:
        raise UserError(f"{archive} unpacks to over {MAX_FILES} files or {MAX_BYTES >> 30} GiB; unpack it by hand.")
    for entry in entries:
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
            raise UserError(f"{archive} holds {entry.filename!r}, which lies outside its folder; do not trust it.")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UserError(f"{archive} holds the link {entry.filename!r}; do not trust it.")
        if entry.file_size > MAX_RATIO * max(entry.compress_size, 1) + CHUNK:
            raise UserError(f"{archive} holds {entry.filename!r}, which unpacks {MAX_RATIO}-fold; do not trust it.")


def _from_kaggle(name: str) -> Path:
    import kagglehub

    try:
        return Path(kagglehub.dataset_download(name))
    except Exception as error:  # kagglehub raises requests' errors, its own, and plain ones
        raise UserError(
            f"Kaggle's {name} cannot be fetched ({error}); download it by hand and give the zip's path."
        ) from None


def _download(address: str, sha256: str, target: Path) -> Steps[None]:
    """Fetch a file, checking its SHA-256, all or nothing."""
    digest = hashlib.sha256()
    try:
        with written_whole(target) as partial:
            with urllib.request.urlopen(address, timeout=60) as response, partial.open("wb") as file:
                total, done = int(response.headers.get("Content-Length") or 0), 0
                while chunk := response.read(CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    yield Progress(done >> 20, max(total, done) >> 20, "Downloading (MiB)")
            if digest.hexdigest() != sha256:
                raise UserError(f"What {address} sent is not the set as known (its SHA-256 differs); fetch it by hand.")
    except (urllib.error.URLError, TimeoutError) as error:
        raise UserError(f"{address} cannot be reached ({error}); download it by hand and name the zip.") from None
