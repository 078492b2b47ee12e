import numpy as np
import pytest

from analyses import plots
from analyses.plots.figures import Figure, as_data
from analyses.plots.slider import slider, slides

STEPS = (0, 10, 20)


def bars(*values):
    return plots.bars([1, 2], {"a": list(values)}, title=f"{values}", axes=("x", "y"))


@pytest.fixture
def three():
    return [as_data(bars(*values)) for values in ((1.0, 2.0), (3.0, 4.0), (5.0, 0.0))]


def seen(drawn, step):
    """The ordinates that are drawn at a step."""
    shown = drawn["layout"]["sliders"][0]["steps"][step]["args"][0]["visible"]
    return [trace["y"] for trace, is_seen in zip(drawn["data"], shown, strict=True) if is_seen]


def test_a_slider_opens_at_the_last_step(three):
    drawn = slides(three, STEPS)
    assert [trace["visible"] for trace in drawn["data"]] == [False, False, True]


@pytest.mark.parametrize("step", range(3))
def test_a_step_shows_its_own_traces(three, step):
    assert seen(slides(three, STEPS), step) == [three[step]["data"][0]["y"]]


def test_steps_may_have_different_numbers_of_traces(three):
    two = as_data(plots.bars([1], {"a": [1.0], "b": [2.0]}, title="two", axes=("x", "y")))
    drawn = slides([three[0], two], (0, 10))
    assert seen(drawn, 1) == [[1.0], [2.0]]


def test_titles_move_with_the_slider(three):
    steps = slides(three, STEPS)["layout"]["sliders"][0]["steps"]
    assert [step["args"][1]["title.text"] for step in steps] == [
        "(1.0, 2.0)",
        "(3.0, 4.0)",
        "(5.0, 0.0)",
    ]


def test_the_ordinate_holds_every_step(three):
    low, high = slides(three, STEPS)["layout"]["yaxis"]["range"]
    assert low <= 0
    assert high >= 5


def test_the_ordinate_stands_still_on_a_logarithmic_axis():
    curves = [
        as_data(plots.lines([0, 1], {"a": y}, title="t", axes=("x", "y"), log_y=True))
        for y in ([1.0, 10.0], [0.0, 1000.0])
    ]
    low, high = slides(curves, (0, 1))["layout"]["yaxis"]["range"]
    assert low <= 0 < 3 <= high


def heat(values, limits=None):
    return as_data(
        plots.heatmap(np.array(values), title="t", axes=("x", "y"), unit="u", limits=limits)
    )


def test_heat_maps_share_their_colours():
    drawn = slides([heat([[0.0, 1.0]]), heat([[-2.0, np.nan]])], (0, 1))
    assert {(trace["zmin"], trace["zmax"]) for trace in drawn["data"]} == {(-2.0, 1.0)}


def test_heat_maps_keep_limits_of_their_own():
    drawn = slides([heat([[0.5]], (0, 1)), heat([[7.0]], (0, 1))], (0, 1))
    assert {(trace["zmin"], trace["zmax"]) for trace in drawn["data"]} == {(0, 1)}


def test_heat_maps_about_a_middle_keep_it():
    maps = [heat([[0.0, 1.0]]), heat([[-3.0, 2.0]])]
    for each in maps:
        each["data"][0]["zmid"] = 1
    limits = {(trace["zmin"], trace["zmax"]) for trace in slides(maps, (0, 1))["data"]}
    assert limits == {(-3.0, 5.0)}


def test_figures_are_left_as_they_were(three):
    before = str(three)
    slides(three, STEPS)
    assert str(three) == before


def test_a_notebook_gets_a_figure():
    figure = slider([bars(1, 2), bars(3, 4)], (0, 10))
    assert isinstance(figure, Figure)
    assert len(as_data(figure)["layout"]["sliders"]) == 1


def test_a_slider_lies_below_what_a_figure_writes_under_its_axis():
    names = ["a name that is far too long", "another name as long as that"] * 4
    figure = as_data(plots.bars(names, {"a": [0.0] * 8}, title="t", axes=("x", "y")))
    pad = slides([figure, figure], (0, 1))["layout"]["sliders"][0]["pad"]["t"]
    assert pad > figure["layout"]["margin"]["b"] > 100


def test_a_figure_that_needs_room_keeps_it_under_a_slider():
    names = [f"name {index}" for index in range(40)]
    figure = as_data(plots.bars(names, {"a": [0.0] * 40}, title="t", axes=("x", "y")))
    assert figure["layout"]["meta"]["least_width"] > 480
    kept = slides([figure, figure], (0, 1))["layout"]["meta"]
    assert kept["least_width"] == figure["layout"]["meta"]["least_width"]


def test_ranges_that_figures_set_are_joined():
    def drawn(*limits):
        return {"data": [], "layout": {"title": {"text": ""}, "yaxis2": {"range": list(limits)}}}

    layout = slides([drawn(0, 5), drawn(-1, 2)], (0, 10))["layout"]
    assert layout["yaxis2"]["range"] == [-1, 5]
    upside_down = slides([drawn(5, 0), drawn(2, -1)], (0, 10))["layout"]
    assert upside_down["yaxis2"]["range"] == [2, -1]
