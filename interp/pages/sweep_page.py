"""What stands on a sweep's page: what varies, all runs' curves by setting, every saved result.

No analysis is known by name here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analyses.plots.panels import Trace, multiples, strands
from analyses.plots.style import DASHES, colour
from analyses.sweep_table import axis_name, columns_of, setting_name, settings_of
from interp.measure.sweep import current_sweep_results
from interp.pages.cards import Card, card
from interp.pages.page import capital, drawn_together, unit
from interp.pages.recipe import Recipe, sweep_recipe
from interp.pages.sections import Section, sections
from interp.pages.tables import Overview, brief, settings, shown
from interp.runs.results import Saved
from interp.runs.run import is_done_with
from interp.sweeps.table import SweepRuns, sweep_table

MAX_DRAWING_POINTS = 60_000  # points of all curves of a drawing together
MIN_CURVE_POINTS, MAX_CURVE_POINTS = 20, 100  # points of one curve


@dataclass(frozen=True, eq=False)
class SweepPage:
    """Everything on a sweep's page.

    Attributes:
        name: The sweep's name.
        task: The name of its task.
        lede: The task's settings in a line.
        facts: How many runs there are, and how many are finished, failed, and so on.
        varied: The values of each axis, and the seeds.
        settings: Tables of the settings that all runs share, by title.
        curves: Metrics over training, with a panel for each setting.
        sections: A section for each saved result.
        columns: The settings in which runs differ, and whether they are `number` or `text`.
        rows: The runs, each with the settings in which it differs.
        recipe: How to make the sweep again.
        toml: The sweep's file.
        passed_over: Which saved results are not on the page, and why; empty where all are.
    """

    name: str
    task: str
    lede: str
    facts: Mapping[str, int]
    varied: Mapping[str, str]
    settings: Mapping[str, Mapping[str, Any]]
    curves: tuple[Card, ...]
    sections: tuple[Section, ...]
    columns: Mapping[str, str]
    rows: Sequence[tuple[Overview, Mapping[str, Any]]]
    recipe: Recipe
    toml: str
    passed_over: str


def sweep_page(members: SweepRuns, rows: Sequence[tuple[Overview, Mapping[str, Any]]]) -> SweepPage:
    """The page of a sweep.

    Args:
        members: The runs that have begun.
        rows: A line of the table for each of them, with the settings in which it differs.

    Raises:
        ValueError: A member's files are damaged.
    """
    folder, base = members.folder, members.folder.sweep.base
    results, stale = current_sweep_results(folder)
    drawn, faults = sections(_by_analysis(results))
    name, task = folder.path.resolve().name, _shared(members, "task")
    return SweepPage(
        name=name,
        task=shown(base.task.name),
        lede=" · ".join(f"{field} {shown(value)}" for field, value in task.items()),
        facts=facts(members),
        varied=varied(members),
        settings={
            "Model": _shared(members, "model"),
            "Training": _shared(members, "training"),
        },
        curves=curves(members),
        sections=drawn,
        columns=columns(rows),
        rows=rows,
        recipe=sweep_recipe(name, members.runs),
        toml=folder.sweep.to_toml(),
        passed_over="; ".join([stale] * bool(stale) + [f"{folder.path}: {why}" for why in faults]),
    )


def _by_analysis(results: Sequence[Saved]) -> list[Saved]:
    """The results in order of their analyses, those with the fewest options first."""
    order = list(dict.fromkeys(saved.name for saved in results))
    return sorted(results, key=lambda saved: (order.index(saved.name), len(saved.options)))


def facts(members: SweepRuns) -> dict[str, int]:
    """How many runs there are, and how many of them are finished, failed, and so on."""
    done = [run for run, experiment in members.runs.items() if is_done_with(run.path, experiment)]
    failed = sum(bool(run.failure) for run in done)
    total = len(members.runs) + members.missing
    exceptions = {
        "failed": failed,
        "damaged": len(members.faults),
        "not finished yet": total - len(done) - len(members.faults),
    }
    counts = {name: count for name, count in exceptions.items() if count}
    return {"runs": total, "finished": len(done) - failed} | counts


def varied(members: SweepRuns) -> dict[str, str]:
    """The values of each axis, and the seeds."""
    sweep, axes = members.folder.sweep, members.folder.sweep.axes
    values = {axis_name(axis, axes): ", ".join(map(_value, sweep.vary[axis])) for axis in axes}
    first, *_, last = sweep.seeds * 2
    is_range = len(sweep.seeds) > 2 and sweep.seeds == tuple(range(first, last + 1))
    seeds = f"{first} to {last}" if is_range else ", ".join(map(str, sweep.seeds))
    return {name: brief(value) for name, value in values.items()} | {"seeds": seeds}


def _value(value: Any) -> str:
    """One value of an axis; lists have brackets, so that it is seen where each one ends."""
    return f"[{shown(value)}]" if isinstance(value, list | tuple) else shown(value)


def columns(rows: Sequence[tuple[Overview, Mapping[str, Any]]]) -> dict[str, str]:
    """The settings in which runs differ, and whether they are `number` or `text`."""
    kinds: dict[str, str] = {}
    for name, value in (item for _, differing in rows for item in differing.items()):
        is_number = isinstance(value, int | float) and kinds.get(name) != "text"
        kinds[name] = "number" if is_number else "text"
    return kinds


def curves(members: SweepRuns) -> tuple[Card, ...]:
    """A drawing for each metric: a panel for each setting, in it a thin curve for each run.

    The curves of a split have the same colour.
    """
    recorded = {
        run: metrics for run in members.runs if (metrics := run.recorded_metrics()) is not None
    }
    if not recorded:
        return ()
    runs, axes = list(recorded), members.folder.sweep.axes
    measured = replace(members, runs={run: members.runs[run] for run in runs})
    settings, setting = settings_of(sweep_table(measured, ()), axes)
    columns = [name for metrics in recorded.values() for name in metrics if name != "step"]
    known = dict.fromkeys(columns)
    groups = [
        [recorded[runs[row]] for row in np.flatnonzero(setting == place)]
        for place in range(len(settings))
    ]
    cards = []
    for index, (drawing, names) in enumerate(drawn_together(known).items()):
        points = min(
            max(MAX_DRAWING_POINTS // (len(runs) * len(names)), MIN_CURVE_POINTS), MAX_CURVE_POINTS
        )
        panels = {
            setting_name(axes, values): [
                _bundle(group, column, points) | _style(curve, number)
                for number, (curve, column) in enumerate(names.items())
            ]
            for values, group in zip(settings, groups, strict=True)
        }
        figure = multiples(
            panels,
            columns=columns_of(axes, settings),
            title=f"{capital(drawing)} over training, a curve a run",
            axes=("step (updates)", unit(drawing, known)),
            yaxis={"type": "log"} if drawing == "loss" else {},
        )
        cards.append(card(figure, f"metric-{index + 1}", is_wide=True))
    return tuple(cards)


def _bundle(recorded: Sequence[pd.DataFrame], name: str, points: int) -> Trace:
    """A column of several runs' metrics, as thin curves of at most `points` points each."""
    pairs = []
    for metrics in recorded:
        if name in metrics:
            places = np.linspace(0, len(metrics) - 1, min(len(metrics), points)).round().astype(int)
            chosen = metrics[["step", name]].to_numpy(dtype=np.float64)[places]
            pairs.append((chosen[:, 0], chosen[:, 1]))
    return strands(pairs, name, {})


def _style(name: str, index: int) -> Trace:
    """The name and style of the curves of a column."""
    style = {"color": colour(index), "width": 1.2, "dash": DASHES[index % len(DASHES)]}
    return {"name": name, "line": style, "opacity": 0.8}


def _shared(members: SweepRuns, name: str) -> dict[str, Any]:
    """The settings of one table of the experiment that all runs share, names made readable."""
    axes = members.folder.sweep.axes
    table = {} if name in axes else settings(getattr(members.folder.sweep.base, name))
    varies = {
        axis.partition(".")[2].replace("_", " ") for axis in axes if axis.startswith(f"{name}.")
    }
    return {field: value for field, value in table.items() if field not in {*varies, "name"}}
