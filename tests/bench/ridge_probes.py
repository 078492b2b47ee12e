"""Ridge probes of many targets and penalties against a scikit-learn fit for each."""

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from analyses.probes.fit import ridge_probes
from tests.bench import Comparison, interleaved

ROWS, FEATURES, TARGETS = 8000, 512, 20
PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)


def plain_weights(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """One fit a penalty and target, on features standardised once."""
    x = StandardScaler().fit_transform(features)
    fits = [[Ridge(alpha=penalty).fit(x, y).coef_ for y in targets.T] for penalty in PENALTIES]
    return np.array(fits).swapaxes(1, 2)


def compare() -> Comparison:
    """Both sides in float64."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(ROWS, FEATURES, generator=generator, dtype=torch.float64)
    mixed = features @ torch.randn(FEATURES, FEATURES, generator=generator, dtype=torch.float64)
    targets = torch.randn(ROWS, TARGETS, generator=generator, dtype=torch.float64)
    x, y = mixed.numpy(), targets.numpy()
    ours = ridge_probes(mixed, targets, PENALTIES).weights
    np.testing.assert_allclose(ours, plain_weights(x, y), rtol=0, atol=1e-8)
    with threadpool_limits(1):  # SciPy's own threads; torch's are one already
        times = interleaved(
            lambda: plain_weights(x, y), lambda: ridge_probes(mixed, targets, PENALTIES), repeats=3
        )
    return Comparison("ridge probes, 20 targets x 5 penalties, 8,000 x 512", *times, goal=15)
