"""Whether two samples can be of one distribution."""

import numpy as np


def shares(values):
    """Share of each value."""
    found, counts = np.unique(np.asarray(values), return_counts=True)
    return dict(zip(found.tolist(), (counts / len(values)).tolist(), strict=True))


def unlike(found, published, count, published_count):
    """Values whose shares in two samples differ by more than five standard errors."""
    errors = {
        value: (share * (1 - share) * (1 / count + 1 / published_count)) ** 0.5
        for value, share in published.items()
    }
    return {
        value: (found.get(value, 0.0), published.get(value, 0.0))
        for value in found.keys() | published.keys()
        if abs(found.get(value, 0) - published.get(value, 0)) > 5 * errors.get(value, 0)
    }
