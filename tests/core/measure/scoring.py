"""Scores of a few images."""

from pathlib import Path

from busaug_core.files import read_rows
from busaug_core.registry import job

SCORE = dict(classifier="clf", extractor="clf", run_key="scores")


def score(records, home, **values):
    result = list(job("score_synthetic").run(SCORE | values, records, "trial", home))[-1].result
    rows = read_rows(Path(result["folder"]) / "scores.jsonl")
    return {Path(row["path"]).stem: row for row in rows}, result
