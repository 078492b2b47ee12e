"""What results share."""

import inspect
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import (
    ANALYSES,
    FourierSpectrum,
    GrokkingPhases,
    PruningTrace,
    SeedSpread,
    WeightNorms,
    plots,
)
from analyses.result import BaseResult, Drawings
from hooks import Checkpoints, Snapshot
from hooks.models import parameters_of
from tests.planted import random_model, tokens_as_examples

EXAMPLES = tokens_as_examples(torch.tensor([[1, 2, 7], [3, 5, 7]]))
STATES = {step: parameters_of(random_model(seed=step)) for step in (0, 10)}
CHECKPOINTS = Checkpoints.of(random_model(), STATES, EXAMPLES)


@dataclass(frozen=True, eq=False)
class Shares(BaseResult):
    """A result whose summary is known."""

    values: np.ndarray

    def summary(self) -> dict[str, float | str]:
        """Four scalars, one of them a long text."""
        return {"share": 0.123456, "count": 12_345, "kind": "x" * 500, "last": 1.0}

    def to_frame(self) -> pd.DataFrame:
        """The values."""
        return pd.DataFrame({"value": self.values})

    def figures(self):
        """Two figures."""
        return {slug: plots.empty(slug, "nothing") for slug in ("power", "<accuracy>")}


SHARES = Shares(np.zeros(10_000))


def test_a_figure_is_drawn_when_it_is_asked_for():
    drawn = []

    def draw(slug):
        drawn.append(slug)
        return plots.empty(slug, "nothing")

    figures = Drawings(one=lambda: draw("one"), two=lambda: draw("two"))
    assert (list(figures), len(figures), "two" in figures, "three" in figures) == (
        ["one", "two"],
        2,
        True,
        False,
    )
    assert drawn == []
    assert isinstance(figures["two"], plots.Figure)
    assert drawn == ["two"]


def test_an_unknown_figure_is_a_key_error():
    with pytest.raises(KeyError):
        Drawings()["one"]


def test_a_result_shows_its_first_scalars_in_a_line():
    assert repr(SHARES) == f"Shares(share=0.1235, count=12345, kind={'x' * 57}...)"


def test_a_notebook_shows_title_summary_and_figures_of_a_result():
    shown = SHARES._repr_html_()
    assert shown.startswith("<b>Shares</b><table><tr><th>share</th><td>0.1235</td></tr>")
    assert "<code>power</code>, <code>&lt;accuracy&gt;</code>" in shown
    assert len(shown) < 600


def test_a_figure_is_plotted_by_its_name():
    figure = SHARES.plot("<accuracy>")
    assert isinstance(figure, plots.Figure)
    assert plots.as_data(figure)["layout"]["title"]["text"] == "<accuracy>"


def test_an_unknown_figure_is_refused_with_the_one_that_is_near():
    wanted = "Shares has no figure 'powers'; there are power, <accuracy>; did you mean power?"
    with pytest.raises(ValueError, match=rf"\A{wanted.replace('?', '[?]')}\Z"):
        SHARES.plot("powers")


def test_checkpoints_are_measured_without_being_made_a_series():
    assert len(PruningTrace.measure(CHECKPOINTS, by="head").paths)


def test_an_analysis_of_a_step_asks_for_a_snapshot_where_it_gets_a_run():
    with pytest.raises(TypeError, match=r"\AFourierSpectrum measures one step: give run\.snapshot"):
        FourierSpectrum.measure(CHECKPOINTS)  # pyright: ignore[reportArgumentType]  # refused


def test_an_analysis_of_a_run_asks_for_the_run_where_it_gets_a_snapshot():
    with pytest.raises(TypeError, match=r"whole run: give the run; got Snapshot\(step 0, 2 ex"):
        GrokkingPhases.measure(CHECKPOINTS.snapshot(0))  # pyright: ignore[reportArgumentType]  # refused


@pytest.mark.parametrize("given", [CHECKPOINTS, CHECKPOINTS.snapshot(0)])
def test_an_analysis_of_a_sweep_asks_for_its_folder_where_it_gets_a_run(given):
    with pytest.raises(TypeError, match=r"measures a whole sweep: interp\.analyze_sweep"):
        SeedSpread.measure(given)  # pyright: ignore[reportCallIssue]  # refused


@pytest.mark.parametrize("given", ["fixtures/modular-addition", None, 3])
@pytest.mark.parametrize("cls", [FourierSpectrum, PruningTrace, SeedSpread])
def test_an_analysis_refuses_what_it_cannot_measure_in_one_line(cls, given):
    with pytest.raises(TypeError, match=rf"\A{cls.__name__} measures .*; got {given!r}\Z"):
        cls.measure(given)


def test_what_is_given_by_its_name_is_looked_at_too():
    with pytest.raises(TypeError, match=r"measures one step: give run\.snapshot"):
        FourierSpectrum.measure(snapshot=CHECKPOINTS)  # pyright: ignore[reportArgumentType]  # refused


def test_measure_keeps_its_own_signature_and_words():
    assert list(inspect.signature(PruningTrace.measure).parameters)[:2] == ["series", "by"]
    assert list(inspect.signature(WeightNorms.measure).parameters) == [
        "snapshot",
        "reference",
        "per_layer",
    ]
    assert all(inspect.getdoc(cls.measure) for cls in ANALYSES.values())
    assert WeightNorms.measure.__name__ == "measure"


def test_an_analysis_may_be_measured_on_a_bare_models_snapshot():
    assert WeightNorms.measure(Snapshot.of(random_model(), EXAMPLES)).summary()
