"""A job's result for people."""

import json
import re

import pytest

from busaug_core.__main__ import main
from busaug_core.jobs.run import Run
from busaug_core.records import Record
from busaug_core.summary import MOST, align, describe, summarise, table

LOAD = ["load_busi", "--dataset_name", "trial", "--split", "50-50"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BUSAUG_HOME", str(tmp_path))
    return tmp_path


def test_a_load_tells_classes_by_split_what_was_left_out_where_it_lies_and_how_to_go_on(busi, home, capsys):
    (busi / "notes.docx").write_bytes(b"PK")
    try:
        assert main([*LOAD, "--source", str(busi), "--run_key", "load"]) == 0
    finally:
        (busi / "notes.docx").unlink()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"load_busi: run 'load' is done; it lies in {home}/trial/runs/load"
    assert [line.split() for line in lines[2:7]] == [
        ["class", "train", "val", "all"],
        ["benign", "3", "3", "6"],
        ["malignant", "2", "3", "5"],
        ["normal", "2", "2", "4"],
        ["all", "7", "8", "15"],
    ]
    assert any(line.startswith("skipped") or "notes.docx" in line for line in lines)
    assert "--data load of jobs that work on images (--dataset trial)" in lines[-1]


def test_a_training_tells_its_metrics_and_which_options_take_it(busi, capsys):
    assert main([*LOAD, "--source", str(busi), "--run_key", "load"]) == 0
    command = ["train_classifier", "--dataset", "trial", "--data", "load", "--epochs", "1", "--resolution", "32"]
    capsys.readouterr()
    assert main([*command, "--run_key", "clf"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"metrics\s+n\s+8,?\s+accuracy\s+0\.", told)
    assert "--classifier clf of score_synthetic, apply_classifier" in told
    assert "--extractor clf of compute_embeddings, compute_fid" in told
    assert main([*command, "--run_key", "clf", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["n"] == 8


def test_a_probe_is_proposed_as_a_classifier_and_not_as_an_extractor(busi, capsys):
    assert main([*LOAD, "--source", str(busi), "--run_key", "load"]) == 0
    command = ["train_classifier", "--dataset", "trial", "--data", "load", "--arch", "probe", "--run_key", "probe"]
    capsys.readouterr()
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "--classifier probe of score_synthetic, apply_classifier" in told
    assert "--extractor" not in told


def test_images_that_were_made_are_to_be_taken_beside_the_real_ones(home):
    run = Run(home / "trial" / "runs" / "kept")
    run.folder.mkdir(parents=True)
    for origin, told in (("synthetic", ", beside the run that loaded the real ones"), ("real", "")):
        run.write_products([Record("image.png", "benign", origin)])
        lines = summarise("filter_synthetic", {"folder": str(run.folder), "run_key": "kept"})
        assert lines[-1] == f"To use it: --data kept of jobs that work on images{told} (--dataset trial)."


def test_values_stand_aligned_and_documents_as_tables():
    values = {
        "loss": 0.123456,
        "trained_parameters": 100000,
        "weights": "0123456789abcdef" * 4,
        "floor": None,
        "train_counts": {"benign": 3, "normal": 2},
        "means": [{"variant": "sd", "n": 12, "realism": 0.5}, {"variant": "sd_img2img", "n": 7, "realism": None}],
        "grid": {"benign": {"kept": 3}, "normal": {"kept": 12}},
        "remarks": [],
    }
    assert describe(values) == [
        "loss                0.1235",
        "trained parameters  100000",
        "weights             0123456789abcdef",
        "floor               –",
        "train counts        benign 3, normal 2",
        "remarks             none",
        "",
        "means",
        "  variant      n  realism",
        "  sd          12      0.5",
        "  sd_img2img   7        –",
        "",
        "grid",
        "          kept",
        "  benign     3",
        "  normal    12",
    ]


def test_long_lists_and_tables_are_cut_and_say_so():
    skipped = describe({"skipped": [f"file {n} cannot be read" for n in range(MOST + 3)]})
    assert (skipped[1], skipped[-1]) == ("  - file 0 cannot be read", "  … and 3 more")
    assert table([{"n": n} for n in range(MOST + 1)])[-1] == "… and 1 more"


def test_long_texts_stand_last_in_a_table_and_empty_columns_are_left_out():
    note = "the class has fewer images than the metric needs to be estimated"
    rows = [{"note": note, "low": None, "value": None, "n": 7}, {"note": None, "low": None, "value": 2.5, "n": 12}]
    assert table(rows) == ["value   n  note", f"    –   7  {note}", "  2.5  12  –"]
    assert table([{"note": None}]) == table([]) == []


def test_what_is_nested_in_other_ways_is_told_too():
    odd = {"confusion": [[3, 1], [0, 12]], "mixed": [1, {"a": [2]}], "deep": {"a": {"b": {"c": [1, 2]}}, "n": 1}}
    assert describe(odd) == [
        "confusion",
        "  3   1",
        "  0  12",
        "",
        "mixed",
        "  - 1",
        '  - {"a": [2]}',
        "",
        "deep",
        "  n  1",
        "",
        "  a",
        "    b",
        "      c  1, 2",
    ]


def test_a_markdown_table_is_aligned_and_other_lines_stay():
    lines = ["| metric | sd |", "| --- | --- |", "| FD | 27.5 (25 to 31) |", "", "Notes."]
    assert align(lines) == ["metric  sd", "FD      27.5 (25 to 31)", "", "Notes."]


def test_a_table_wider_than_the_terminal_goes_on_below_itself(monkeypatch):
    monkeypatch.setenv("COLUMNS", "24")
    lines = ["| metric | sd | sd_img2img | base |", "| --- | --- | --- | --- |", "| KID | 1 | 2 | 3 |"]
    assert align(lines) == ["metric  sd  sd_img2img", "KID     1   2", "", "metric  base", "KID     3"]


def test_a_line_of_a_markdown_table_that_lacks_cells_is_told_as_it_is():
    assert align(["| a | b |", "| - | - |", "| x |"]) == ["a  b", "x"]
