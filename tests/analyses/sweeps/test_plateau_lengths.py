import itertools
import math

import numpy as np
import pytest

from analyses import PlateauLengths
from analyses.statistics import spearman
from tests.sweeps import drawn, table_of

MAPS = "training.lr"  # any field
SCORE = "WeightsComponent.identity_quarter"


def planted(rows):
    """Runs of (setting, length or None, budget, component, initial)."""
    return table_of(
        [
            {
                MAPS: setting,
                "LearningPlateau.length": math.nan if length is None else float(length),
                "LearningPlateau.budget": float(budget),
                SCORE: value,
                f"{SCORE}_initial": initial,
            }
            for setting, length, budget, value, initial in rows
        ]
    )


# Easy runs escape early and gain; hard ones lose, and two never escape.
TABLE = planted(
    [(1, 100, 900, 0.9, 0.5), (1, 200, 900, 0.8, 0.5), (1, 300, 900, 0.7, 0.5),
     (9, 700, 900, 0.4, 0.5), (9, None, 900, 0.3, 0.5), (9, None, 900, 0.2, 0.5)]
)  # fmt: skip


def measured(table=TABLE, **options):
    return PlateauLengths.measure(table, {}, axes=(MAPS,), **options)


def test_censored_runs_are_known_to_be_longer_than_they_lasted():
    found = measured()
    assert found.length.tolist() == [100, 200, 300, 700, 900, 900]
    assert found.is_censored.tolist() == [False] * 4 + [True] * 2


def test_a_median_may_itself_be_censored():
    found = measured()
    assert found.median(found.setting == 0) == "200"
    assert found.median(found.setting == 1) == "> 900"
    assert found.median(np.zeros(6, dtype=bool)) == "none"
    assert found.median(np.ones(6, dtype=bool)) == "500"  # between 300 and 700


def test_a_median_with_one_censored_neighbour_is_bounded_by_the_mean_of_what_is_known():
    found = measured(planted([(1, 100, 900, 1.0, 0.5), (1, None, 800, 1.0, 0.5)]))
    assert found.median(np.ones(2, dtype=bool)) == "> 450"


def test_lengths_that_grow_as_the_component_falls_have_correlation_minus_one():
    table = planted([(1, 100 * k, 900, 1 - 0.1 * k, 0.5) for k in range(1, 6)])
    assert measured(table).correlation == pytest.approx(-1)


def test_censored_runs_tie_at_the_top():
    # Ranks of lengths 1 2 3 4 5.5 5.5, of growth 6 5 4 3 2 1.
    expected = np.corrcoef([1, 2, 3, 4, 5.5, 5.5], [6, 5, 4, 3, 2, 1])[0, 1]
    assert measured().correlation == pytest.approx(expected)


@pytest.mark.parametrize(
    "rows", [[(1, 100, 900, 0.9, 0.5)] * 2, [(1, 100, 900, 0.9, 0.5)] * 4], ids=["few", "flat"]
)
def test_a_correlation_without_spread_is_undefined(rows):
    assert math.isnan(measured(planted(rows)).correlation)


def test_the_summary_parts_runs_by_whether_the_component_fell():
    summary = measured().summary()
    assert (summary["runs"], summary["censored"], summary["runs_below_initial"]) == (6, 2, 3)
    assert summary["median_length_below_initial"] == "> 900"
    assert summary["median_length_at_or_above_initial"] == "200"


def test_without_an_initial_value_nothing_fell():
    found = measured(TABLE.drop(columns=f"{SCORE}_initial"))
    assert np.isnan(found.growth).all()
    assert found.summary()["median_length_below_initial"] == "none"


def test_failed_runs_are_left_out():
    table = TABLE.copy()
    table.loc[0, "failure"] = "diverged"
    assert len(measured(table).runs) == 5


def test_censored_runs_have_a_mark_of_their_own():
    figures = measured().figures()
    for name in ("difficulty", "component"):
        traces = {each["name"]: each for each in drawn(figures[name])["data"]}
        assert list(traces["longer than"]["y"]) == [900, 900]
        assert traces["longer than"]["marker"]["symbol"] != traces["escaped"]["marker"]["symbol"]


def test_the_table_has_a_row_a_run():
    frame = measured().to_frame()
    assert frame["setting"].tolist() == ["lr 1"] * 3 + ["lr 9"] * 3


def test_runs_that_were_not_measured_are_refused():
    table = TABLE.assign(**{"LearningPlateau.budget": math.nan})
    with pytest.raises(ValueError, match="needs a finished run that LearningPlateau"):
        measured(table)


def test_an_unknown_component_is_refused():
    with pytest.raises(ValueError, match=r"the table has no 'Other\.thing'"):
        measured(component="Other.thing")


def test_one_axis_is_named_and_its_values_stand_at_the_ticks():
    layout = drawn(measured().figures()["difficulty"])["layout"]
    assert layout["xaxis"]["ticktext"] == ["1", "9"]
    assert "lr" in layout["xaxis"]["title"]["text"]


def test_of_many_settings_the_heading_tells_the_first_and_the_last():
    table = planted([(each, 100 * each, 900, 0.9, 0.5) for each in (1, 2, 3, 4, 5)])
    title = drawn(measured(table).figures()["difficulty"])["layout"]["title"]["text"]
    assert "100 steps (lr 1) to 500 (lr 5)" in title.replace("<br>", " ")


def test_the_correlation_of_few_runs_has_an_exact_p():
    # Lengths are in the opposite order of growths, but for a tie of the two censored.
    lengths, growth = [1.0, 2, 3, 4, 5, 5], [0.4, 0.3, 0.2, -0.1, -0.2, -0.3]
    orders = [
        abs(spearman(np.array(lengths), np.array(order)))
        for order in itertools.permutations(growth)
    ]
    found = measured()
    reached = np.mean(np.array(orders) >= abs(found.correlation) - 1e-9)
    assert found.summary()["rank_correlation_p"] == pytest.approx(reached)


MANY = planted(
    [(1, 100 + 10 * k, 900, 0.9 - 0.01 * k, 0.5) for k in range(6)]
    + [(9, 700 + 10 * k, 900, 0.4 - 0.01 * k, 0.5) for k in range(5)]
    + [(9, None, 900, 0.1, 0.5)]
)


def test_plateaus_are_said_by_setting_and_component_with_their_p():
    by_setting, by_component = measured(MANY).findings()
    assert (by_setting.strength, by_component.strength) == ("found", "found")
    assert by_setting.text.startswith(
        "The median plateau lasts from 125 steps (lr 1) to 725 steps (lr 9); by chance p = 0.0"
    )
    assert by_component.text.startswith(
        "Where identity quarter ends below its start, the median plateau is 725 steps (6 runs), "
        "elsewhere 125 (6 runs); by chance p < 0.001"
    )


def test_plateaus_that_differ_as_much_by_chance_are_null():
    rows = [(k % 2, 100 + 37 * k % 90, 900, 0.4 + 0.1 * (k * 5 % 4), 0.5) for k in range(6)]
    assert {finding.strength for finding in measured(planted(rows)).findings()} == {"null"}


def test_where_no_component_fell_their_ranks_are_said():
    rows = [(1, 100 * k, 900, 0.6 + 0.1 * k, 0.5) for k in range(1, 7)]
    (finding,) = measured(planted(rows)).findings()
    assert finding.strength == "found"
    assert "have rank correlation 1.00 over 6 runs" in finding.text
