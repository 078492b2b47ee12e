import numpy as np
import pytest

from analyses.sweep_table import axis_name, columns_of, panels, setting_name, settings_of
from tests.sweeps import DECAY, LR, table_of


def grid(*rows):
    return table_of([{LR: lr, DECAY: decay} for lr, decay in rows])


def test_numbers_stand_in_ascending_order():
    settings, setting = settings_of(grid((1e-2, 1.0), (1e-3, 1.0), (1e-2, 1.0)), [LR])
    assert settings == ((1e-3,), (1e-2,))
    assert setting.tolist() == [1, 0, 1]


def test_text_stands_in_the_order_of_the_table():
    table = table_of([{"training.optimizer": name} for name in ("sgd", "adamw", "sgd")])
    assert settings_of(table, ["training.optimizer"])[0] == (("sgd",), ("adamw",))


def test_lists_are_text():
    table = table_of([{"training.betas": [0.9, 0.98]}, {"training.betas": [0.9, 0.999]}])
    assert settings_of(table, ["training.betas"])[0] == (("0.9, 0.98",), ("0.9, 0.999",))


def test_a_field_that_is_left_out_is_none():
    table = table_of([{"training.grad_clip": 1.0}, {}])
    assert settings_of(table, ["training.grad_clip"])[0] == ((1.0,), ("none",))


def test_without_axes_all_runs_are_of_one_setting():
    settings, setting = settings_of(grid((1e-2, 1.0), (1e-3, 1.0)), [])
    assert settings == ((),)
    np.testing.assert_array_equal(setting, [0, 0])


def test_an_axis_without_a_column_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no column experiment\.task\.p; it has"):
        settings_of(grid((1e-2, 1.0)), ["task.p"])


def test_a_setting_is_told_in_words():
    assert setting_name([LR, DECAY], (1e-5, 1.0)) == "lr 1e-05, weight decay 1"


def test_axes_that_end_alike_are_told_in_full():
    axes = ["training.evaluate.every", "training.checkpoints.every"]
    assert axis_name(axes[0], axes) == "training evaluate every"


def test_a_grid_has_a_panel_a_row():
    settings, _ = settings_of(grid((1, 3), (1, 4), (2, 3), (2, 4)), [LR, DECAY])
    title, laid = panels([LR, DECAY], settings, DECAY)
    assert title == "weight decay"
    assert laid == {"lr 1": {"3": 0, "4": 1}, "lr 2": {"3": 2, "4": 3}}


def test_panels_may_lie_along_the_other_axis():
    settings, _ = settings_of(grid((1, 3), (1, 4), (2, 3), (2, 4)), [LR, DECAY])
    title, laid = panels([LR, DECAY], settings, LR)
    assert title == "lr"
    assert laid == {"weight decay 3": {"1": 0, "2": 2}, "weight decay 4": {"1": 1, "2": 3}}


def test_lists_side_by_side_have_one_panel():
    settings, _ = settings_of(grid((1, 3), (2, 4)), [LR, DECAY])
    title, laid = panels([LR, DECAY], settings, DECAY)
    assert title == "lr, weight decay"
    assert laid == {"": {"1, 3": 0, "2, 4": 1}}


def test_a_row_of_panels_is_a_row_of_the_grid():
    settings, _ = settings_of(grid((1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)), [LR, DECAY])
    assert columns_of([LR, DECAY], settings) == 3


def test_a_grid_with_holes_has_no_rows():
    settings, _ = settings_of(grid((1, 3), (1, 4), (2, 3)), [LR, DECAY])
    assert columns_of([LR, DECAY], settings) == 0
