"""What projected trees say in a sentence: nothing without the trees that know nothing."""

import dataclasses

import numpy as np
import pytest

from analyses.trees.parseval import left_branching, right_branching
from analyses.trees.projection import TreeProjection
from tests.analyses.trees.projected import drawn_data

GOLD = [(0, 6), (0, 2), (2, 6), (2, 4), (4, 6)]  # of six words, in pairs
# Random trees have 1 + 1/2 + 1/4 + 1/3 + 1/2 of these five: 52 %.
SENTENCES = 40


def planted(trees, *, cky=2, centred=3, worth=2.0, undecided=0.0) -> TreeProjection:
    """Forty sentences of six words; trees in turn, and gold brackets of the other methods."""
    spans = [trees[number % len(trees)] for number in range(SENTENCES)]
    matches = np.full((3, 1, SENTENCES), 0)
    matches[0, 0] = [len({*tree} & {*GOLD}) for tree in spans]
    matches[1], matches[2] = cky, centred
    wobble = 0.1 * np.arange(SENTENCES) % 0.3
    return TreeProjection(
        vocabulary=("word",),
        words=np.zeros(6 * SENTENCES, dtype=np.int64),
        lengths=np.full(SENTENCES, 6),
        gold=np.array(GOLD * SENTENCES),
        gold_counts=np.full(SENTENCES, 5),
        thresholds=(0,),
        spans=np.array([[span for tree in spans for span in tree]]),
        values=np.full((3, 1, SENTENCES), worth) + wobble,
        matches=matches,
        undecided=np.full((3, 1, SENTENCES), undecided),
        chance=np.ones((1, SENTENCES)),
        method="greedy",
        similarity="cosine",
        against="mean_split",
        left_out=0,
    )


ALMOST = [(0, 6), (0, 2), (2, 6), (2, 5), (2, 4)]
MODEL = [GOLD, ALMOST]


def test_gold_brackets_are_found_above_trees_that_know_nothing():
    (finding,) = planted(MODEL, cky=3, centred=4).findings()
    assert finding.strength == "found"
    assert finding.text == (
        "Greedy trees share 90 % of brackets with gold (random trees 52 %, right branching 60 %),"
        " CKY 60 % and centred CKY 80 %"
    )
    assert finding.figure in planted(MODEL).figures()


def test_gold_brackets_are_not_found_where_no_exact_tree_has_more_than_random_ones():
    (finding,) = planted(MODEL, cky=1, centred=2).findings()
    assert finding.strength == "not found"
    assert finding.text.endswith("but CKY 20 % and centred CKY 40 %, below random")


@pytest.mark.parametrize("trees", [[right_branching(6)], [left_branching(6)]])
def test_a_shape_that_knows_nothing_finds_nothing(trees):
    assert planted(trees, cky=4, centred=4).findings()[0].strength == "null"


def test_gold_brackets_are_null_where_the_untrained_model_has_as_many():
    untrained = planted(MODEL, cky=3, centred=4)
    gold, worth = planted(MODEL, cky=3, centred=4).findings(untrained)
    assert (gold.strength, worth.strength) == ("null", "null")
    assert "untrained 90 %" in gold.text


def test_what_trees_are_worth_is_said_beside_the_untrained_model_alone():
    untrained = planted([right_branching(6)], worth=1.5)
    _, worth = planted(MODEL, worth=2.5).findings(untrained)
    assert worth.strength == "found"
    assert worth.text == (
        "Trees are worth 1.60 more than chance splits (summed similarity), the untrained model's "
        "0.60"
    )
    assert len(planted(MODEL, worth=2.5).findings()) == 1


def test_an_untrained_model_measured_by_another_rule_is_no_control():
    other = dataclasses.replace(planted(MODEL), against="random_tree")
    assert "untrained" not in "".join(f.text for f in planted(MODEL).findings(other))


def test_one_sentence_has_no_error_to_go_by():
    one = dataclasses.replace(
        planted(MODEL, cky=4),
        **{name: getattr(planted(MODEL, cky=4), name)[..., :1] for name in ("chance", "lengths")},
        words=np.zeros(6, dtype=np.int64), gold=np.array(GOLD), gold_counts=np.array([5]),
        spans=np.array([GOLD]), values=np.full((3, 1, 1), 2.0), matches=np.full((3, 1, 1), 5),
        undecided=np.zeros((3, 1, 1)),
    )  # fmt: skip
    assert one.findings()[0].strength == "null"


def test_a_model_that_decides_nothing_has_no_share():
    (finding,) = planted(MODEL, undecided=1.0).findings()
    assert (finding.strength, "%" in finding.text) == ("not found", False)
    for drawing in planted(MODEL, undecided=1.0).figures().values():
        assert "nan" not in drawn_data(drawing)["layout"]["title"]["text"]
