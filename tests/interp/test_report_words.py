"""What a report says in words and numbers, and how its cards are laid out."""

import json

import pytest
from markupsafe import Markup

from interp.report.cards import Card, arranged
from interp.report.sections import _trace, readable, spread
from interp.report.tables import shown


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


def test_numbers_that_never_change_are_not_drawn_over_training():
    rows = [{"step": step, "moves": step / 2, "stays": 7} for step in range(3)]
    (drawn,) = _trace("Title", rows, "slug")
    assert [trace["name"] for trace in json.loads(drawn.data)["data"]] == ["moves"]
