"""Describes confusion matrices and mean gates as heatmaps."""

from collections.abc import Sequence

import numpy as np

from jaxcifar.figures.chart import Heatmap


def confusion(matrix: np.ndarray, names: Sequence[str], title: str) -> Heatmap:
    """Returns a confusion matrix [C, C] of counts, coloured by the share of the true class."""
    share = matrix / matrix.sum(1, keepdims=True).clip(1)
    texts = [[str(count) if count else "·" for count in row] for row in matrix.tolist()]
    return Heatmap(title, names, names, "true", "predicted", texts, share)


def mean_gates(block: str, means: np.ndarray, names: Sequence[str]) -> Heatmap:
    """Returns a block's mean gates [C, K], coloured by the difference from the branch's mean.

    The difference shows which classes a branch responds to. The row of a class without images is
    NaN, which shows as "–".
    """
    centred = means - np.nanmean(means, 0)
    limit = max(float(np.nanmax(abs(centred))), 1e-9)
    texts = [[f"{value:.3f}" if np.isfinite(value) else "–" for value in row] for row in means]
    centred = np.nan_to_num(centred)
    branches = [str(k) for k in range(means.shape[1])]
    return Heatmap(block, names, branches, "class", "branch", texts, centred, limit, signed=True)
