"""What stands on a run's page and on a sweep's: settings, curves, and every saved result.

A page is a value, which the templates lay out. On a run's page each metric has a drawing with a
curve for each split; on a sweep's, a panel for each setting and in it a curve for each run. No
analysis is known by name here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from analyses import plots
from analyses.findings import Finding
from analyses.plots.plain import plain_figures
from analyses.plots.style import stroke
from analyses.result import SeriesResult
from analyses.sweep_table import axis_name, columns_of, setting_name, settings_of
from hooks.own_classes import short_name
from interp.pages.recipe import Recipe, json_table, recipe, sweep_recipe
from interp.pages.scatter import scatter_of_sweep
from interp.pages.sections import Card, Section, arranged, card, sections
from interp.pages.tables import Overview, brief, settings, shown
from interp.runs.current import current_results
from interp.runs.findings import chosen_headlines
from interp.runs.results import Saved
from interp.runs.run import Run, is_done_with
from interp.sweeps.sweep import SweepRuns, current_sweep_results
from interp.sweeps.table import sweep_table

if TYPE_CHECKING:
    import pandas

UNITS = {"loss": "nats", "accuracy": "fraction right", "error": "over that of answering 0"}
MAX_DRAWING_POINTS = 60_000  # points of all curves of a drawing together
MIN_CURVE_POINTS, MAX_CURVE_POINTS = 20, 100  # points of one curve


@dataclass(frozen=True, eq=False)
class RunPage:
    """Everything on a run's page.

    Attributes:
        overview: The run in one line.
        headlines: What was found; each names its drawing by id.
        picture: The run in one drawing: accuracy, or another metric, with its phases.
        steps: Steps that some drawing can show.
        phases: Steps at which something happened, under the name of what happened.
        settings: Tables of the settings of task, model and training, by title.
        curves: The other metrics over training, in which the phases are marked.
        sections: A section for each saved result.
        versions: The versions and the machine that the run was made with.
        recipe: How to make the run again.
        toml: The experiment's file.
        passed_over: Which saved results are not on the page, and why; empty where all are.
        missing: Which class of the user's own or data file is missing, without which no result
            holds.
    """

    overview: Overview
    headlines: tuple[Finding, ...]
    picture: Card | None
    steps: tuple[int, ...]
    phases: dict[str, float]
    settings: dict[str, dict[str, Any]]
    curves: tuple[Card, ...]
    sections: tuple[Section, ...]
    versions: dict[str, Any]
    recipe: Recipe
    toml: str
    passed_over: str
    missing: str


@plain_figures()
def run_page(run: Run, overview: Overview) -> RunPage:
    """The page of a run, with the saved results that hold (`interp.runs.current`).

    Raises:
        ValueError: The run's files are damaged.
    """
    (results, stale), experiment = current_results(run), run.stated
    phases = phase_marks(results)
    drawn, faults = sections(results)
    training = settings(experiment.training) or {
        "training": "none: imported, recorded or constructed"
    }
    picture, others = in_one_picture(curves(run.recorded_metrics(), phases))
    return RunPage(
        overview=overview,
        headlines=tuple(chosen_headlines([section.findings for section in drawn])),
        picture=picture,
        steps=tuple(sorted({step for section in drawn for step in section.steps})),
        phases=phases,
        settings={
            "Task": settings(experiment.task),
            "Model": settings(experiment.model),
            "Training": training | {"seeds": settings(experiment.seeds)},
        },
        curves=others,
        sections=drawn,
        versions=json_table(run, "environment.json"),
        recipe=recipe(run),
        toml=experiment.to_toml(),
        passed_over="; ".join([stale] * bool(stale) + [f"{run.path}: {why}" for why in faults]),
        missing=experiment.missing,
    )


def in_one_picture(curves: Sequence[Card]) -> tuple[Card | None, tuple[Card, ...]]:
    """The drawing that stands for the whole run, accuracy where it was recorded, and the others."""
    if not curves:
        return None, ()
    first = next((each for each in curves if each.title.startswith("Accuracy")), curves[0])
    return first, arranged([replace(each, is_wide=False) for each in curves if each is not first])


def phase_marks(results: list[Saved]) -> dict[str, float]:
    """Steps, by label, that results of the whole run mark on its curves."""
    loaded = (saved.load() for saved in results if issubclass(saved.cls, SeriesResult))
    of_runs = (result.marks() for result in loaded if isinstance(result, SeriesResult))
    marks = dict(mark for by_label in of_runs for mark in by_label.items())
    return {label: step for label, step in marks.items() if step == step}  # NaN: it never happened


def curves(metrics: "pandas.DataFrame | None", marks: dict[str, float]) -> tuple[Card, ...]:
    """A drawing for each metric, with a curve for each split or kind; losses have a log axis."""
    if metrics is None:
        return ()
    cards = []
    for index, (name, columns) in enumerate(drawn_together(metrics).items()):
        only = "".join(columns) if len(columns) == 1 else name
        subject = capital(name if only == name else f"{name} ({only})")
        figure = plots.lines(
            metrics["step"].to_numpy(),
            {curve: metrics[column] for curve, column in columns.items()},
            title=f"{subject} over training",
            axes=("step (optimiser updates)", unit(name, metrics)),
            log_y=name == "loss",
        )
        cards.append(card(plots.mark_steps(figure, marks), f"metric-{index + 1}"))
    return arranged(cards)


def drawn_together(metrics: Iterable[str]) -> dict[str, dict[str, str]]:
    """For each drawing, the column of metrics that each of its curves shows, by name.

    `test.loss` is the curve "test" of the drawing "loss". Where accuracy is a metric,
    `test.accuracy_odd` is the curve "test odd" of the drawing "accuracy by kind".
    """
    columns = {column: column.rpartition(".") for column in metrics if column != "step"}
    names = sorted({metric for _, _, metric in columns.values()})
    drawings: dict[str, dict[str, str]] = {}
    for column, (split, _, metric) in columns.items():
        whole = next((name for name in names if metric.startswith(f"{name}_")), "")
        kind = metric.removeprefix(f"{whole}_") if whole else ""
        drawing = f"{whole} by kind" if whole else metric
        curve = " ".join(part for part in (split, kind) if part) or metric
        drawings.setdefault(drawing.replace("_", " "), {})[curve] = column
    return drawings


def capital(text: str) -> str:
    """The text with a capital first letter; the other letters stay as they are."""
    return text[:1].upper() + text[1:]


def unit(name: str, columns: Iterable[str]) -> str:
    """The title of a metric's axis: its name, and its unit where that is known.

    Where errors are recorded too, answers are real numbers, and the loss is a squared error.
    """
    metric = name.removesuffix(" by kind")
    is_real = any(column.rpartition(".")[2] == "error" for column in columns)
    units = UNITS | ({"loss": "squared error"} if is_real else {})
    in_words = units.get(metric.rpartition(" ")[2])
    return f"{metric} ({in_words})" if in_words else metric


@dataclass(frozen=True, eq=False)
class SweepPage:
    """Everything on a sweep's page.

    Attributes:
        name: The sweep's name.
        task: The name of its task.
        lede: The task's settings in a line.
        facts: How many runs there are, and how many are finished, failed, and so on.
        varied: The values of each axis, and the seeds.
        headlines: What was found; each names its drawing by id.
        settings: Tables of the settings that all runs share, by title.
        curves: Metrics over training, with a panel for each setting.
        sections: A section for each saved result.
        columns: The settings in which runs differ, and whether they are `number` or `text`.
        rows: The runs, each with the settings in which it differs.
        dots: The runs as dots (`interp.pages.scatter`); empty where they are too few.
        recipe: How to make the sweep again.
        toml: The sweep's file.
        passed_over: Which saved results are not on the page, and why; empty where all are.
    """

    name: str
    task: str
    lede: str
    facts: Mapping[str, int]
    varied: Mapping[str, str]
    headlines: tuple[Finding, ...]
    settings: Mapping[str, Mapping[str, Any]]
    curves: tuple[Card, ...]
    sections: tuple[Section, ...]
    columns: Mapping[str, str]
    rows: Sequence[tuple[Overview, Mapping[str, Any]]]
    dots: Markup
    recipe: Recipe
    toml: str
    passed_over: str


@plain_figures()
def sweep_page(
    sweep_runs: SweepRuns, rows: Sequence[tuple[Overview, Mapping[str, Any]]]
) -> SweepPage:
    """The page of a sweep.

    Args:
        sweep_runs: The runs that have begun.
        rows: A line of the table for each of them, with the settings in which it differs.

    Raises:
        ValueError: A run's files are damaged.
    """
    folder, base = sweep_runs.folder, sweep_runs.folder.sweep.base
    results, stale = current_sweep_results(folder)
    # In order of their analyses, those with the fewest options first.
    order = list(dict.fromkeys(saved.name for saved in results))
    results = sorted(results, key=lambda saved: (order.index(saved.name), len(saved.options)))
    drawn, faults = sections(results)
    name, task = folder.path.resolve().name, _shared(sweep_runs, "task")
    return SweepPage(
        name=name,
        task=short_name(base.task.name),
        lede=" · ".join(f"{field} {shown(value)}" for field, value in task.items()),
        facts=facts(sweep_runs),
        varied=varied(sweep_runs),
        headlines=tuple(chosen_headlines([section.findings for section in drawn])),
        settings={
            "Model": _shared(sweep_runs, "model"),
            "Training": _shared(sweep_runs, "training"),
        },
        curves=sweep_curves(sweep_runs),
        sections=drawn,
        columns=columns(rows),
        rows=rows,
        dots=scatter_of_sweep(sweep_runs, rows) if len(rows) > 2 else Markup(""),
        recipe=sweep_recipe(name, sweep_runs.runs),
        toml=folder.sweep.to_toml(),
        passed_over="; ".join([stale] * bool(stale) + [f"{folder.path}: {why}" for why in faults]),
    )


def facts(sweep_runs: SweepRuns) -> dict[str, int]:
    """How many runs there are, and how many of them are finished, failed, and so on."""
    done = [
        run for run, experiment in sweep_runs.runs.items() if is_done_with(run.path, experiment)
    ]
    failed = sum(bool(run.failure) for run in done)
    total = len(sweep_runs.runs) + sweep_runs.missing
    exceptions = {
        "failed": failed,
        "damaged": len(sweep_runs.faults),
        "not finished yet": total - len(done) - len(sweep_runs.faults),
    }
    counts = {name: count for name, count in exceptions.items() if count}
    return {"runs": total, "finished": len(done) - failed} | counts


def varied(sweep_runs: SweepRuns) -> dict[str, str]:
    """The values of each axis, and the seeds."""
    sweep, axes = sweep_runs.folder.sweep, sweep_runs.folder.sweep.axes
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
    values: dict[str, list[Any]] = {}
    for name, value in (item for _, differing in rows for item in differing.items()):
        values.setdefault(name, []).append(value)
    return {
        name: "number" if all(isinstance(value, int | float) for value in column) else "text"
        for name, column in values.items()
    }


def sweep_curves(sweep_runs: SweepRuns) -> tuple[Card, ...]:
    """A drawing for each metric: a panel for each setting, in it a thin curve for each run.

    The curves of a split have the same colour.
    """
    recorded = {
        run: metrics for run in sweep_runs.runs if (metrics := run.recorded_metrics()) is not None
    }
    if not recorded:
        return ()
    runs, axes = list(recorded), sweep_runs.folder.sweep.axes
    measured = replace(sweep_runs, runs={run: sweep_runs.runs[run] for run in runs})
    settings, setting = settings_of(sweep_table(measured, ()), axes)
    columns = [name for metrics in recorded.values() for name in metrics if name != "step"]
    known = dict.fromkeys(columns)
    groups = [
        [runs[row] for row in np.flatnonzero(setting == place)] for place in range(len(settings))
    ]
    cards = []
    for index, (drawing, names) in enumerate(drawn_together(known).items()):
        points = min(
            max(MAX_DRAWING_POINTS // (len(runs) * len(names)), MIN_CURVE_POINTS), MAX_CURVE_POINTS
        )
        figure = plots.multiples(
            {
                setting_name(axes, values): [
                    _bundle([recorded[run] for run in of_setting], column, points)
                    | {"meta": [run.name for run in of_setting if column in recorded[run]]}
                    | {"name": curve, "line": stroke(number, 1.2), "opacity": 0.8}
                    for number, (curve, column) in enumerate(names.items())
                ]
                for values, of_setting in zip(settings, groups, strict=True)
            },
            columns=columns_of(axes, settings),
            title=f"{capital(drawing)} over training, a curve a run",
            axes=("step (updates)", unit(drawing, known)),
            yaxis={"type": "log"} if drawing == "loss" else {},
        )
        cards.append(card(figure, f"metric-{index + 1}", is_wide=True))
    return tuple(cards)


def _bundle(recorded: "Sequence[pandas.DataFrame]", name: str, points: int) -> plots.Trace:
    """A column of several runs' metrics, as thin curves of at most `points` points each."""
    curves = (
        metrics[["step", name]].to_numpy(dtype=np.float64)
        for metrics in recorded
        if name in metrics
    )
    thinned = (
        curve[np.linspace(0, len(curve) - 1, min(len(curve), points)).round().astype(int)]
        for curve in curves
    )
    return plots.strands([(curve[:, 0], curve[:, 1]) for curve in thinned], name, {})


def _shared(sweep_runs: SweepRuns, name: str) -> dict[str, Any]:
    """The settings of one table of the experiment that all runs share, names made readable."""
    axes = sweep_runs.folder.sweep.axes
    table = {} if name in axes else settings(getattr(sweep_runs.folder.sweep.base, name))
    varies = {
        axis.partition(".")[2].replace("_", " ") for axis in axes if axis.startswith(f"{name}.")
    }
    return {field: value for field, value in table.items() if field not in {*varies, "name"}}
