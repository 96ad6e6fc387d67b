"""`python -m busaug_core`."""

import json
from pathlib import Path

import pytest

from busaug_core import setup
from busaug_core.__main__ import main
from busaug_core.registry import JOBS


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BUSAUG_HOME", str(tmp_path))
    return tmp_path


def test_a_job_runs_from_the_command_line_on_the_products_of_another(busi, home, capsys):
    load = ["load_busi", "--source", str(busi), "--dataset_name", "trial", "--split", "50-50", "--run_key", "load"]
    assert main([*load, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run_key"] == "load"
    train = ["train_classifier", "--dataset", "trial", "--data", "load", "--epochs", "1", "--resolution", "32"]
    assert main([*train, "--run_key", "clf", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["n_train"] == 7
    assert json.loads((home / "trial/runs/clf/config.json").read_text())["epochs"] == 1


def test_data_of_runs_that_are_not_done_or_made_no_images_are_refused(busi, home, capsys):
    load = ["load_busi", "--source", str(busi), "--dataset_name", "trial", "--split", "50-50", "--run_key", "load"]
    train = ["train_classifier", "--dataset", "trial", "--epochs", "1", "--resolution", "32", "--run_key", "clf"]
    assert main(load) == main([*train, "--data", "load"]) == 0
    assert main([*train[:-1], "other", "--data", "load", "clf"]) == 2
    assert "'clf' made no images" in capsys.readouterr().err
    (home / "trial/runs/load/state.json").write_text('{"state": "stopped", "error": null}')
    assert main([*train[:-1], "other", "--data", "load"]) == 2
    assert "'load' is stopped" in capsys.readouterr().err


def test_data_of_two_splits_is_refused(busi, capsys):
    load = ["load_busi", "--source", str(busi), "--dataset_name", "trial", "--split", "50-50"]
    assert main([*load, "--run_key", "a"]) == main([*load, "--run_key", "b", "--seed", "1"]) == 0
    assert main(["audit", "--dataset", "trial", "--data", "a", "--run_key", "audited"]) == 0
    assert main(["audit", "--dataset", "trial", "--data", "a", "audited"]) == 0
    assert main(["audit", "--dataset", "trial", "--data", "a", "b"]) == 2
    assert "is in another split in 'b'" in capsys.readouterr().err
    external = ["load_external", "--layout", "folder", "--source", str(busi), "--data", "a"]
    assert main(external) == 2
    assert "name that by --dataset" in capsys.readouterr().err


def test_ctrl_c_tells_how_to_go_on(home, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("busaug_core.data.load.list_scans", interrupted)
    assert main(["load_busi", "--images", "12", "--image_size", "64", "--dataset_name", "trial"]) == 130
    (run,) = (home / "trial/runs").iterdir()
    assert f"Stopped. The same command with --run_key {run.name} goes on from here." in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setenv("BUSAUG_HOME", str(home))
    command = ["load_busi", "--images", "12", "--image_size", "64", "--dataset_name", "trial", "--run_key", run.name]
    assert main(command) == 0


def test_a_wrong_field_ends_with_a_sentence_and_status_2(capsys):
    assert main(["load_busi", "--seed", "-5"]) == 2
    error = capsys.readouterr().err
    assert "'seed'" in error
    assert "Traceback" not in error


def test_numbers_lists_and_dictionaries_are_read_by_the_fields_type(busi, home, capsys):
    load = ["load_busi", "--source", str(busi), "--dataset_name", "2024", "--split", "50-50", "--run_key", "load"]
    assert main(load) == 0
    generate = ["generate", "--dataset", "2024", "--data", "load", "--variants", "base", "sd_ti", "--counts"]
    assert main([*generate, '{"benign": 1}']) == 2
    assert "variant 'sd_ti' needs a LoRA" in capsys.readouterr().err
    assert main([*generate, "benign=1"]) == 2
    assert "is not JSON" in capsys.readouterr().err


def test_a_switch_may_stand_alone_or_say_true_or_false(busi, home, capsys):
    load = ["load_busi", "--source", str(busi), "--dataset_name", "switch", "--split", "50-50"]
    for given, meant in (([], True), (["true"], True), (["false"], False)):
        key = f"load_{'_'.join(given)}alone"
        assert main([*load, "--write_png", *given, "--run_key", key]) == 0
        assert json.loads((home / "switch/runs" / key / "config.json").read_text())["write_png"] is meant
    assert main([*load, "--write_png", "perhaps"]) == 2
    assert "write_png" in capsys.readouterr().err


def test_a_shortened_field_name_is_an_error():
    with pytest.raises(SystemExit):
        main(["load_busi", "--sour", "x"])


def help_of(job, capsys):
    with pytest.raises(SystemExit):
        main([job, "--help"])
    return " ".join(capsys.readouterr().out.split())


def test_the_field_of_a_dataset_that_holds_the_class_is_no_option_here(capsys):
    with pytest.raises(SystemExit):
        main(["train_classifier", "--dataset", "trial", "--data", "load", "--label_field", "diagnosis"])
    assert "--label_field" in capsys.readouterr().err


def test_help_tells_choices_and_defaults(capsys):
    text = help_of("compute_fid", capsys)
    assert "One of refuse, leave_out. Default: refuse." in text
    assert "Any of fid, fid_infinity, kid, prdc, two_sample, speckle, ladder, judge. Default: fid kid" in text
    assert "floor. Default: 10." in text
    text = help_of("generate", capsys)
    assert 'As JSON. Default: {"benign": "ultrasound image' in text
    assert "Default: ." not in text + help_of("train_classifier", capsys)


def test_every_field_of_every_job_has_a_sentence_of_help(capsys):
    for name, job in JOBS.items():
        for field, info in job.config_class().model_fields.items():
            assert info.description, f"{name}.{field}"
            assert info.description.endswith("."), f"{name}.{field}"


def test_check_setup_prints_a_table(capsys):
    main(["check_setup"])
    assert "base model mini" in capsys.readouterr().out


def test_check_setup_prints_json_too(capsys):
    main(["check_setup", "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert {"name", "ok", "found", "fix", "needed"} == set(checks[0])


def test_check_setup_names_a_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(setup, "PACKAGES", ("numpy", "no-such-package"))
    checks = {check.name: check for check in setup.check_setup()}
    assert not checks["no-such-package"].ok
    assert "pip install" in setup.table(list(checks.values()))
    assert "device" not in checks


def test_data_and_datasets_that_are_not_there_are_named(busi, home, capsys):
    train = ["train_classifier", "--dataset", "nope", "--data"]
    assert main([*train, "load"]) == 2
    assert f"There are no runs of a dataset 'nope' in {home}; datasets there: none yet" in capsys.readouterr().err
    assert (
        main(["load_busi", "--source", str(busi), "--dataset_name", "trial", "--run_key", "load", "--split=50-50"]) == 0
    )
    for place in ("no.jsonl", "./no", "no/such.jsonl"):
        assert main([*train, place]) == 2
        assert f"There is no file {Path(place).absolute()}; name runs" in capsys.readouterr().err
    assert main([*train, "load"]) == 2
    assert "datasets there: trial." in capsys.readouterr().err
    train[2] = "trial"
    assert main([*train, "laod"]) == 2
    assert "There is no run 'laod' of dataset 'trial'; its runs: load." in capsys.readouterr().err


def test_an_empty_run_key_is_refused_with_what_to_do(capsys):
    assert main(["load_busi", "--run_key", ""]) == 2
    assert "leave it out (found '')" in capsys.readouterr().err


def test_check_setup_names_optional_packages_with_what_they_are_for_and_how_they_are_had(monkeypatch):
    packages = {
        "pydicom": "pip install pydicom",
        "rapidocr-onnxruntime": "rapidocr-onnxruntime==1.4.4",
        "kagglehub": "kagglehub",
    }
    checks = {check.name.partition(",")[0]: check for check in setup.check_setup()}
    for name, command in packages.items():
        assert not checks[name].needed and command in checks[name].fix
        assert ", for " in checks[name].name
