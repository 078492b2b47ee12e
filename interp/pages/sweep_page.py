"""What stands on a sweep's page: what varies, every run's curves by setting, every saved result.

The loop is over saved results: no analysis is known by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analyses.plots.panels import Trace, multiples, strands
from analyses.plots.style import DASHES, colour
from analyses.sweep_table import axis_name, columns_of, setting_name, settings_of
from interp.pages.cards import Card, card
from interp.pages.page import capital, drawn_together, unit
from interp.pages.recipe import Recipe, sweep_recipe
from interp.pages.sections import Section, sections
from interp.pages.tables import Overview, brief, settings, shown
from interp.runs.results import Saved
from interp.sweeps.table import Members, holding_in_sweep, sweep_table
from interp.training.loop import is_done_with

POINTS = 60_000  # of all curves of a drawing together
MOST, LEAST = 100, 20  # points of one curve


@dataclass(frozen=True, eq=False)
class SweepPage:
    """Everything on a sweep's page.

    Attributes:
        name: The sweep's.
        task: What it was trained on.
        lede: The task's settings in a line.
        facts: How many members there are, and what became of them.
        varied: The values of each axis, and the seeds.
        settings: What all runs share, by title.
        curves: Metrics over training, a panel a setting.
        sections: One a saved result.
        columns: Settings in which runs differ, and whether they are `number` or `text`.
        rows: The runs, each with its own settings.
        recipe: How to make it again.
        toml: The sweep.
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


def sweep_page(members: Members, rows: Sequence[tuple[Overview, Mapping[str, Any]]]) -> SweepPage:
    """The page of a sweep.

    Args:
        members: Those that have begun.
        rows: The same as lines of a table, each with its own settings.

    Raises:
        ValueError: A member's files are damaged.
    """
    folder, base = members.folder, members.folder.sweep.base
    found, stale = holding_in_sweep(folder)
    drawn, faults = sections(_by_analysis(found))
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


def _by_analysis(found: Sequence[Saved]) -> list[Saved]:
    """Results of one analysis together, those with the fewest options first."""
    order = list(dict.fromkeys(each.name for each in found))
    return sorted(found, key=lambda each: (order.index(each.name), len(each.options)))


def facts(members: Members) -> dict[str, int]:
    """How many members there are, and what became of them."""
    done = [run for run, each in members.runs.items() if is_done_with(run.path, each)]
    failed = sum(bool(run.failure) for run in done)
    every = len(members.runs) + members.missing
    told = {"runs": every, "finished": len(done) - failed}
    told |= {"failed": failed} if failed else {}
    told |= {"damaged": len(members.faults)} if members.faults else {}
    left = every - len(done) - len(members.faults)
    return told | ({"not finished yet": left} if left else {})


def varied(members: Members) -> dict[str, str]:
    """The values of each axis, and the seeds."""
    sweep, axes = members.folder.sweep, members.folder.sweep.axes
    told = {axis_name(axis, axes): ", ".join(map(_value, sweep.vary[axis])) for axis in axes}
    first, *_, last = sweep.seeds * 2
    is_range = len(sweep.seeds) > 2 and sweep.seeds == tuple(range(first, last + 1))
    seeds = f"{first} to {last}" if is_range else ", ".join(map(str, sweep.seeds))
    return {name: brief(value) for name, value in told.items()} | {"seeds": seeds}


def _value(value: Any) -> str:
    """One value of an axis; a list in brackets, so that lists side by side stay apart."""
    return f"[{shown(value)}]" if isinstance(value, list | tuple) else shown(value)


def columns(rows: Sequence[tuple[Overview, Mapping[str, Any]]]) -> dict[str, str]:
    """Settings in which runs differ, and whether they are `number` or `text`."""
    found: dict[str, str] = {}
    for name, value in ((name, value) for _, own in rows for name, value in own.items()):
        is_number = isinstance(value, int | float) and found.get(name) != "text"
        found[name] = "number" if is_number else "text"
    return found


def curves(members: Members) -> tuple[Card, ...]:
    """One drawing a metric: a panel a setting, a thin curve a run, a colour a split."""
    recorded = {
        run: metrics for run in members.runs if (metrics := run.recorded_metrics()) is not None
    }
    if not recorded:
        return ()
    runs, axes = list(recorded), members.folder.sweep.axes
    measured = replace(members, runs={run: members.runs[run] for run in runs})
    settings, setting = settings_of(sweep_table(measured, ()), axes)
    known = dict.fromkeys(name for each in recorded.values() for name in each if name != "step")
    groups = [[runs[i] for i in np.flatnonzero(setting == place)] for place in range(len(settings))]
    cards = []
    for index, (drawing, names) in enumerate(drawn_together(known).items()):
        points = min(max(POINTS // (len(runs) * len(names)), LEAST), MOST)
        panels = {
            setting_name(axes, each): [
                _bundle([recorded[run] for run in own], column, points) | _look(curve, number)
                for number, (curve, column) in enumerate(names.items())
            ]
            for each, own in zip(settings, groups, strict=True)
        }  # fmt: skip
        figure = multiples(
            panels, columns=columns_of(axes, settings),
            title=f"{capital(drawing)} over training, a curve a run",
            axes=("step (updates)", unit(drawing, known)),
            yaxis={"type": "log"} if drawing == "loss" else {},
        )  # fmt: skip
        cards.append(card(figure, f"metric-{index + 1}", is_wide=True))
    return tuple(cards)


def _bundle(runs: Sequence[pd.DataFrame], name: str, points: int) -> Trace:
    """A column of some runs' metrics as thin curves of so many points at most."""
    pairs = []
    for metrics in runs:
        if name in metrics:
            places = np.linspace(0, len(metrics) - 1, min(len(metrics), points)).round().astype(int)
            chosen = metrics[["step", name]].to_numpy(dtype=np.float64)[places]
            pairs.append((chosen[:, 0], chosen[:, 1]))
    return strands(pairs, name, {})


def _look(name: str, index: int) -> Trace:
    """Name and style of the curves of a column."""
    style = {"color": colour(index), "width": 1.2, "dash": DASHES[index % len(DASHES)]}
    return {"name": name, "line": style, "opacity": 0.8}


def _shared(members: Members, name: str) -> dict[str, Any]:
    """What all members have alike in one table of the experiment, names made readable."""
    axes = members.folder.sweep.axes
    table = {} if name in axes else settings(getattr(members.folder.sweep.base, name))
    varies = {
        axis.partition(".")[2].replace("_", " ") for axis in axes if axis.startswith(f"{name}.")
    }
    return {field: value for field, value in table.items() if field not in {*varies, "name"}}
