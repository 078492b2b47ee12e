"""Runs whose generalization and internal measures are written by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from hooks import GivenCheckpoints
from tests.sweeps import series_of

COLUMNS = {
    "tscore": ("TreeProjection", "tscore"),
    "tparseval": ("TreeProjection", "tparseval"),
    "sparsity": ("AttentionSparsity", "mean_negative_entropy"),
    "norm": ("WeightNorms", "total"),
}
STEPS = (0, 10, 20, 30)


def measured_run(
    generalization: Sequence[float], *, steps: Sequence[int] = STEPS, **measures: Sequence[float]
) -> GivenCheckpoints:
    """A run evaluated, and measured, at the same steps; measures left out are 1 throughout."""
    saved = {"TreeProjection": pd.DataFrame({"step": steps, "f1_right_branching": 0.6})}
    for name, (analysis, scalar) in COLUMNS.items():
        frame = saved.setdefault(analysis, pd.DataFrame({"step": steps}))
        frame[scalar] = measures.get(name, [1.0] * len(steps))
    series = replace(
        series_of([], []), saved_scalars=lambda name: saved.get(name, pd.DataFrame())
    )  # fmt: skip
    recorded = pd.DataFrame({"step": steps, "generalization.accuracy": generalization})
    return replace(series, recorded=recorded)


def sweep_of(
    runs: Mapping[str, tuple[int, GivenCheckpoints]], failed: Sequence[str] = ()
) -> tuple[pd.DataFrame, dict[str, GivenCheckpoints]]:
    """A table of runs, by name with their depth, and the runs."""
    rows = []
    for name, (depth, series) in runs.items():
        row: dict[str, Any] = {"run": name, "failure": "diverged" if name in failed else ""}
        row["experiment.model.n_layers"] = depth
        row["metrics.generalization.accuracy"] = series.metrics.iloc[-1, 1]
        for analysis, scalar in COLUMNS.values():
            row[f"{analysis}.{scalar}"] = series.scalars(analysis)[scalar].iloc[-1]
        rows.append(row)
    return pd.DataFrame(rows), {name: series for name, (_, series) in runs.items()}
