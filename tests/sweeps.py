"""Sweeps whose answer is known: tables and series written by hand, and a tiny one on disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hooks import GivenCheckpoints
from interp.sweeps.sweep import Sweep, SweepFolder
from interp.training.loop import train
from tests.planted import SIZES, tiny_config, tiny_experiment

LR, DECAY = "training.lr", "training.weight_decay"
CATEGORY = "GrokkingPhases.category"


def tiny_sweep(**options: Any) -> Sweep:
    """Two axes of two values with two seeds."""
    table = {"name": "tiny", "base": tiny_experiment(), "seeds": 2}
    return Sweep.model_validate(table | {"vary": {DECAY: [0.1, 1.0], LR: [1e-3, 1e-2]}} | options)


def train_members(sweep: Sweep, path: Path, count: int | None = None) -> SweepFolder:
    """Trains the runs of a sweep, one after the other, or only the first of them."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "sweep.toml").write_text(sweep.to_toml())
    folder = SweepFolder(path, sweep)
    for place, experiment in list(folder.experiments().items())[:count]:
        train(experiment, place, device="cpu")
    return folder


def table_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A table of a sweep; fields that hold a dot as experiment's, if they start with training."""
    named = [
        {f"experiment.{name}" if name.startswith("training.") else name: value
         for name, value in row.items()}
        for row in rows
    ]  # fmt: skip
    runs = [{"run": f"run-{index}", "failure": ""} | row for index, row in enumerate(named)]
    return pd.DataFrame(runs)


def counted(**outcomes: Sequence[str]) -> pd.DataFrame:
    """Runs of several learning rates (`lr_0_1` is 0.1) with an outcome each."""
    rows = [
        {LR: float(name.removeprefix("lr_").replace("_", ".")), CATEGORY: outcome}
        for name, found in outcomes.items() for outcome in found
    ]  # fmt: skip
    return table_of(rows)


def series_of(
    steps: Sequence[int], values: Sequence[float], saved: pd.DataFrame | None = None
) -> GivenCheckpoints:
    """A run that recorded test accuracy, and what is saved of any analysis."""
    return GivenCheckpoints(
        steps=(),
        config=tiny_config(),
        sizes=SIZES,
        parameters=lambda step: {},
        make_examples=lambda split, count, seed: None,  # pyright: ignore[reportArgumentType]
        recorded=pd.DataFrame({"step": steps, "test.accuracy": values}),
        saved_scalars=lambda name: pd.DataFrame() if saved is None else saved,
    )


def drawn(drawing: Any) -> dict[str, Any]:
    """A figure as plotly's JSON."""
    return drawing.to_plotly_json()
