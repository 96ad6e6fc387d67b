"""A request to stop in a run's folder is honoured between events, whoever works the run off."""

import pytest

from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.events import Finished, Progress, Stopped
from busaug_core.jobs.execute import Job
from busaug_core.jobs.run import Run


class Count(JobConfig):
    """Counts to a hundred."""


def count(config, run):
    """Notes how far it came when it is stopped."""
    try:
        for i in range(100):
            yield Progress(i + 1, 100, "Counting")
    finally:
        (run.folder / "came").write_text(str(i + 1))
    return {"counted": 100}


@pytest.fixture
def begun(tmp_path):
    """A run that has yielded one event, and the rest of it."""
    events = Job("count", Count, count).run(dict(run_key="one"), [], "trial", tmp_path)
    next(events)
    return Run(tmp_path / "trial/runs/one"), events


def test_a_stop_that_is_asked_for_in_the_runs_folder_is_honoured_between_events(begun):
    run, events = begun
    run.ask_to_stop()
    assert list(events) == [Stopped("one")]
    assert run.state == "stopped"
    assert (run.folder / "came").read_text() == "1"


def test_the_request_is_over_once_it_was_honoured(begun, tmp_path):
    run, events = begun
    run.ask_to_stop()
    list(events)
    *_, last = Job("count", Count, count).run(dict(run_key="one"), [], "trial", tmp_path)
    assert isinstance(last, Finished)
    assert run.state == "done"


def test_a_stop_that_was_asked_for_before_the_run_began_is_honoured_too(tmp_path):
    run = Run(tmp_path / "trial/runs/one")
    run.folder.mkdir(parents=True)
    run.ask_to_stop()
    assert list(Job("count", Count, count).run(dict(run_key="one"), [], "trial", tmp_path)) == [Stopped("one")]


def test_a_chain_that_is_stopped_stops_the_run_that_it_works_on(tmp_path):
    def chain(config, run):
        yield from Job("count", Count, count).run(dict(run_key="inner"), [], "trial", tmp_path)

    events = Job("chain", Count, chain).run(dict(run_key="outer"), [], "trial", tmp_path)
    next(events)
    Run(tmp_path / "trial/runs/outer").ask_to_stop()
    assert list(events) == [Stopped("outer")]
    assert Run(tmp_path / "trial/runs/inner").state == "stopped"


def test_of_several_workers_the_last_to_stop_says_so(tmp_path):
    job = Job("count", Count, count, shared=True)
    run = Run(tmp_path / "trial/runs/one")
    first, second = (job.run(dict(run_key="one"), [], "trial", tmp_path) for _ in range(2))
    next(first)
    next(second)
    run.ask_to_stop()
    assert list(first) == [Stopped("one")]
    assert run.state == "running"
    assert list(second) == [Stopped("one")]
    assert run.state == "stopped"
    assert not run.is_asked_to_stop


def test_a_run_that_fails_with_a_stop_asked_for_goes_on_when_it_is_called_again(tmp_path):
    def fail(config, run):
        yield Progress(1, 2, "Failing")
        run.ask_to_stop()
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        list(Job("count", Count, fail).run(dict(run_key="one"), [], "trial", tmp_path))
    *_, last = Job("count", Count, count).run(dict(run_key="one"), [], "trial", tmp_path)
    assert isinstance(last, Finished)
