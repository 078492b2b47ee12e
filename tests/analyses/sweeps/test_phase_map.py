import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses import PhaseMap
from analyses.plots.figures import Figure
from analyses.statistics import wilson_interval
from tests.sweeps import drawn, table_of

LOSSES = "GrokkingPhases.loss_category"
DECAY, WIDTH, DATA = "training.weight_decay", "training.width", "training.data"
AXES = (DECAY, WIDTH, DATA)


def grid(outcome, seeds=9):
    """Two decays, two widths, three sizes of data, and the outcome from these and the seed."""
    return table_of([
        {DECAY: decay, WIDTH: width, DATA: data, LOSSES: outcome(decay, width, data, seed)}
        for decay in (0.1, 1.0) for width in (16, 32) for data in (750, 1000, 1250)
        for seed in range(seeds)
    ])  # fmt: skip


def of_one_cell(table):
    """The runs of one width and size of data, which differ in decay and seed."""
    return table.query(f"`experiment.{WIDTH}` == 16 and `experiment.{DATA}` == 750")


def by_decay(decay, width, data, seed):
    return "grokking" if decay == 0.1 else "high train loss"


def measured(table, axes=AXES, **options):
    return PhaseMap.measure(table, {}, axes=axes, **options)


def drawn_map(found):
    figure = found.figures()["map"]
    assert isinstance(figure, Figure)
    return figure.to_plotly_json()


def dots(figure, panel):
    """Places of a panel's dots, as [x, y] rows, by category."""
    return {
        trace["name"]: np.array([trace["x"], trace["y"]]).T
        for trace in figure["data"] if trace["xaxis"] == panel
    }  # fmt: skip


def test_every_run_is_a_dot_in_the_cell_of_its_setting():
    table = grid(lambda decay, width, data, seed: "grokking" if data == 1250 else "high test loss")
    drawn = dots(drawn_map(measured(table)), "x")
    cells = {tuple(each) for each in np.round(drawn["grokking"])}
    assert cells == {(0, 2), (1, 2)}
    assert len(drawn["grokking"]) == 2 * 9
    assert len(drawn["high test loss"]) == 2 * 2 * 9


def test_nine_seeds_make_three_by_three_dots():
    drawn = dots(drawn_map(measured(grid(by_decay))), "x")["grokking"]
    cell = drawn[(np.round(drawn) == [0, 0]).all(1)]
    assert len(np.unique(cell[:, 0].round(9))) == len(np.unique(cell[:, 1].round(9))) == 3
    assert len(np.unique(cell.round(9), axis=0)) == 9


def test_the_first_axes_make_the_panels():
    layout = drawn_map(measured(grid(by_decay)))["layout"]
    assert [note["text"] for note in layout["annotations"]] == [
        "weight decay 0.1",
        "weight decay 1",
    ]
    assert layout["xaxis"]["ticktext"] == ["16", "32"]
    assert layout["yaxis"]["ticktext"] == ["750", "1000", "1250"]


def test_the_reader_may_choose_the_axes():
    found = measured(grid(by_decay), across=DATA, up=DECAY)
    assert found.axes == (WIDTH, DATA, DECAY)


def test_shares_are_over_all_values_of_the_other_axes():
    frame = measured(grid(by_decay)).to_frame()
    row = frame[(frame["axis"] == DECAY) & (frame["value"] == "0.1")].set_index("category")
    assert row.loc["grokking", ["count", "runs", "share"]].tolist() == [54, 54, 1]
    own = frame[(frame["axis"] == DATA) & (frame["category"] == "grokking")]
    assert own["share"].tolist() == [0.5, 0.5, 0.5]


@given(st.lists(st.sampled_from(["grokking", "drop together", "other"]), min_size=12, max_size=12))
def test_every_axis_counts_every_run_once(drawn):
    outcomes = iter(drawn)
    frame = measured(grid(lambda *_: next(outcomes), seeds=1)).to_frame()
    assert [sum(own["count"].tolist()) for _, own in frame.groupby("axis")] == [12] * 4


def test_categories_stand_in_the_order_of_the_rule():
    table = grid(lambda decay, width, data, seed: ("drop together", "grokking")[seed % 2])
    assert measured(table).categories == ("grokking", "drop together")


