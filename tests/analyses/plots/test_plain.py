"""Figures made for a page alone are those that plotly would make."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import interp
from analyses import plots
from analyses.plots.plain import PlainFigure, plain_figures
from analyses.plots.views import View
from interp.runs import current_results

RUN = interp.load(Path(__file__).parents[3] / "fixtures" / "modular-addition")
SAVED = {saved.name: saved for saved in current_results(RUN)[0]}


def alike(value: Any) -> Any:
    """A part of a figure without what plotly writes in another way."""
    if isinstance(value, dict):
        parts = {name: alike(part) for name, part in value.items() if name != "colorscale"}
        return {name: part for name, part in parts.items() if part not in (None, [], {})}
    return [alike(part) for part in value] if isinstance(value, list) else value


def figures_of(result) -> dict[str, Any]:
    drawn = {slug: result.plot(slug) for slug in result.figures()}
    return {slug: each for slug, each in drawn.items() if not isinstance(each, View)}


@pytest.mark.parametrize("name", SAVED)
def test_plain_figures_are_those_of_plotly(name):
    result = SAVED[name].load()
    validated = {slug: plots.as_data(each) for slug, each in figures_of(result).items()}
    with plain_figures():
        plain = figures_of(result)
    assert all(isinstance(each, PlainFigure) for each in plain.values())
    assert {slug: alike(plots.as_data(each)) for slug, each in plain.items()} == {
        slug: alike(each) for slug, each in validated.items()
    }


def test_a_figure_of_a_notebook_is_plotlys_own():
    with plain_figures():
        pass
    drawn = plots.lines([0, 1], {"a": [1, 2]}, title="A", axes=("x", "y"))
    assert type(drawn) is plots.Figure
    assert plots.as_data(drawn)["data"][0]["name"] == "a"


def test_plain_figures_are_changed_in_the_ways_that_analyses_use():
    def changed():
        drawn = plots.heatmap(
            np.eye(2), title="A", axes=("x", "y"), unit="share", ticks=(["a", "b"], ["c", "d"])
        )
        drawn.update_layout(height=300, yaxis={"scaleanchor": "x"}, margin={"l": 5})
        drawn.update_xaxes({"type": "category"}, side="top").update_yaxes(showgrid=False)
        return plots.as_data(drawn.update_traces(zmid=0))

    validated = changed()
    with plain_figures():
        assert alike(changed()) == alike(validated)
