"""Ratios and means of numbers that may be 0 or NaN: NaN where they are undefined, no warning."""

import math
from typing import Any

import numpy as np
from jaxtyping import Shaped


def ratio(above: Any, below: Any) -> float:
    """One number over another; NaN where the other is 0."""
    return float(above) / float(below) if below else math.nan


def defined_mean(values: Shaped[np.ndarray, "..."]) -> float:
    """The mean of the values that are not NaN; NaN where there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan
