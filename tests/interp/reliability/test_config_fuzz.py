"""Presets with a fault put in at random: refused in one line, or accepted and meaningful.

Each goes through the door of the command line: the file is read, and what it says is trained for
two steps where that is small. Anything but one of the four kinds of one-line errors is a fault, and
so is a run whose metrics are no numbers and that is not marked so.
"""

import copy
import json
import math
import warnings
from pathlib import Path
from random import Random
from typing import Any

import pytest
import tomli_w

from interp.config.experiment import Experiment, load_experiment
from interp.config.training import Steps
from interp.presets import preset_names
from interp.runs.run import Run
from interp.training.loop import train
from interp.training.memory import needed

ONE_LINE = (ValueError, TypeError, FileNotFoundError, OSError)
SMALL = 64 * 2**20  # bytes
FEW = 50_000  # examples
ODD: tuple[Any, ...] = (
    "", "3", "\u202e\U0001f600", "a" * 10_000, "a\nb", True, False, 0, 1, -1, 2, 3, 10**6, 10**9,
    2**31, 2**63 - 1, 2**63, 2**64, 10**30, 0.5, -0.5, 1e-300, 1e-45, 1e30, 1e300, math.nan,
    math.inf, -math.inf, [], [[]], [0], [1, "2"], ["x"], [1.0, 2.0, 3.0], {}, {"x": 1},
    {"name": [1]}, [{"a": {"b": []}}], {"every": 1}, {"at_least": 0.5},
)  # fmt: skip


def places(table: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a table, tables and their fields."""
    keys = list(table) if isinstance(table, dict) else range(len(table))
    found = []
    for key in keys:
        found.append((*above, key))
        if isinstance(table[key], dict | list):
            found += places(table[key], (*above, key))
    return found


def other(value: Any, rng: Random) -> Any:
    """Something else in the place of a value."""
    kind = rng.choice(("odd", "odd", "odd", "negate", "scale", "nest"))
    if kind == "negate" and isinstance(value, int | float):
        return not value if isinstance(value, bool) else -value
    if kind == "scale" and isinstance(value, int | float):
        return value * rng.choice((10, 1000, 10**9))
    if kind == "nest":
        return rng.choice(([value], {"x": value}, [value, value]))
    return copy.deepcopy(rng.choice(ODD))


def mutated(table: dict[str, Any], rng: Random) -> dict[str, Any]:
    """A table in which one or two things are other than they were."""
    table = copy.deepcopy(table)
    for _ in range(rng.choice((1, 1, 2))):
        *above, key = rng.choice(places(table) or [("name",)])
        holder: Any = table
        for each in above:
            holder = holder[each]
        kind = rng.choice(("drop", "name", "swap", "value", "value", "value", "value"))
        if kind == "drop":
            holder.pop(key, None) if isinstance(holder, dict) else holder.pop(key)
        elif kind == "name" and isinstance(holder, dict):
            holder[f"{key}{rng.choice(('x', ' ', 'é', '.', ''))}"] = holder.pop(key, 0)
        elif kind == "swap":
            holder[key] = copy.deepcopy(table[rng.choice(list(table))]) if table else 0
        else:
            holder[key] = other(holder[key], rng) if key in holder or above else 0
    return table


def shortened(experiment: Experiment) -> Experiment | None:
    """Two steps of an experiment, or None where they would take long."""
    training, task = experiment.training, experiment.task
    is_long = training is None or training.schedule or sum(task.held.values()) > FEW
    if training is None or is_long or sum(needed(experiment).values()) > SMALL:
        return None
    if (training.batch_size or 0) > 512 or experiment.model.n_layers > 4:
        return None
    few = {"steps": min(training.steps, 2), "evaluate": Steps(every=1), "stop": None, "chunk": 1}
    return experiment.model_copy(update={"training": training.model_copy(update=few)})


def met(text: str, folder: Path) -> str:
    """What became of a file: refused, accepted, or trained."""
    file = folder / "mutated.toml"
    file.write_text(text, encoding="utf-8")
    try:
        experiment = load_experiment(file)
    except ONE_LINE as error:
        return one_line(error, "refused")
    assert load_again(experiment, folder) == experiment
    short = shortened(experiment)
    if short is None:
        return "accepted"
    run = Run(folder / "run")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train(short, run.path, device="cpu")
    except ONE_LINE as error:
        return one_line(error, "refused in training")
    rows = [json.loads(row) for row in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert rows
    return "trained"


def one_line(error: Exception, came: str) -> str:
    assert "\n" not in str(error)
    assert len(str(error)) < 3000
    return came


def load_again(experiment: Experiment, folder: Path) -> Experiment:
    (folder / "again.toml").write_text(experiment.to_toml(), encoding="utf-8")
    return load_experiment(folder / "again.toml")


def mutation(seed: int) -> str:
    rng = Random(seed)
    name = rng.choice(preset_names())
    table = load_experiment(name).model_dump(mode="json", exclude_none=True)
    text = tomli_w.dumps(mutated(table, rng))
    if rng.random() < 0.05:  # a line twice, or half a file
        lines = text.splitlines()
        text = (
            "\n".join([*lines, rng.choice(lines)]) if rng.random() < 0.5 else text[: len(text) // 2]
        )
    return text


@pytest.mark.parametrize("seed", range(20))
def test_a_mutated_preset_is_refused_in_a_line_or_means_something(seed, tmp_path):
    assert met(mutation(seed), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 320))
def test_many_a_mutated_preset_is_refused_in_a_line_or_means_something(seed, tmp_path):
    assert met(mutation(seed), tmp_path)
