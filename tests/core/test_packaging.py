"""What `pip install .` gives: the core with its files and dependencies, no FiftyOne; and that the two lists agree."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import busaug_core

CORE = Path(busaug_core.__file__).parent
ROOT = CORE.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ASKED_FOR_AT_NEED = {"kagglehub", "pandas", "pydicom", "rapidocr_onnxruntime"}


def packages(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([*pip, *options, str(ROOT)], check=True)
    with zipfile.ZipFile(next(folder.glob("busaug-*.whl"))) as archive:
        yield archive


def test_the_requirements_are_those_of_the_core_and_of_the_app():
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    declared = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["app"]
    assert packages([line for line in lines if line]) == packages(declared)


def test_what_the_core_imports_is_declared():
    imported = set()
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            imported |= {name.split(".")[0] for name in names}
    foreign = imported - sys.stdlib_module_names - {"busaug_core"} - ASKED_FOR_AT_NEED
    makers = metadata.packages_distributions()
    declared = packages(PROJECT["dependencies"]).keys()
    assert not {n for n in foreign if declared.isdisjoint(map(canonicalize_name, makers.get(n, [])))}


def test_the_wheel_holds_the_core_with_all_its_files_and_nothing_else(wheel):
    files = {str(p.relative_to(ROOT)) for p in CORE.rglob("*") if p.is_file() and p.suffix != ".pyc"}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == files
    assert "busaug_core/base/mini/unet/diffusion_pytorch_model.safetensors" in files
    assert "busaug_core/data/audit/published/duplicates.csv" in files


def test_the_wheel_names_its_command_and_needs_no_fiftyone(wheel):
    (folder,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    assert "busaug = busaug_core.__main__:main" in wheel.read(f"{folder}/entry_points.txt").decode()
    found = metadata.PathDistribution(zipfile.Path(wheel, f"{folder}/"))
    assert found.version == busaug_core.__version__
    needed = [line for line in found.requires if not Requirement(line).marker]
    assert packages(needed) == packages(PROJECT["dependencies"])
    assert "fiftyone" not in packages(needed)
