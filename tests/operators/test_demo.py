"""What `make demo` says where it cannot go on."""

from busaug_core.files import write_json
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import runs_folder
from operators import demo


def test_a_demo_that_another_version_began_says_how_to_begin_anew(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["demo", "--preset", "minute"])
    run = Run(runs_folder("busaug-demo-minute") / demo.RUN_KEY)
    run.folder.mkdir(parents=True)
    settings = {"train_classifier": {"preset": "demo"}}
    write_json(run.folder / "config.json", {"job": "run_experiment", "preset": "minute", "settings": settings})
    run.finish({"table": []})
    assert demo.main() == 1
    told = capsys.readouterr().err
    assert "Run 'demo' exists with other settings" in told
    assert f"fiftyone datasets delete busaug-demo-minute; rm -r {run.folder.parents[1]}" in told
