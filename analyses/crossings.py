"""When does a recorded curve reach a level, or a condition come to hold?

Accuracy spikes and dips at the learning rates that grok fast, so a crossing is sustained: it takes
several successive evaluations. What never happens is NaN.
"""

import math

import numpy as np


def crossing(steps: np.ndarray, values: np.ndarray, level: float, evaluations: int) -> float:
    """The first of `evaluations` successive steps whose values reach a level; NaN if none."""
    return first_sustained(steps, values >= level, evaluations)


def first_sustained(steps: np.ndarray, holds: np.ndarray, evaluations: int) -> float:
    """The first of `evaluations` successive steps at which something holds; NaN if none."""
    if len(holds) < evaluations:
        return math.nan
    held = np.convolve(holds, np.ones(evaluations), mode="valid") == evaluations
    if not held.any():
        return math.nan
    return float(steps[held.argmax()])


def first_after(steps: np.ndarray, holds: np.ndarray, start: float) -> float:
    """The first step after `start` at which something holds; NaN if there is none."""
    later = np.flatnonzero(holds & (steps > start))
    return float(steps[later[0]]) if len(later) else math.nan


def rise_on_the_way(steps: np.ndarray, losses: np.ndarray, crossed: float, settled: float) -> float:
    """The largest loss between its least before `crossed` and `settled`, over that least one.

    Above 1, the loss got worse on the way.

    Args:
        steps: Steps of the losses.
        losses: Their values.
        crossed: Step up to which the least is looked for; NaN if it never came.
        settled: Step up to which the largest is looked for; NaN for the last.

    Returns:
        NaN where there is no step up to `crossed`, or the least is 0.
    """
    before = steps <= crossed
    if not before.any():
        return math.nan
    least = losses[before].argmin()
    if losses[least] == 0:
        return math.nan
    until = steps <= (steps[-1] if math.isnan(settled) else max(settled, steps[least]))
    return float(losses[least:][until[least:]].max() / losses[least])
