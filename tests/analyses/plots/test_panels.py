import numpy as np
import pytest

from analyses.plots.panels import (
    FEW_COLUMNS,
    MANY_COLUMNS,
    TABLE_WIDTHS,
    Panel,
    _columns,
    band,
    grid,
    multiples,
    strands,
    whiskers,
)
from analyses.plots.style import line
from tests.sweeps import drawn as as_json

X = np.arange(3.0)


def drawn(count: int, columns: int = 0):
    panels = {f"panel {i}": [line(X, X, "a", {}), line(X, -X, "b", {})] for i in range(count)}
    return multiples(panels, title="t", axes=("x", "y"), columns=columns).to_plotly_json()


def places(figure):
    """Each panel's place, by the axes of its first trace: from left to right, from low to high."""
    layout = figure["layout"]
    names = [(trace["xaxis"][1:], trace["yaxis"][1:]) for trace in figure["data"][::2]]
    return [(layout[f"xaxis{x}"]["domain"], layout[f"yaxis{y}"]["domain"]) for x, y in names]


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 12, 25])
def test_no_two_panels_overlap(count):
    boxes = places(drawn(count))
    assert len(boxes) == count
    for i, ((left, right), (low, high)) in enumerate(boxes):
        assert 0 <= left < right <= 1
        assert 0 <= low < high <= 1
        for (other_left, other_right), (other_low, other_high) in boxes[:i]:
            assert right <= other_left or other_right <= left or high <= other_low or (
                other_high <= low
            )  # fmt: skip


def test_panels_follow_each_other_like_words():
    first, second, third, _ = places(drawn(4, 2))
    assert (first[0], first[1]) == (third[0], second[1])
    assert second[0][0] > first[0][0]
    assert third[1][0] < first[1][0]


def test_all_panels_share_their_axes():
    layout = drawn(5)["layout"]
    matched = [layout[name].get("matches") for name in layout if name.startswith("xaxis")]
    assert sorted(map(str, matched)) == ["None", "x", "x", "x", "x"]


def test_a_name_stands_in_the_legend_once():
    shown = [trace["name"] for trace in drawn(4)["data"] if trace["showlegend"]]
    assert shown == ["a", "b"]


def test_only_the_lowest_and_the_leftmost_carry_titles():
    layout = drawn(6, 3)["layout"]
    titled = [
        name for name in layout if "axis" in name and (layout[name].get("title") or {}).get("text")
    ]
    assert sorted(titled) == ["xaxis", "xaxis2", "xaxis3", "yaxis", "yaxis4"]


def test_a_single_panel_is_a_plain_figure():
    assert "domain" not in drawn(1)["layout"]["xaxis"]


def test_strands_are_apart_from_each_other():
    trace = strands([(X, X), (X, 2 * X)], "runs", {})
    np.testing.assert_equal(trace["y"], [0, 1, 2, np.nan, 0, 2, 4, np.nan])


def test_a_strand_ends_where_its_run_does():
    trace = strands([(X, np.array([1, 2, np.nan]))], "runs", {})
    np.testing.assert_equal(trace["x"], [0, 1, np.nan])


def test_a_band_goes_around_what_is_finite():
    trace = band(X, (np.array([np.nan, 1, 2]), np.array([9.0, 3, 4])), "interval")
    assert (trace["x"], trace["y"]) == ([1, 2, 2, 1], [1, 2, 4, 3])


def test_a_panel_without_values_leaves_the_others_their_range():
    nothing = line(X, np.full(3, np.nan), "a", {})
    panels = {"empty": [nothing], "full": [line(X, 1000 * X, "a", {})]}
    layout = multiples(panels, title="t", axes=("x", "y")).to_plotly_json()["layout"]
    assert layout["yaxis"]["range"] == layout["yaxis2"]["range"] == [-100, 2100]


def test_a_range_holds_the_intervals():
    dots = whiskers(X, X, (X - 5, X + 5), "a", 0)
    layout = multiples({"": [dots]}, title="t", axes=("x", "y")).to_plotly_json()["layout"]
    low, high = layout["yaxis"]["range"]
    assert low < -5
    assert high > 7


