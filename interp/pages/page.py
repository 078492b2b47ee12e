"""What stands on a run's page: its settings, its curves, and every saved result.

A page is a value, which the templates lay out. No analysis is known by name here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analyses import plots
from analyses.result import SeriesResult
from interp.pages.cards import Card, arranged, card
from interp.pages.recipe import Recipe, json_table, recipe
from interp.pages.sections import Section, sections
from interp.pages.tables import Overview, settings
from interp.runs.current import current_results
from interp.runs.results import Saved
from interp.runs.run import Run

UNITS = {"loss": "nats", "accuracy": "fraction right", "error": "over that of answering 0"}


@dataclass(frozen=True, eq=False)
class RunPage:
    """Everything on a run's page.

    Attributes:
        overview: The run in one line.
        phases: Steps at which something happened, under the name of what happened.
        settings: Tables of the settings of task, model and training, by title.
        curves: Metrics over training, in which the phases are marked.
        sections: A section for each saved result.
        versions: The versions and the machine that the run was made with.
        recipe: How to make the run again.
        toml: The experiment's file.
        passed_over: Which saved results are not on the page, and why; empty where all are.
    """

    overview: Overview
    phases: dict[str, float]
    settings: dict[str, dict[str, Any]]
    curves: tuple[Card, ...]
    sections: tuple[Section, ...]
    versions: dict[str, Any]
    recipe: Recipe
    toml: str
    passed_over: str


def run_page(run: Run, overview: Overview) -> RunPage:
    """The page of a run, with the saved results that hold (`interp.runs.current`).

    Raises:
        ValueError: The run's files are damaged.
    """
    (results, stale), experiment = current_results(run), run.experiment
    phases = phase_marks(results)
    drawn, faults = sections(results)
    training = settings(experiment.training) or {"training": "none: imported or constructed"}
    return RunPage(
        overview=overview,
        phases=phases,
        settings={
            "Task": settings(experiment.task),
            "Model": settings(experiment.model),
            "Training": training | {"seeds": settings(experiment.seeds)},
        },
        curves=curves(run.recorded_metrics(), phases),
        sections=drawn,
        versions=json_table(run, "environment.json"),
        recipe=recipe(run),
        toml=experiment.to_toml(),
        passed_over="; ".join([stale] * bool(stale) + [f"{run.path}: {why}" for why in faults]),
    )


def phase_marks(results: list[Saved]) -> dict[str, float]:
    """Steps, by label, that results of the whole run mark on its curves."""
    marks: dict[str, float] = {}
    for saved in results:
        result = saved.load() if issubclass(saved.cls, SeriesResult) else None
        if isinstance(result, SeriesResult):
            marks |= result.marks()
    return {label: step for label, step in marks.items() if step == step}  # NaN: it never happened


def curves(metrics: pd.DataFrame | None, marks: dict[str, float]) -> tuple[Card, ...]:
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
    known = UNITS.get(metric.rpartition(" ")[2])
    known = "squared error" if is_real and known == "nats" else known
    return f"{metric} ({known})" if known else metric
