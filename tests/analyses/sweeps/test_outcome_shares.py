import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses import OutcomeShares
from analyses.statistics import wilson_interval
from tests.sweeps import CATEGORY, DECAY, LR, counted, drawn, table_of

PLANTED = counted(lr_0_1=["groks", "groks", "fails"], lr_0_2=["memorises", "groks"])


def measured(table, axes=(LR,), **options):
    return OutcomeShares.measure(table, {}, axes=axes, **options)


def test_planted_outcomes_are_counted_by_setting():
    found = measured(PLANTED)
    assert found.settings == ((0.1,), (0.2,))
    assert found.categories == ("groks", "memorises", "fails")
    assert found.counts.tolist() == [[2, 0, 1], [1, 1, 0]]


def test_shares_are_of_a_settings_runs():
    np.testing.assert_allclose(measured(PLANTED).shares, [[2 / 3, 0, 1 / 3], [1 / 2, 1 / 2, 0]])


def test_intervals_are_wilsons():
    low, high = measured(PLANTED).intervals
    assert (low[0, 0], high[0, 0]) == wilson_interval(2, 3, 0.95)


def test_two_axes_make_a_setting_a_combination():
    rows = [{LR: lr, DECAY: decay, CATEGORY: "fails"} for lr in (1, 2) for decay in (3, 4, 5)]
    found = measured(table_of(rows), axes=(LR, DECAY))
    assert found.settings == ((1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5))
    assert found.runs.tolist() == [1] * 6


def test_a_run_that_failed_counts_as_diverged_whatever_else_it_was():
    table = counted(lr_0_1=["fails", "groks"])
    table.loc[0, "failure"] = "diverged at step 3"
    found = measured(table)
    assert dict(zip(found.categories, found.counts[0], strict=True)) == {"groks": 1, "diverged": 1}


def test_a_run_without_an_outcome_counts_nowhere_and_is_told():
    table = counted(lr_0_1=["groks", "groks", "fails"])
    table.loc[2, CATEGORY] = math.nan
    found = measured(table)
    assert found.counts.tolist() == [[2]]
    assert found.summary()["unmeasured"] == 1


def test_another_column_may_tell_the_outcome():
    table = PLANTED.rename(columns={CATEGORY: "ClockPizza.verdict"})
    assert measured(table, outcome="ClockPizza.verdict").counts.sum() == 5


def test_whole_numbers_are_categories():
    table = table_of([{LR: 0.1, "A.count": count} for count in (3, 3, 5)])
    found = measured(table, outcome="A.count")
    assert dict(zip(found.categories, found.counts[0], strict=True)) == {"3": 2, "5": 1}


OUTCOMES = st.lists(st.sampled_from(["groks", "fails", "other", "memorises"]), min_size=1)


@given(st.lists(OUTCOMES, min_size=1, max_size=4))
def test_shares_of_a_setting_sum_to_1(drawn):
    rows = [{LR: lr, CATEGORY: outcome} for lr, found in enumerate(drawn) for outcome in found]
    found = measured(table_of(rows))
    np.testing.assert_allclose(found.shares.sum(axis=1), 1)


@given(st.permutations(range(len(PLANTED))))
def test_the_order_of_the_runs_changes_nothing(order):
    found = measured(PLANTED.iloc[order].reset_index(drop=True))
    assert found.counts.tolist() == measured(PLANTED).counts.tolist()


def test_more_confidence_is_a_wider_interval():
    narrow, wide = (measured(PLANTED, confidence=level).intervals for level in (0.5, 0.99))
    assert (wide[1] - wide[0] > narrow[1] - narrow[0]).all()


def test_the_table_has_a_row_a_setting_and_category():
    frame = measured(PLANTED).to_frame()
    row = frame[(frame[LR] == 0.1) & (frame["category"] == "fails")].iloc[0]
    assert (row["count"], row["runs"], row["share"]) == (1, 3, pytest.approx(1 / 3))
    assert len(frame) == 2 * 3


def test_the_summary_tells_the_share_of_all_runs():
    summary = measured(PLANTED).summary()
    assert (summary["runs"], summary["share_groks"]) == (5, pytest.approx(3 / 5))


def test_bars_carry_their_counts():
    bars = drawn(measured(PLANTED).figures()["outcomes"])["data"]
    assert {trace["name"]: trace["text"] for trace in bars} == {
        "groks": ["2", "1"], "memorises": ["", "1"], "fails": ["1", ""],
    }  # fmt: skip


