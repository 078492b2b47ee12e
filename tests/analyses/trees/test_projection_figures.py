"""How projected trees are drawn, beside the gold ones and by threshold."""

import pytest

from analyses.trees.parseval import right_branching
from analyses.trees.projection import TreeProjection
from tests.analyses.trees.projected import GOLD, drawn_data, holding, measured


@pytest.fixture(scope="module")
def found() -> TreeProjection:
    return measured(threshold="all")


def test_thresholds_are_compared_only_where_there_are_several(found):
    assert list(measured().figures()) == ["trees", "f1"]
    assert list(found.figures()) == ["trees", "f1", "f1_by_threshold", "tscore_by_threshold"]


def test_curves_are_over_thresholds(found):
    traces = drawn_data(found.figures()["tscore_by_threshold"])["data"]
    assert traces[0]["x"] == ["layer 0", "layer 1", "layer 2"]
    assert traces[0]["y"] == pytest.approx(found.scores.mean(1).tolist())


def test_bars_are_f1_of_methods_then_of_baselines(found):
    bar = drawn_data(found.figures()["f1"])["data"][0]
    assert bar["x"][:4] == ["greedy", "cky", "cky centred", "right branching"]
    assert bar["y"][0] == pytest.approx(found.f1())


def drawn(result: TreeProjection) -> tuple[set[str], set[str], list[str]]:
    """Words below brackets drawn as shared, and as of one tree alone; and all words."""
    _, shared, _, single, words, _ = drawn_data(result.figures()["trees"])["data"]
    return set(shared["text"]), set(single["text"]), words["text"]


def test_brackets_that_the_trees_do_not_share_are_marked(found):
    shared, single, words = drawn(holding(found, [right_branching(5), [(0, 2)], []]))
    assert shared == {"the newt does see it", "does see it", "see it"}
    assert single == {"the newt", "newt does see it"}
    assert words == ["the", "newt", "does", "see", "it"]


def test_a_tree_that_is_gold_has_no_marks(found):
    assert drawn(holding(found, GOLD))[1] == set()


def test_sentences_too_long_to_be_read_are_not_drawn(found, monkeypatch):
    monkeypatch.setattr("analyses.trees.projection.MAX_DRAWN_WORDS", 4)
    assert drawn(holding(found, GOLD))[2] == ["stop"]  # none fits: the shortest


def test_titles_tell_the_scores(found):
    title = drawn_data(holding(found, GOLD).figures()["trees"])["layout"]["title"]["text"]
    shares = "greedy 100 % gold brackets (random 67 %, right branching 80 %, CKY 100 %"
    assert shares in title
    assert "score 0.00" in title


def test_headings_tell_gold_brackets_beside_those_of_random_trees(found):
    *_, headings = drawn_data(holding(found, [right_branching(5), [(0, 2)], []]).plot())["data"]
    assert headings["text"][0].startswith("<b>3 of 4 gold (random 2.3); score")
