"""What a report says in words and numbers, and how its cards are laid out."""

import json

import pandas as pd
import pytest
from markupsafe import Markup

from analyses.plots.panels import multiples
from analyses.plots.style import line
from analyses.result import readable
from interp.pages.page import _value, curves, drawn_together, unit
from interp.pages.sections import Card, _trace, arranged, caption, panel_captions, spread
from interp.pages.sections import card as drawn_as
from interp.pages.tables import shown
from interp.runs.results import saved


def card(is_wide):
    return Card("slug", "figure", "title", "", Markup("{}"), 100, is_wide)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "–"),  # noqa: RUF001
        (None, "–"),  # noqa: RUF001
        (33413, "33,413"),
        (0.98765, "0.9877"),
        (1.5e-7, "1.5\u00a0×\u00a010⁻⁷"),  # noqa: RUF001
        (-0.5, "−0.5"),  # noqa: RUF001
        (True, "yes"),
        ([0.9, 0.98], "0.9, 0.98"),
        ({"every": 25}, "every 25"),
        ("groks", "groks"),
    ],
)
def test_values_are_shown_for_people(value, text):
    assert shown(value) == text


def test_a_class_name_is_read_as_words():
    assert readable("FourierSpectrumOfMLP") == "Fourier spectrum of MLP"


def test_a_slider_keeps_first_and_last_of_many_steps():
    chosen = spread(tuple(range(0, 5000, 10)))
    assert (chosen[0], chosen[-1], len(chosen)) == (0, 4990, 24)


def test_a_card_without_a_neighbour_takes_the_row():
    cards = arranged([card(False), card(False), card(False), card(True)])
    assert [each.is_wide for each in cards] == [False, False, True, True]


@pytest.mark.parametrize(("names", "is_wide"), [(["one"], False), (["one", "two"], True)])
def test_a_drawing_of_several_panels_takes_the_row(names, is_wide):
    panels = {name: [line([0, 1], [2, 3], "curve", {})] for name in names}
    drawing = multiples(panels, title="Title", axes=("x", "y"))
    assert drawn_as(drawing, "slug").is_wide == is_wide


@pytest.mark.parametrize(
    ("value", "text"), [([1.0, 0.0], "[1, 0]"), ((0.9, 0.98), "[0.9, 0.98]"), (0.1, "0.1")]
)
def test_a_list_that_varies_keeps_its_brackets(value, text):
    assert _value(value) == text


def test_numbers_that_never_change_are_not_drawn_over_training():
    rows = [{"step": step, "moves": step / 2, "stays": 7} for step in range(3)]
    (drawn,) = _trace("Title", rows, "slug")
    assert [trace["name"] for trace in json.loads(drawn.data)["data"]] == ["moves"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t_train", "train crossing (step)"),
        ("test_accuracy_at_t_train", "test accuracy at train crossing"),
        ("lag_half", "lag half (steps)"),
        ("logit_fve_key", "logit variance explained by key frequencies"),
        ("readout_fve", "readout variance explained"),
        ("key_count_vote_rule", "key count, vote rule"),
        ("top_5_share_W_L", "top 5 share of W_L"),
        ("excluded_loss_train", "excluded loss, train"),
        ("a_highest_control", "highest control of a"),
        ("depth_r2", "depth R²"),
        ("l1_over_l2_at_end", "L1 over L2 at end"),
        ("train_loss_bump", "train loss bump"),
        ("test_accuracy", "test accuracy"),
        ("f1_right_branching", "F1 right branching"),
    ],
)
def test_the_name_of_a_scalar_is_read_as_words(name, text):
    assert caption(name) == text


def test_no_two_scalars_of_a_result_have_one_caption(analysed):
    names = [list(each.load().summary()) for each in saved(analysed)]
    assert [each for each in names if len(set(map(caption, each))) < len(each)] == []


def test_a_caption_takes_as_many_lines_as_a_panel_needs():
    wanted = {"logit_fve_key": "logit variance explained<br>by key frequencies"}
    assert panel_captions(["logit_fve_key"]) == wanted


def test_names_that_would_read_alike_stay_as_they_are():
    assert panel_captions(["a_b", "a b"]) == {"a_b": "a_b", "a b": "a b"}


def test_splits_of_a_metric_are_drawn_together():
    found = drawn_together(["step", "train.loss", "test.loss", "test.line_accuracy", "norm"])
    assert found == {
        "loss": {"train": "train.loss", "test": "test.loss"},
        "line accuracy": {"test": "test.line_accuracy"},
        "norm": {"norm": "norm"},
    }


def test_kinds_of_a_metric_are_drawn_together_and_apart_from_the_whole():
    metrics = ["test.accuracy_SRC_i", "test.accuracy", "test.accuracy_ORC", "accuracy_odd"]
    assert drawn_together(metrics) == {
        "accuracy by kind": {
            "test SRC_i": "test.accuracy_SRC_i",
            "test ORC": "test.accuracy_ORC",
            "odd": "accuracy_odd",
        },
        "accuracy": {"test": "test.accuracy"},
    }


@pytest.mark.parametrize(
    ("drawing", "title"),
    [
        ("loss", "loss (nats)"),
        ("line accuracy", "line accuracy (fraction right)"),
        ("accuracy by kind", "accuracy (fraction right)"),
        ("norm", "norm"),
    ],
)
def test_an_axis_tells_the_unit_of_a_metric_that_has_one(drawing, title):
    assert unit(drawing, ["test.loss"]) == title


def test_the_loss_of_real_answers_is_no_entropy():
    assert unit("loss", ["step", "test.loss", "test.error"]) == "loss (squared error)"


def test_a_lone_curve_is_named_in_the_heading():
    metrics = pd.DataFrame({"step": [0, 1], "test.line_accuracy": [0.0, 1.0], "norm": [1.0, 2.0]})
    assert [each.title for each in curves(metrics, {})] == [
        "Line accuracy (test) over training",
        "Norm over training",
    ]
