"""The operators, one file for each verb."""

from .audit import Audit
from .classify import ApplyClassifier, TrainClassifier
from .generate import Generate
from .load import LoadBusi
from .measure import ComputeEmbeddings, ComputeFid
from .setup import CheckSetup
from .train import TrainLora, TrainTextualInversion

OPERATORS = (
    LoadBusi,
    Audit,
    TrainLora,
    TrainTextualInversion,
    Generate,
    ComputeEmbeddings,
    ComputeFid,
    TrainClassifier,
    ApplyClassifier,
    CheckSetup,
)
