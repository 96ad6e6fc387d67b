"""The operators, one file for each verb."""

from .audit import Audit
from .classify import ApplyClassifier, TrainClassifier
from .experiment import RunExperiment
from .generate import Generate
from .load import LoadBusi, LoadExternal
from .manage_runs import ManageRuns
from .measure import ComputeEmbeddings, ComputeFid
from .panel import WatchRun
from .return_to_form import ReturnToForm
from .scores import FilterSynthetic, ScoreSynthetic
from .setup import CheckSetup
from .train import FinetuneDecoder, FinetuneUnet, TrainControlnet, TrainLora, TrainTextualInversion
from .watch_queue import WatchQueue

OPERATORS = (
    LoadBusi,
    LoadExternal,
    Audit,
    TrainLora,
    TrainTextualInversion,
    FinetuneUnet,
    FinetuneDecoder,
    TrainControlnet,
    Generate,
    ComputeEmbeddings,
    ComputeFid,
    ScoreSynthetic,
    FilterSynthetic,
    TrainClassifier,
    ApplyClassifier,
    RunExperiment,
    ManageRuns,
    CheckSetup,
    ReturnToForm,
    WatchQueue,
    WatchRun,
)
