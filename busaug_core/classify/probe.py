"""Temporary."""

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Probe = object


def fit_probe(features, labels, groups):
    folds = list(StratifiedGroupKFold(4, shuffle=True, random_state=0).split(features, labels, groups))
    model = LogisticRegressionCV(
        Cs=np.logspace(-5, 0, 6), cv=folds, class_weight="balanced", max_iter=2000, scoring="balanced_accuracy"
    )
    return make_pipeline(StandardScaler(), model).fit(features, labels)
