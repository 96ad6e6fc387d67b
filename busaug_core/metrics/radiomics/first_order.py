"""First-order features: the distribution of values, whatever their place."""

import numpy as np

from busaug_core.metrics.radiomics.levels import Levels, entropy


def first_order(values: np.ndarray, levels: Levels) -> dict[str, float]:
    """Features of the values and, for entropy (bits) and uniformity, of their gray levels.

    Mean, energy and root mean square are not among them: all images here have mean 0, so that the first is nothing
    and the others repeat the variance. Kurtosis is 3 for a Gaussian; both it and skewness are 0 for a single value.

    Args:
        values: H×W, in units of gray
        levels: the bins of the values
    """
    low, quarter, median, upper, high = np.percentile(values, [10, 25, 50, 75, 90])
    centred = (values - values.mean()).ravel()
    squares = np.square(centred)
    variance = squares.mean()
    middle = values[(values >= low) & (values <= high)]
    shares = np.bincount(levels.rank.ravel()) / values.size
    return {
        "Entropy": entropy(shares),
        "Minimum": values.min(),
        "10Percentile": low,
        "90Percentile": high,
        "Maximum": values.max(),
        "Median": median,
        "InterquartileRange": upper - quarter,
        "Range": values.max() - values.min(),
        "MeanAbsoluteDeviation": np.abs(centred).mean(),
        "RobustMeanAbsoluteDeviation": np.abs(middle - middle.mean()).mean(),
        "Skewness": squares @ centred / values.size / variance**1.5 if variance else 0.0,
        "Kurtosis": squares @ squares / values.size / variance**2 if variance else 0.0,
        "Variance": variance,
        "Uniformity": shares @ shares,
    }
