"""The tiny run, or sweep, that has what an analysis needs."""

from typing import Any

import pytest

from analyses import ANALYSES, SweepResult
from analyses.requirements import option_defaults
from interp.measure.analyze import lacking_of
from interp.runs.run import Run
from interp.sweeps.sweep import SweepFolder
from interp.sweeps.table import finished_runs, sweep_table

# Fixtures of conftest.py, the cheapest first.
RUNS = (
    "two_layer_run", "parity_run", "prompts_run", "factors_run", "repeats_run", "sentences_run"
)  # fmt: skip
# Options of analyses that take long with their defaults.
QUICK: dict[str, dict[str, Any]] = {"LocalLearningCoefficient": {"burn_in": 10, "draws": 20}}
SWEEPS = ("analysed_sweep", "selection_sweep", "factors_sweep", "sentences_sweep")


def run_for(name: str, run: Run, request: pytest.FixtureRequest) -> Any:
    """The first tiny run, or sweep, that has what an analysis needs.

    Args:
        name: The analysis, as `ANALYSES` has it.
        run: The tiny run, which is tried first.
        request: Of the fixture that asks, to make the others.

    Raises:
        ValueError: None of them has it: add a fixture to conftest.py and name it here.
    """
    is_of_sweeps = issubclass(ANALYSES[name], SweepResult)
    if not is_of_sweeps and run_has_all(name, run):
        return run
    for fixture in SWEEPS if is_of_sweeps else RUNS:
        found = request.getfixturevalue(fixture)
        if (sweep_has_all if is_of_sweeps else run_has_all)(name, found):
            return found
    raise ValueError(f"no tiny run has what {name} needs: add one to tests/by_needs.py")


def run_has_all(name: str, run: Run) -> bool:
    """Whether a run has what an analysis needs."""
    needs, series = ANALYSES[name].needs, run.series()
    has_pairs = bool(run.changes) or not needs.pairs
    lacking = needs.missing(run.snapshot(count=1))
    return has_pairs and not lacking and {*needs.metrics} <= {*series.metrics}


def sweep_has_all(name: str, folder: SweepFolder) -> bool:
    """Whether the table of a sweep has the columns that an analysis needs."""
    cls = ANALYSES[name]
    columns = cls.needs.columns_with(option_defaults(cls))
    members = finished_runs(folder)
    if any(lacking_of(run, cls) for run in members.runs):
        return False
    known = {*sweep_table(members)}
    return all({column, f"metrics.{column}"} & known for column in columns)
