import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses import plots
from analyses.plots.style import (
    LINE_HEIGHT,
    MARGIN,
    MAX_WIDTH,
    TICK_SIZE,
    along_bottom,
    logarithmic,
)

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


@given(st.integers(41, 400))
def test_a_figure_of_many_names_asks_for_a_line_each_up_to_a_page(count):
    found = along_bottom(["a"] * count, 380, room=40 * LINE_HEIGHT)
    assert found["meta"]["least_width"] >= min(LINE_HEIGHT * count, MAX_WIDTH)
    assert found["meta"]["least_width"] <= MAX_WIDTH


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
    assert axis["tickfont"]["size"] * 1.25 == TICK_SIZE  # by which plotly enlarges them


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


def curve_with(marks):
    figure = plots.lines([0, 50, 100], {"a": [1, 2, 1]}, title="t", axes=("x", "y"))
    return plots.as_data(plots.mark_steps(figure, marks))["layout"]


MARKS = st.dictionaries(st.text("ab"), st.floats(0, 100), min_size=1, max_size=6)


@given(MARKS)
def test_labels_of_marks_stand_above_the_curves_a_row_each(marks):
    layout = curve_with(marks)
    heights = [note["y"] for note in layout["annotations"]]
    assert min(heights) > layout["yaxis"]["domain"][1]
    assert max(heights) < 1
    assert len(set(heights)) == len(marks)


@given(MARKS)
def test_marks_take_no_height_from_the_curves(marks):
    layout = curve_with(marks)
    inner = layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]
    plain = plots.HEIGHT - MARGIN["t"] - MARGIN["b"]
    assert inner * layout["yaxis"]["domain"][1] == pytest.approx(plain)


def test_labels_of_marks_point_to_the_middle_so_that_the_axis_ends_with_the_curve():
    notes = curve_with({"early": 10.0, "late": 90.0})["annotations"]
    assert [(note["text"], note["xanchor"]) for note in notes] == [
        ("early", "left"),
        ("late", "right"),
    ]


def test_a_line_of_a_mark_ends_at_its_label():
    layout = curve_with({"early": 10.0, "late": 90.0})
    ends = [(shape["x0"], shape["y0"], shape["y1"]) for shape in layout["shapes"]]
    assert ends == [(note["x"], 0, note["y"]) for note in layout["annotations"]]


def test_bars_of_several_sets_are_told_apart_without_colour():
    heights = {str(index): [1.0] for index in range(6)}
    data = plots.as_data(plots.bars(["a"], heights, title="t", axes=("x", "y")))["data"]
    hatches = [trace["marker"].get("pattern", {}).get("shape") for trace in data]
    assert hatches[:3] == [None] * 3
    assert len(set(hatches[3:])) == 3
