"""Classifier two-sample tests (Lopez-Paz and Oquab 2017): can synthetic features be told from real ones?"""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from busaug_core.errors import UserError
from busaug_core.metrics.estimate import LEVEL, Estimate, feature_pair

FOLDS = 5
PENALTY = 100.0  # 1/C; of 1 to 10,000 the one that loses little both to weak directions and to many


def real_vs_synthetic_auc(
    real: np.ndarray, synthetic: np.ndarray, groups: np.ndarray | None = None, seed: int = 0
) -> Estimate:
    """The area under the ROC curve of a logistic regression's out-of-fold scores (classifier two-sample test).

    Features are standardised within the training folds, the penalty is L2, the folds are five, stratified and
    shuffled by the seed. The interval is Newcombe's for a Mann–Whitney area (2006, method 5): Hanley and McNeil's
    variance taken at the bound, so that it has a width at 0 and 1 too. Rows count for half in it: where the
    sets hardly differ, two rows of different folds enter each other's scores by one and the same kernel value, which
    doubles the variance that independent test rows would have. Grouped rows count once a group.

    Args:
        real, synthetic: N×D and M×D, any float dtype
        groups: N + M labels, of the real rows first; rows with one label are never in training and test both,
            and a row that belongs with no other has a label of its own

    Raises:
        UserError: widths differ, a set has fewer than ten rows or groups, or a value is not finite
    """
    real, synthetic = feature_pair(real, synthetic, "the real-vs-synthetic AUC", least=2 * FOLDS)
    n, m = len(real), len(synthetic)
    features = np.concatenate([real, synthetic]).astype(np.float64)
    is_synthetic = np.repeat([0, 1], [n, m])
    if groups is None:
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    else:
        groups = np.asarray(groups)
        if groups.shape != (n + m,):
            raise UserError(f"The groups are of shape {groups.shape}; one label for each of {n + m} rows is needed.")
        n, m = (len(np.unique(groups[is_synthetic == side])) for side in (0, 1))
        if min(n, m) < 2 * FOLDS:
            raise UserError(
                f"The real-vs-synthetic AUC needs at least {2 * FOLDS} groups a side; there are {n} and {m}."
            )
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    scores = np.empty(len(is_synthetic))
    for training, test in folds.split(features, is_synthetic, groups):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / PENALTY, max_iter=1000))
        scores[test] = model.fit(features[training], is_synthetic[training]).decision_function(features[test])
    area = float(roc_auc_score(is_synthetic, scores))
    return Estimate(area, _lower_bound(area, n / 2, m / 2), 1 - _lower_bound(1 - area, n / 2, m / 2))


def mann_whitney_area(smaller: np.ndarray, larger: np.ndarray, sizes: tuple[int, int] | None = None) -> Estimate:
    """The probability that a value of `larger` exceeds one of `smaller`, ties counting half, with Newcombe's interval.

    Args:
        smaller, larger: float N and M
        sizes: how many independent values each holds, where these are fewer than N and M
    """
    side = np.repeat([0, 1], [len(smaller), len(larger)])
    area = float(roc_auc_score(side, np.concatenate([smaller, larger])))
    n, m = sizes or (len(smaller), len(larger))
    return Estimate(area, _lower_bound(area, n, m), 1 - _lower_bound(1 - area, n, m))


def two_sample_accuracy(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Leave-one-out accuracy of telling real from synthetic by the nearest neighbour; 0.5 is no telling.

    The two-sample test of Lopez-Paz and Oquab 2017 with a 1-nearest-neighbour classifier; the sets
    should be of equal size.
    """
    both = np.concatenate([real, synthetic])
    origin = np.repeat([0, 1], [len(real), len(synthetic)])
    neighbours = NearestNeighbors(n_neighbors=2).fit(both).kneighbors(both)[1]
    # A duplicate may push an image out of its own first place.
    own = np.arange(len(both))
    nearest = np.where(neighbours[:, 0] == own, neighbours[:, 1], neighbours[:, 0])
    return float((origin[nearest] == origin).mean())


def _lower_bound(area: float, n: float, m: float) -> float:
    z = norm.ppf((1 + LEVEL) / 2)

    def excess(t: float) -> float:
        inflation = 1 + ((n + m) / 2 - 1) * ((1 - t) / (2 - t) + t / (1 + t))
        return area - t - z * np.sqrt(t * (1 - t) * inflation / (n * m))

    return float(brentq(excess, 0, min(area, 1 - 1e-12))) if area else 0.0
