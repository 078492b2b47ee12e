"""Runs as dots: any scalar over any other, chosen by the reader (`assets/index.js`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from analyses.plots.views import script_json
from interp.pages.tables import Overview
from interp.sweeps.sweep import SweepRuns
from interp.sweeps.table import sweep_table

MAX_GROUPS = 12  # different texts of a column by which dots may be coloured
LINKED = "runs/{}"  # where a run's page stands, seen from the index


def scatter_of_runs(rows: Sequence[tuple[Overview, Mapping[str, Any]]]) -> Markup:
    """The dots of an index: metrics at the last step, steps, parameters, and what runs differ in.

    Args:
        rows: Runs, each with the settings in which it differs.
    """
    names = dict.fromkeys(name for entry, _ in rows for name in entry.metrics)
    settings = dict.fromkeys(name for _, differing in rows for name in differing)
    columns: dict[str, list[Any]] = {
        **{name: [differing.get(name) for _, differing in rows] for name in settings},
        **{name: [entry.metrics.get(name) for entry, _ in rows] for name in names},
        "steps": [entry.steps for entry, _ in rows],
        "parameters": [entry.parameters for entry, _ in rows],
    }
    return _data([entry for entry, _ in rows], columns)


def scatter_of_sweep(
    sweep: SweepRuns, rows: Sequence[tuple[Overview, Mapping[str, Any]]]
) -> Markup:
    """The dots of a sweep: what runs differ in, their last metrics, and saved scalars."""
    entries = {entry.name: entry for entry, _ in rows}
    table = sweep_table(sweep).set_index("run").reindex(entries)
    settings = dict.fromkeys(name for _, differing in rows for name in differing)
    columns: dict[str, list[Any]] = {
        name: [differing.get(name) for _, differing in rows] for name in settings
    }
    for name in table:
        kind, _, rest = str(name).partition(".")
        if kind not in ("experiment", "failure"):
            columns[rest if kind == "metrics" else str(name)] = table[name].tolist()
    return _data(list(entries.values()), columns)


def _data(entries: Sequence[Overview], columns: Mapping[str, Sequence[Any]]) -> Markup:
    """JSON of the columns that tell runs apart: numbers, and few different texts."""
    told = {
        name.replace("_", " ").replace(".", " "): list(map(_plain, values))
        for name, values in columns.items()
    }
    kept = {name: values for name, values in told.items() if _tells_apart(values)}
    runs = [[entry.name, LINKED.format(entry.page) if entry.page else ""] for entry in entries]
    return Markup(script_json({"runs": runs, "columns": kept}))


def _plain(value: Any) -> Any:
    """A number or a text; None where it is undefined."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return float(f"{value:.6g}") if abs(value) < float("inf") else None
    return None if value is None else str(value)


def _tells_apart(values: Sequence[Any]) -> bool:
    """Whether a column has several values, and not too many where they are texts."""
    different = {value for value in values if value is not None}
    texts = sum(isinstance(value, str) for value in different)
    return len(different) > 1 and texts <= MAX_GROUPS and texts in (0, len(different))
