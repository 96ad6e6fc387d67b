"""The FiftyOne plugin @busaug/busaug: it registers the operators and does nothing else."""

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parent)
if _ROOT not in sys.path:
    sys.path.append(_ROOT)


def register(plugin):
    """Register every operator; called by FiftyOne."""
    from .operators import OPERATORS

    for operator in OPERATORS:
        plugin.register(operator)
