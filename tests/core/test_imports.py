"""What may be imported at once: forms, the command line and the App read configs without waiting for torch."""

import subprocess
import sys
from pathlib import Path

import pytest

import busaug_core

HEAVY = {"torch", "diffusers", "peft", "transformers"}
LIGHT = ("busaug_core.generate.config", "busaug_core.train.config", "busaug_core.registry")


@pytest.mark.parametrize("module", LIGHT)
def test_a_module_that_the_forms_read_imports_nothing_heavy(module):
    code = f"import sys, {module}; print(*sorted(sys.modules.keys() & {HEAVY}))"
    root = Path(busaug_core.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