def test_bars_of_two_axes_have_a_panel_a_row():
    rows = [{LR: lr, DECAY: decay, CATEGORY: "fails"} for lr in (1, 2) for decay in (3, 4, 5)]
    figure = drawn(measured(table_of(rows), axes=(LR, DECAY)).figures()["outcomes"])
    headings = [note["text"] for note in figure["layout"]["annotations"]]
    assert headings == ["lr 1", "lr 2"]
    assert [trace["x"] for trace in figure["data"]] == [["3", "4", "5"]] * 2


def test_a_sweep_of_seeds_alone_has_one_bar():
    figure = drawn(measured(PLANTED, axes=()).figures()["outcomes"])
    assert [trace["y"] for trace in figure["data"]] == [[0.6], [0.2], [0.2]]


def test_intervals_of_too_many_groups_say_so():
    rows = [{LR: lr, DECAY: decay, CATEGORY: "fails"} for lr in range(9) for decay in (3, 4)]
    figure = drawn(measured(table_of(rows), axes=(LR, DECAY)).figures()["intervals"])
    assert "9 groups are too many" in figure["layout"]["annotations"][0]["text"]


def test_a_missing_column_is_refused_with_those_of_text():
    with pytest.raises(ValueError, match=r"no 'nonsense'; of text it has .*GrokkingPhases"):
        measured(PLANTED, outcome="nonsense")


def test_numbers_are_refused():
    table = table_of([{LR: 0.1, "A.loss": 0.25}])
    with pytest.raises(ValueError, match=r"A\.loss holds numbers; SeedSpread shows those"):
        measured(table, outcome="A.loss")


def test_a_sweep_without_outcomes_is_refused():
    table = table_of([{LR: 0.1, CATEGORY: None}])
    with pytest.raises(ValueError, match=r"no run has a GrokkingPhases\.category; run `interp"):
        measured(table)


def test_a_level_in_percent_is_refused():
    with pytest.raises(ValueError, match="confidence = 95: it must lie between 0 and 1"):
        measured(PLANTED, confidence=95)


def test_of_one_setting_the_most_frequent_outcome_is_said_with_its_interval():
    (finding,) = measured(counted(lr_0_1=["groks"] * 7 + ["fails"])).findings()
    assert (finding.strength, finding.figure) == ("found", "intervals")
    assert finding.text == "7 of 8 runs grok (95 % interval 53 to 97.8 %), 1 fails"


def test_other_categories_are_said_as_they_are():
    table = table_of([{LR: 0.1, "A.kind": "no_clock"}] * 8)
    text = measured(table, outcome="A.kind").findings()[0].text
    assert text.startswith("8 of 8 runs end as no clock (95 % interval 68 to 100 %)")


def test_few_seeds_do_not_tell_what_most_do():
    (finding,) = measured(counted(lr_0_1=["groks", "groks", "fails"])).findings()
    assert finding.strength == "not found"
    assert finding.text.endswith("1 fails: more seeds would tell whether most do")


def test_settings_that_differ_are_said_beside_chance():
    found = measured(counted(lr_0_1=["groks"] * 8, lr_0_2=["groks"] + ["fails"] * 7))
    (finding,) = found.findings()
    assert finding.strength == "found"
    assert finding.text.startswith("Lr 0.1: 8 of 8 grok, 68 to 100 %; lr 0.2: 1 of 8 groks, ")
    assert "95 % intervals; by chance seldom over" in finding.text


def test_settings_that_differ_as_much_by_chance_are_null():
    found = measured(counted(lr_0_1=["groks", "groks"], lr_0_2=["fails", "groks"]))
    assert [finding.strength for finding in found.findings()] == ["null"]


def test_settings_that_end_alike_differ_in_nothing():
    (finding,) = measured(counted(lr_0_1=["groks"] * 2, lr_0_2=["groks"] * 2)).findings()
    assert (finding.text, finding.strength) == ("All 2 settings end alike: groks 4", "not found")


def test_outcomes_by_losses_say_so():
    losses = "GrokkingPhases.loss_category"
    table = counted(lr_0_1=["high train loss"] * 8).rename(columns={CATEGORY: losses})
    found = measured(table, outcome=losses)
    assert found.findings()[0].text == (
        "By losses alone, 8 of 8 runs keep train loss above the rule's level "
        "(95 % interval 68 to 100 %)"
    )
    title = drawn(found.figures()["outcomes"])["layout"]["title"]["text"]
    assert title == "Outcomes of 8 runs, by losses alone: high train loss 8"
