"""What stands on a run's page: its settings, its curves, and every saved result.

A page is a value; the templates only lay it out. The loop is over kinds of result: no analysis is
known by name.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analyses import plots
from analyses.result import SeriesResult
from interp.measure.holding import holding
from interp.pages.cards import Card, arranged, card
from interp.pages.recipe import Recipe, json_table, recipe
from interp.pages.sections import Section, sections
from interp.pages.tables import Overview, settings
from interp.runs.results import Saved
from interp.runs.run import Run

UNITS = {"loss": "nats", "accuracy": "fraction right", "error": "over that of answering 0"}


@dataclass(frozen=True, eq=False)
class RunPage:
    """Everything on a run's page.

    Attributes:
        overview: The run in one line.
        phases: Steps at which something happened, by what did.
        settings: Tables of what was trained, by title.
        curves: Metrics over training, phases marked.
        sections: One a saved result.
        versions: What the run was made with.
        recipe: How to make it again.
        toml: The experiment.
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

    @property
    def kinds(self) -> set[str]:
        """The kinds of its cards."""
        return {card.kind for section in self.sections for card in section.cards}


def run_page(run: Run, overview: Overview) -> RunPage:
    """The page of a run, with the saved results that hold (`interp.measure.holding`).

    Raises:
        ValueError: The run's files are damaged.
    """
    (found, stale), experiment = holding(run), run.experiment
    phases = phase_marks(found)
    drawn, faults = sections(found)
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


def phase_marks(found: list[Saved]) -> dict[str, float]:
    """Steps by label that results of the whole run want marked on its curves."""
    marks: dict[str, float] = {}
    for each in found:
        result = each.load() if issubclass(each.cls, SeriesResult) else None
        if isinstance(result, SeriesResult):
            marks |= result.marks()
    return {label: step for label, step in marks.items() if step == step}  # NaN: never came


def curves(metrics: pd.DataFrame | None, marks: dict[str, float]) -> tuple[Card, ...]:
    """One drawing a metric, a curve a split, or a kind of its lines; losses on a log axis."""
    if metrics is None:
        return ()
    cards = []
    for index, (name, columns) in enumerate(drawn_together(metrics).items()):
        only = "".join(columns) if len(columns) == 1 else name
        told = capital(name if only == name else f"{name} ({only})")
        figure = plots.lines(
            metrics["step"].to_numpy(),
            {curve: metrics[column] for curve, column in columns.items()},
            title=f"{told} over training",
            axes=("step (optimiser updates)", unit(name, metrics)),
            log_y=name == "loss",
        )
        cards.append(card(plots.mark_steps(figure, marks), f"metric-{index + 1}"))
    return arranged(cards)


def drawn_together(metrics: Iterable[str]) -> dict[str, dict[str, str]]:
    """Columns of metrics by what is drawn together, and by the name of the curve.

    `test.loss` is the curve test of loss. Where accuracy is a metric, `test.accuracy_odd` is the
    curve test odd of accuracy by kind.
    """
    columns = {each: each.rpartition(".") for each in metrics if each != "step"}
    every = sorted({metric for _, _, metric in columns.values()})
    found: dict[str, dict[str, str]] = {}
    for column, (split, _, metric) in columns.items():
        whole = next((each for each in every if metric.startswith(f"{each}_")), "")
        kind = metric.removeprefix(f"{whole}_") if whole else ""
        drawing = f"{whole} by kind" if whole else metric
        curve = " ".join(each for each in (split, kind) if each) or metric
        found.setdefault(drawing.replace("_", " "), {})[curve] = column
    return found


def capital(text: str) -> str:
    """A text that begins with a capital letter, all else as it is."""
    return text[:1].upper() + text[1:]


def unit(name: str, columns: Iterable[str]) -> str:
    """The title of a metric's axis: its name, and its unit where that is known.

    Where errors are recorded too, answers are real numbers, and the loss is no entropy.
    """
    metric = name.removesuffix(" by kind")
    is_real = any(each.rpartition(".")[2] == "error" for each in columns)
    known = UNITS.get(metric.rpartition(" ")[2])
    known = "squared error" if is_real and known == "nats" else known
    return f"{metric} ({known})" if known else metric
