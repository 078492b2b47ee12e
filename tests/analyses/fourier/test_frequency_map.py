import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses.fourier.basis import basis_names
from analyses.fourier.circuit import frequency_map, frequency_ticks
from analyses.plots.figures import as_data


@pytest.mark.parametrize(("n", "apart"), [(13, 1), (23, 2), (53, 5), (113, 10)])
def test_ticks_are_of_every_frequency_or_evenly_apart(n, apart):
    shown = [int(each) for each in frequency_ticks(n)["ticktext"]]
    assert shown == list(range(0, n // 2 + 1, apart))


@given(st.integers(2, 400))
def test_a_tick_stands_between_the_components_of_its_frequency(n):
    ticks, names = frequency_ticks(n), ["0", *(name.split()[1] for name in basis_names(n)[1:])]
    for place, text in zip(ticks["tickvals"], ticks["ticktext"], strict=True):
        assert {names[int(np.floor(place))], names[int(np.ceil(place))]} == {text}


@given(st.integers(2, 400))
def test_there_are_few_ticks(n):
    assert len(frequency_ticks(n)["ticktext"]) <= 11


def test_cells_are_as_wide_as_high():
    layout = as_data(frequency_map(np.eye(13), title="t", unit="u"))["layout"]
    assert layout["yaxis"]["scaleanchor"] == "x"
    assert layout["xaxis"]["constrain"] == layout["yaxis"]["constrain"] == "domain"


def test_the_first_operand_runs_down():
    layout = as_data(frequency_map(np.eye(13), title="t", unit="u"))["layout"]
    assert "frequency in a" in layout["yaxis"]["title"]["text"]
    assert layout["yaxis"]["autorange"] == "reversed"
