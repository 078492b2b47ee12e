import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analyses.trees.brackets import from_brackets, spans_of, tree_of
from analyses.trees.parseval import (
    balanced,
    baseline_f1,
    bracketing_f1,
    left_branching,
    random_share,
    right_branching,
)
from interp.tasks.language.question_formation import QuestionFormation
from interp.tasks.language.tense_inflection import TenseInflection
from tests.analyses.trees.random_trees import random_tree
from tests.oracles import every_tree, tree_odds

counts = st.integers(1, 30)


def test_shapes_of_five_words():
    assert tree_of(right_branching(5), 0, 5) == (0, (1, (2, (3, 4))))
    assert tree_of(left_branching(5), 0, 5) == ((((0, 1), 2), 3), 4)
    assert tree_of(balanced(5), 0, 5) == ((0, 1), (2, (3, 4)))


@given(counts, st.sampled_from([right_branching, left_branching, balanced]))
def test_shapes_are_binary_trees_over_all_words(count, shape):
    spans = shape(count)
    assert len(spans) == count - 1
    tree_of(spans, 0, count)


@given(counts, st.integers(0, 99))
def test_random_trees_are_binary_trees_over_all_words(count, seed):
    spans = random_tree(count, torch.Generator().manual_seed(seed))
    assert len(spans) == count - 1
    tree_of(spans, 0, count)


@pytest.mark.parametrize("count", range(2, 8))
def test_how_likely_a_bracket_is_agrees_with_all_trees(count):
    trees = every_tree(0, count)
    assert sum(map(tree_odds, trees)) == pytest.approx(1)
    for start in range(count - 1):
        for stop in range(start + 2, count + 1):
            expected = sum(tree_odds(tree) for tree in trees if (start, stop) in tree)
            assert random_share((start, stop), count) == pytest.approx(expected)


def test_random_trees_hold_brackets_as_often_as_is_likely():
    generator, count = torch.Generator().manual_seed(0), 6
    drawn = [random_tree(count, generator) for _ in range(2000)]
    for span in [(0, 2), (1, 3), (2, 6), (1, 5)]:
        share = random_share(span, count)
        error = math.sqrt(share * (1 - share) / len(drawn))
        assert sum(span in tree for tree in drawn) / len(drawn) == pytest.approx(
            share, abs=4 * error
        )


def test_f1_of_the_same_tree_is_1():
    assert bracketing_f1(matches=7, found=7, gold=7) == 1


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    precision, recall = 3 / 4, 3 / 8
    expected = 2 * precision * recall / (precision + recall)
    assert bracketing_f1(matches=3, found=4, gold=8) == pytest.approx(expected)


def test_without_brackets_f1_is_not_defined():
    assert math.isnan(bracketing_f1(0, 0, 0))


def test_baselines_of_a_sentence_by_hand():
    gold, words = from_brackets("((our yak) (does (see ((my yaks) (who ((some yak) (do read)))))))")
    # Ten brackets of eleven words; those that end the sentence begin at 0, 2, 3, 4, 6, 7 and 9.
    assert baseline_f1([gold], [len(words)]) == pytest.approx({
        "right_branching": 7 / 10,
        "left_branching": 2 / 10,  # the whole and (our yak)
        "balanced": 3 / 10,  # and (do read)
        "random": (1 + 2 * 1 / 2 + 1 / 9 + 1 / 8 + 1 / 7 + 1 / 5 + 1 / 4 + 2 * 1 / 3) / 10,
    })  # fmt: skip


def test_baselines_of_a_corpus_count_brackets_not_sentences():
    right, left = right_branching(4), left_branching(3)
    found = baseline_f1([right, left, []], [4, 3, 1])
    assert found["right_branching"] == pytest.approx((3 + 1) / 5)
    assert found["left_branching"] == pytest.approx((1 + 2) / 5)


def test_baselines_of_drawn_questions_are_the_published_ones():
    task = QuestionFormation(train_lines=20_000, validation_lines=1, generalization_lines=1)
    trees = task.examples("train_questions", None, 0).trees or ()
    found = baselines_of(trees)
    # Published lines, the first 20,000; a mean over some 8,000 sentences errs by about 0.002.
    published = {"right_branching": 0.6638, "left_branching": 0.3071, "balanced": 0.579,
                 "random": 0.410}  # fmt: skip
    assert found == pytest.approx(published, abs=0.01)


def test_baselines_of_drawn_tenses_are_the_published_ones():
    task = TenseInflection(train_lines=12_500, validation_lines=10_000, generalization_lines=1)
    found = baselines_of(task.examples("validation", None, 0).trees or ())
    published = {"right_branching": 0.5003, "left_branching": 0.3664, "balanced": 0.549,
                 "random": 0.408}  # fmt: skip
    assert found == pytest.approx(published, abs=0.01)


def baselines_of(trees):
    golds = [[(start - 1, stop - 1) for start, stop in spans_of(tree)] for tree in trees]
    return baseline_f1(golds, [spans[0][1] for spans in golds])
