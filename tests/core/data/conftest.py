"""A copy of the scans that a test may change."""

import shutil

import pytest


@pytest.fixture
def copy(busi, tmp_path):
    return shutil.copytree(busi, tmp_path / "copy")
