"""Experiments that train together, and what their runs recorded."""

import json
from pathlib import Path

from interp.config.experiment import Experiment, load_experiment
from interp.runs.run import Run
from tests.planted import tiny_experiment


def replicas(count=3, **training) -> list[Experiment]:
    """Experiments of float64 that differ in seeds, learning rate and decay."""
    table = {"dtype": "float64", "steps": 200, "evaluate": {"every": 50},
             "checkpoints": {"every": 100}}  # fmt: skip
    first = tiny_experiment(**table | training)
    assert first.training is not None
    own = [{"lr": first.training.lr * (1 + i / 4)} for i in range(count)]
    return [
        first.model_copy(update={"training": first.training.model_copy(update=own[i])}).with_seed(i)
        for i in range(count)
    ]


def folders(experiments, path: Path) -> dict[Path, Experiment]:
    return {path / str(index): each for index, each in enumerate(experiments)}


def rows_of(run: Run) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]


def dropping(seed: int) -> Experiment:
    """Parity by a network that drops half of its neurons."""
    table = load_experiment("parity").model_dump(mode="json", exclude_none=True)
    table["model"] |= {"dropout": 0.5}
    table["training"] |= {"steps": 20, "checkpoints": {"every": 10}, "evaluate": {"every": 10}}
    return Experiment.model_validate(table).with_seed(seed)
