"""Results of a chain of jobs: those of its runs, one after the other."""

from busaug_core.jobs.run import Run

from .results import Results


class ChainResults(Results):
    """The chain's own run, after those that its result names in `runs`; taking it back leaves these as they are."""

    def members(self, run: Run) -> list[Run]:
        return [run.sibling(key) for key in run.result["runs"]]
