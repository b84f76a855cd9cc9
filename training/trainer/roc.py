"""How well a value tells two groups apart."""

import numpy as np


def area_under_curve(high, low) -> float:
    """Return the area under the ROC curve: of pairs of a value of ``high`` and one of ``low``, the share in which the
    former is greater, with ties counted half; NaN without pairs."""
    low, high = np.sort(np.asarray(low, float)), np.asarray(high, float)
    if not len(low) or not len(high):
        return float("nan")
    return float((np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")).mean() / (2 * len(low)))
