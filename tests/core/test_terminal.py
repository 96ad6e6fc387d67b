"""What the command line writes, and where."""

import io
import json
import os
import subprocess
import sys

import pytest

from busaug_core import terminal
from busaug_core.__main__ import main
from busaug_core.jobs.events import Begun, Notice, Progress, Row

LOAD = ["load_busi", "--images", "12", "--image_size", "64", "--dataset_name", "trial", "--split", "50-50"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BUSAUG_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def left_pipe():
    """A stream whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield stream
        stream.flush()  # what a process does at its end


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown_of(monkeypatch, stream, events):
    monkeypatch.setattr(sys, "stderr", stream)
    display = terminal.Display()
    for event in events:
        display.show(event)
    display.close()
    return stream.getvalue()


def test_on_a_terminal_progress_is_one_line_that_is_updated(monkeypatch):
    monkeypatch.setattr(terminal, "REFRESH", 0)
    steps = [Progress(n, 4, "Training", {"loss": 1 / n}) for n in range(1, 4)]
    shown = shown_of(monkeypatch, Terminal(), [*steps, Notice("A doubt."), Begun(1, 2, "Load", "load")])
    assert shown.count("\r") == 3
    assert shown.rpartition("\r")[2].splitlines() == ["Training: 3/4  loss 0.3333", "A doubt.", "[ 1/2] Load (load)"]


def test_a_line_of_progress_is_no_wider_than_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    shown = shown_of(monkeypatch, Terminal(), [Progress(1, 2, "A stage with a long name " * 5)])
    assert len(shown.strip()) == 29


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch):
    steps = [Progress(n, 500, "Training") for n in range(1, 501)]
    assert shown_of(monkeypatch, io.StringIO(), steps) == ""
    monkeypatch.setattr(terminal, "PAUSE", 0)
    assert shown_of(monkeypatch, io.StringIO(), steps[:2]) == "Training: 1/500\nTraining: 2/500\n"


def test_rows_of_a_table_are_left_to_the_result(monkeypatch):
    assert shown_of(monkeypatch, io.StringIO(), [Row({"value": 1.5})]) == ""


def test_a_run_whose_readers_have_gone_is_done_and_silent(monkeypatch, home, left_pipe):
    monkeypatch.setattr(terminal, "PAUSE", 0)
    monkeypatch.setattr(sys, "stdout", left_pipe)
    monkeypatch.setattr(sys, "stderr", left_pipe)
    assert main([*LOAD, "--run_key", "load"]) == 0
    assert json.loads((home / "trial/runs/load/state.json").read_text())["state"] == "done"
    assert main([*LOAD, "--run_key", "load", "--json"]) == main(["check_setup"]) == 0
    assert main([*LOAD[:-1], "nonsense"]) == 2


def test_help_whose_reader_has_gone_ends_silently():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "busaug_core", "generate", "--help"], stdout=writer, stderr=-1)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_encoding_that_lacks_letters_is_no_error(monkeypatch, options):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main([*LOAD[:6], "Brüste", "--run_key", "load", *options]) == 0
    written = stream.buffer.getvalue().decode("ascii")
    assert "Br\\" in written
    if options:
        assert json.loads(written)["dataset"] == "Brüste"
    with pytest.raises(SystemExit):
        main(["compute_fid", "--help"])


def test_json_alone_is_on_stdout_also_where_a_library_prints(monkeypatch, capsys):
    from busaug_core.data import load

    dealt = load.assign_splits
    monkeypatch.setattr(load, "assign_splits", lambda *given: print("from a library") or dealt(*given))
    assert main([*LOAD, "--run_key", "load", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["run_key"] == "load"
    assert "from a library" in err


def test_closed_streams_are_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main([*LOAD, "--run_key", "load"]) == 0
