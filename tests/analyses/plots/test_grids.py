from analyses.plots.grids import Panel, grid
from analyses.plots.style import line
from tests.sweeps import drawn

LOW, HIGH = (line([0, 1], y, "curve", {}) for y in ([0, 1], [10, 20]))


def laid(*panels: Panel, columns: int = 2, **xaxis):
    return drawn(grid(panels, title="title", across="step", columns=columns, xaxis=xaxis))


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


def test_only_the_lowest_panels_have_numbers_along_the_bottom():
    layout = laid(*[Panel("", "nats", [LOW])] * 3)["layout"]
    shown = {name for name in layout if name.startswith("xaxis") and layout[name]["showticklabels"]}
    assert shown == {"xaxis", "xaxis4"}  # that at the lower left, and the one with none below it
    assert all(layout[name]["title"]["text"] == "step" for name in shown)


def test_a_name_stands_in_the_legend_once():
    data = laid(Panel("", "nats", [LOW]), Panel("", "norm", [HIGH]))["data"]
    assert [each["showlegend"] for each in data] == [True, False]


def test_panels_do_not_overlap():
    layout = laid(*[Panel("heading", "nats", [LOW])] * 4)["layout"]
    bottoms = [layout[name]["domain"] for name in ("yaxis", "yaxis3")]
    assert bottoms[0][1] < bottoms[1][0]
    assert layout["xaxis"]["domain"][1] < layout["xaxis2"]["domain"][0]
