"""What stands on a run's page: its settings, its curves, and every saved result.

A page is a value; the templates only lay it out. The loop is over kinds of result: no analysis is
known by name.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analyses import plots
from analyses.result import SeriesResult
from interp.report.cards import Card, arranged, card
from interp.report.recipe import Recipe, json_table, recipe
from interp.report.sections import Section, section
from interp.report.tables import Overview, settings
from interp.results import Saved, saved
from interp.run import Run

UNITS = {"loss": "loss (nats)", "accuracy": "accuracy (fraction right)"}


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
    """

    overview: Overview
    phases: dict[str, float]
    settings: dict[str, dict[str, Any]]
    curves: tuple[Card, ...]
    sections: tuple[Section, ...]
    versions: dict[str, Any]
    recipe: Recipe
    toml: str

    @property
    def kinds(self) -> set[str]:
        """The kinds of its cards."""
        return {card.kind for section in self.sections for card in section.cards}


def run_page(run: Run, overview: Overview) -> RunPage:
    """The page of a run.

    Raises:
        ValueError: A saved result is damaged, or holds something that cannot be drawn.
    """
    found, experiment = saved(run), run.experiment
    phases = phase_marks(found)
    training = settings(experiment.training) or {"training": "none: imported or constructed"}
    return RunPage(
        overview=overview,
        phases=phases,
        settings={
            "Task": settings(experiment.task),
            "Model": settings(experiment.model),
            "Training": training | {"seeds": settings(experiment.seeds)},
        },
        curves=curves(run.metrics(), phases),
        sections=tuple(section(each, f"result-{i}") for i, each in enumerate(found, start=1)),
        versions=json_table(run, "environment.json"),
        recipe=recipe(run),
        toml=experiment.to_toml(),
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
    """One drawing a metric, a curve a split; losses on a logarithmic axis."""
    if metrics is None:
        return ()
    columns = [column.rpartition(".") for column in metrics if column != "step"]
    cards = []
    for index, name in enumerate(dict.fromkeys(name for _, _, name in columns)):
        splits = [split for split, _, each in columns if each == name]
        words = name.replace("_", " ")
        figure = plots.lines(
            metrics["step"].to_numpy(),
            {split or name: metrics[f"{split}.{name}" if split else name] for split in splits},
            title=f"{words[:1].upper()}{words[1:]} over training",
            axes=("step (optimiser updates)", UNITS.get(name) or words),
            log_y=name == "loss",
        )
        cards.append(card(plots.mark_steps(figure, marks), f"metric-{index + 1}"))
    return arranged(cards)
