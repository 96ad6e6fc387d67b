"""The benchmarks can be started: they import what the library has."""

import importlib.util
from pathlib import Path

import pytest

import busaug_core

SCRIPTS = sorted((Path(busaug_core.__file__).parents[1] / "benchmarks").glob("[a-z]*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_imports_and_has_a_main(path, monkeypatch):
    monkeypatch.syspath_prepend(path.parent)  # as where it is started
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert callable(module.main)
