import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses.layout import MARGIN, TICK, along_bottom, logarithmic

NAMES = st.lists(st.text("abc _[]", max_size=30), min_size=1, max_size=40)


def test_names_are_wrapped_at_spaces_where_they_then_fit():
    names = ["gradient symmetricity", "circularity"]
    axis = along_bottom(names, 380, room=200)["xaxis"]
    assert axis["ticktext"] == ["gradient<br>symmetricity", "circularity"]
    assert (axis["tickvals"], axis["tickangle"]) == (names, 0)


def test_names_that_do_not_fit_are_slanted_and_whole():
    names = ["gradient symmetricity", "circularity"]
    axis = along_bottom(names, 380, room=150)["xaxis"]
    assert (axis["ticktext"], axis["autotickangles"]) == (names, [0, -45])


def test_where_there_are_too_many_plotly_chooses_names():
    assert along_bottom(["a"] * 60, 380, room=300)["xaxis"] == {"type": "category"}


@pytest.mark.parametrize("names", [[], [1, 2, 3], [0.5]])
def test_numbers_along_the_bottom_take_no_room_of_their_own(names):
    assert along_bottom(names, 380, room=300) == {"height": 380}


def test_longer_names_take_more_room():
    short, long = (along_bottom([name] * 9, 380, room=300)["height"] for name in ("a" * 5, "a" * 9))
    assert 380 < short < long


@given(NAMES, st.integers(100, 400))
def test_the_figure_grows_by_what_names_take_so_that_its_axes_do_not_shrink(names, room):
    found = along_bottom(names, 380, room=room)
    assert found["height"] - 380 == found["margin"]["b"] - MARGIN["b"] >= 0


def test_powers_of_ten_are_as_large_as_other_ticks():
    axis = logarithmic({"a": [1e-6, 1.0], "b": [10.0]})
    assert (axis["exponentformat"], axis["dtick"]) == ("power", 1)
    assert axis["tickfont"]["size"] * 1.25 == TICK  # by which plotly enlarges them


def test_many_powers_of_ten_are_named_in_part():
    assert logarithmic({"": [1e-20, 1.0]})["dtick"] == 3


def test_within_two_powers_of_ten_ticks_are_at_1_2_and_5():
    axis = logarithmic({"": [0.3, 4.0]})
    between = [
        text for text, at in zip(axis["ticktext"], axis["tickvals"], strict=True) if 0.1 <= at <= 10
    ]
    assert between == ["0.1", "0.2", "0.5", "1", "2", "5", "10"]


@pytest.mark.parametrize("values", [[], [0.0, -1.0], [math.nan, math.inf]])
def test_without_a_positive_number_there_is_a_logarithmic_axis_all_the_same(values):
    assert logarithmic({"": values})["type"] == "log"


@pytest.mark.parametrize(("low", "high"), [(3.5, 3.8), (0.21, 0.4), (1.0, 1.9), (900.0, 1200.0)])
def test_a_narrow_logarithmic_axis_names_numbers_within(low, high):
    axis = logarithmic({"": [low, high]})
    assert 3 <= sum(low <= tick <= high for tick in axis["tickvals"]) <= 9


def test_a_logarithmic_axis_of_one_value_names_it():
    assert logarithmic({"": [3.7, 3.7]})["ticktext"] == ["3.7"]