def test_a_logarithmic_range_is_of_exponents():
    panels = {"": [line(X, np.array([0, 1, 100]), "a", {})]}
    scale = {"type": "log"}
    figure = multiples(panels, title="t", axes=("x", "y"), yaxis=scale).to_plotly_json()
    assert figure["layout"]["yaxis"]["range"] == pytest.approx([-0.1, 2.1])


LOW, HIGH = (line([0, 1], y, "curve", {}) for y in ([0, 1], [10, 20]))


def laid(*panels: Panel, columns: int = 2, **xaxis):
    return as_json(grid(panels, title="title", across="step", columns=columns, xaxis=xaxis))


def test_panels_of_a_row_with_one_unit_share_a_range_and_its_title():
    layout = laid(Panel("a", "nats", [LOW]), Panel("b", "nats", [HIGH]))["layout"]
    assert layout["yaxis"]["range"] == layout["yaxis2"]["range"] == [-1, 21]
    assert layout["yaxis"]["title"]["text"] == "nats"
    assert "title" not in layout["yaxis2"]


def test_panels_of_other_units_have_ranges_of_their_own():
    layout = laid(Panel("", "nats", [LOW]), Panel("", "norm", [HIGH]), columns=1)["layout"]
    assert layout["yaxis2"]["range"] == [-0.05, 1.05]  # the lower panel has the plain axes
    assert layout["yaxis"]["range"] == [9.5, 20.5]


def test_a_range_may_be_given():
    layout = laid(Panel("", "share", [LOW], (-2, 3)))["layout"]
    assert layout["yaxis"]["range"] == [-2, 3]


def test_an_ordinate_may_be_logarithmic():
    powers = line(X, 10.0**X, "a", {})
    layout = laid(Panel("", "nats", [powers], is_log=True), Panel("", "norm", [LOW]))["layout"]
    assert layout["yaxis"]["type"] == "log"
    low, high = layout["yaxis"]["range"]  # of exponents, 0 to 2, and some air
    assert -0.2 < low < 0
    assert 2 < high < 2.2
    assert "type" not in layout["yaxis2"]


def test_only_the_lowest_panels_have_numbers_along_the_bottom():
    layout = laid(*[Panel("", "nats", [LOW])] * 3)["layout"]
    shown = {name for name in layout if name.startswith("xaxis") and layout[name]["showticklabels"]}
    assert shown == {"xaxis", "xaxis4"}  # that at the lower left, and the one with none below it
    assert all(layout[name]["title"]["text"] == "step" for name in shown)


def test_a_name_in_panels_of_several_units_stands_in_the_legend_once():
    data = laid(Panel("", "nats", [LOW]), Panel("", "norm", [HIGH]))["data"]
    assert [trace["showlegend"] for trace in data] == [True, False]


def test_panels_with_headings_do_not_overlap():
    layout = laid(*[Panel("heading", "nats", [LOW])] * 4)["layout"]
    bottoms = [layout[name]["domain"] for name in ("yaxis", "yaxis3")]
    assert bottoms[0][1] < bottoms[1][0]
    assert layout["xaxis"]["domain"][1] < layout["xaxis2"]["domain"][0]


@pytest.mark.parametrize("count", range(5, 101))
def test_little_of_the_last_row_stays_empty(count):
    for wanted in (FEW_COLUMNS if count <= 20 else MANY_COLUMNS, TABLE_WIDTHS):
        columns = _columns(count, wanted)
        blank = -count % columns / columns
        assert blank <= 1 / 3 or blank == min(-count % n / n for n in wanted)
        assert blank < 0.67


def test_as_many_panels_as_fit_stand_in_one_row():
    assert [_columns(count, (4, 3, 5, 6)) for count in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert [_columns(count, (4, 3, 5, 6)) for count in (5, 6, 7, 10, 13)] == [3, 3, 4, 5, 5]
