"""The plugin as FiftyOne sees it."""

import subprocess
import sys
from pathlib import Path

import fiftyone.plugins as fop
import yaml
from fiftyone.operators.registry import OperatorRegistry

ROOT = Path(__file__).resolve().parents[2]
NAMES = {
    "load_busi",
    "load_external",
    "audit",
    "train_lora",
    "train_textual_inversion",
    "finetune_unet",
    "finetune_decoder",
    "train_controlnet",
    "generate",
    "compute_embeddings",
    "compute_fid",
    "score_synthetic",
    "filter_synthetic",
    "train_classifier",
    "apply_classifier",
    "run_experiment",
    "manage_runs",
    "check_setup",
    "return_to_form",
    "watch_queue",
}
PANELS = {"watch_run"}


def test_all_operators_register_without_an_error():
    registry = OperatorRegistry()
    assert registry.list_errors() == []
    found = {o.name for o in registry.list_operators() if o.plugin_name == "@busaug/busaug"}
    assert found == NAMES | PANELS


def test_the_manifest_lists_the_operators():
    manifest = yaml.safe_load((ROOT / "fiftyone.yml").read_text())
    assert set(manifest["operators"]) == NAMES
    assert set(manifest["panels"]) == PANELS
    assert fop.get_plugin("@busaug/busaug").name == manifest["name"]


def test_loading_the_plugin_imports_nothing_heavy():
    code = (
        "import sys, fiftyone; before = set(sys.modules)\n"
        "from fiftyone.operators.registry import OperatorRegistry\n"
        "registry = OperatorRegistry()\n"
        "assert not registry.list_errors(), registry.list_errors()\n"
        "assert registry.operator_exists('@busaug/busaug/generate')\n"
        "new = set(sys.modules) - before\n"
        "print([m for m in ('torch', 'diffusers', 'transformers', 'peft', 'umap', 'sklearn') if m in new])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_check_setup_needs_no_dataset(call):
    result = call("check_setup")
    assert result["state"] == "done"
    assert {"name", "ok", "found", "fix"} <= set(result["checks"][0])
    assert all(c["ok"] for c in result["checks"] if c["name"] in ("torch", "diffusers"))