def test_the_summary_tells_how_many_settings_agree():
    table = grid(
        lambda decay, width, data, seed: "grokking" if decay < 1 or seed else "drop together"
    )
    summary = measured(table).summary()
    assert (summary["unanimous_settings"], summary["runs_drop together"]) == (0.5, 6)


@pytest.mark.parametrize("axes", [(), (DECAY,), (DECAY, WIDTH)])
def test_fewer_axes_are_drawn_too(axes):
    table = grid(by_decay)
    found = measured(table, axes)
    assert sum(len(trace["x"]) for trace in drawn_map(found)["data"]) == len(table)
    assert isinstance(found.figures()["shares"], Figure)


def test_runs_without_an_outcome_are_not_drawn_and_told():
    table = grid(by_decay)
    table.loc[0, LOSSES] = None
    found = measured(table)
    assert (len(found.runs), found.summary()["unmeasured"]) == (len(table) - 1, 1)


def test_a_failed_run_has_diverged():
    table = grid(by_decay)
    table.loc[0, "failure"] = "diverged at step 3"
    assert measured(table).summary()["runs_diverged"] == 1


def test_an_axis_that_does_not_vary_is_refused():
    with pytest.raises(ValueError, match=r"across = 'training\.lr': the axes are training"):
        measured(grid(by_decay), across="training.lr")


def test_one_axis_both_ways_is_refused():
    with pytest.raises(ValueError, match=r"across and up are both 'training\.data'"):
        measured(grid(by_decay), across=DATA, up=DATA)


def test_unlike_settings_have_their_range_and_no_interval():
    # At each size of data half the settings always grok, half never: no coin has such a share.
    frame = measured(grid(by_decay)).to_frame()
    own = frame.loc[(frame["axis"] == DATA) & (frame["category"] == "grokking")]
    assert own["settings"].tolist() == [4, 4, 4]
    assert (own["lowest"].tolist(), own["highest"].tolist()) == ([0, 0, 0], [1, 1, 1])
    assert np.isnan([own["low"].tolist(), own["high"].tolist()]).all()


def test_runs_of_one_setting_have_wilsons_interval():
    table = grid(lambda decay, width, data, seed: "grokking" if seed < 6 else "high test loss")
    frame = measured(of_one_cell(table), (DECAY,)).to_frame()
    row = frame[(frame["axis"] == DECAY) & (frame["category"] == "grokking")].iloc[0]
    assert (row["low"], row["high"]) == wilson_interval(6, 9, 0.95)


def title_of(table, axes):
    return drawn(measured(table, axes).figures()["shares"])["layout"]["title"]["text"]


def test_the_figure_says_what_its_bars_are():
    table = grid(by_decay)
    assert "with 95% intervals (Wilson)" in title_of(of_one_cell(table), (DECAY,))
    assert "bars from the lowest to the highest share of a setting" in title_of(table, AXES)


def test_the_axis_that_decides_is_said_beside_chance():
    (finding,) = measured(grid(by_decay)).findings()
    assert (finding.strength, finding.figure) == ("found", "shares")
    assert finding.text.startswith(
        "By losses alone, weight decay 0.1: 54 of 54 runs grok, 1: 0 of 54 (by chance seldom over "
    )


def test_an_axis_is_null_where_runs_that_change_places_differ_as_much():
    table = grid(lambda *at: "grokking" if at[-1] % 2 else "high train loss")
    assert [finding.strength for finding in measured(table).findings()] == ["null"]


def test_runs_change_places_only_where_all_other_axes_are_alike():
    # Width decides all; data is bound to it, and has no effect within a width.
    rows = [
        {WIDTH: width, DATA: data, LOSSES: "grokking" if width == 16 else "high test loss"}
        for width, data in ((16, 750), (32, 1000)) for _ in range(9)
    ]  # fmt: skip
    assert [f.strength for f in measured(table_of(rows), (WIDTH, DATA)).findings()] == ["null"]


def test_of_one_setting_the_map_shows_how_often_runs_end_so():
    table = of_one_cell(grid(by_decay)).query(f"`experiment.{DECAY}` == 0.1")
    (finding,) = measured(table, (WIDTH,)).findings()
    assert (finding.strength, finding.figure) == ("found", "map")
    assert finding.text.startswith("By losses alone, 9 of 9 runs grok (95 % interval")
