"""What results share."""

import pytest

from analyses import plots
from analyses.result import Drawings


def test_a_figure_is_drawn_when_it_is_asked_for():
    drawn = []

    def draw(slug):
        drawn.append(slug)
        return plots.empty(slug, "nothing")

    figures = Drawings(one=lambda: draw("one"), two=lambda: draw("two"))
    assert (list(figures), len(figures), "two" in figures, "three" in figures) == (
        ["one", "two"], 2, True, False
    )  # fmt: skip
    assert drawn == []
    assert isinstance(figures["two"], plots.Figure)
    assert drawn == ["two"]


def test_an_unknown_figure_is_a_key_error():
    with pytest.raises(KeyError):
        Drawings()["one"]
