import dataclasses
import math

import networkx as nx
import numpy as np
import pytest
import torch

from analyses.requirements import check_options
from analyses.trees.brackets import from_brackets
from analyses.trees.parseval import baseline_f1, left_branching
from analyses.trees.projection import TreeProjection
from analyses.trees.sci import METHODS
from hooks import Sizes, Snapshot, build
from hooks.edit import Edit
from hooks.models import MLPConfig
from tests.analyses.trees.projected import (
    GOLD,
    SIZES,
    TOKENS,
    drawn_data,
    examples_of,
    holding,
    measured,
    snapshot_of,
)
from tests.planted import tiny_config


@pytest.fixture(scope="module")
def found() -> TreeProjection:
    return measured(threshold="all")


def test_sentences_are_the_words_of_the_gold_trees(found):
    texts = [found.sentence(number) for number in range(3)]
    assert texts == [("the", "newt", "does", "see", "it"), ("go", "on"), ("stop",)]


def test_gold_brackets_are_those_of_the_examples(found):
    assert [found.gold_brackets(number) for number in range(3)] == GOLD


def test_every_threshold_has_its_trees(found):
    assert found.thresholds == (0, 1, 2)
    for threshold in found.thresholds:
        alone = measured(threshold=threshold)
        assert alone.thresholds == (threshold,)
        assert alone.brackets(0) == found.brackets(0, threshold)
        assert alone.tscore == pytest.approx(found.scores[threshold].mean())


def test_sentences_of_one_or_two_words_leave_no_choice(found):
    assert (found.brackets(1), found.brackets(2)) == ([(0, 2)], [])
    assert found.scores[:, 1:] == pytest.approx(0)


def test_one_sentence_of_two_words_is_a_whole_corpus():
    result = TreeProjection.measure(snapshot_of(examples_of((1,))))
    assert result.f1() == 1
    assert result.tscore == pytest.approx(0)


def test_single_words_alone_have_no_f1():
    result = TreeProjection.measure(snapshot_of(examples_of((2, 2))))
    summary = result.summary()
    assert math.isnan(result.f1())
    assert math.isnan(float(summary["f1_random"]))
    assert summary["tscore"] == 0
    assert np.isnan(result.to_frame()["f1"].to_numpy()).all()
    assert drawn_data(result.plot())["data"]


def test_the_gold_trees_themselves_have_an_f1_of_1(found):
    assert holding(found, GOLD).f1() == 1


def test_f1_counts_brackets_of_all_sentences(found):
    trees = [left_branching(5), [(0, 2)], []]
    assert holding(found, trees).f1() == pytest.approx(3 / 5)  # both wholes, and (the newt)


def test_baselines_are_those_of_the_gold_trees(found):
    assert found.baselines() == baseline_f1(GOLD, [5, 2, 1])
    assert found.baselines()["right_branching"] == pytest.approx(4 / 5)


def test_what_follows_a_sentence_changes_nothing(found):
    tokens = TOKENS.clone()
    tokens[0, 6:], tokens[1, 3:], tokens[2, 2:] = 7, 7, 7
    other = TreeProjection.measure(snapshot_of(examples_of(tokens=tokens)), threshold="all")
    np.testing.assert_allclose(other.values, found.values, atol=1e-6)
    assert (other.spans == found.spans).all()


def test_the_order_of_sentences_changes_nothing_but_their_order(found):
    turned = TreeProjection.measure(snapshot_of(examples_of((2, 0, 1))), threshold="all")
    assert [turned.brackets(number, 1) for number in (1, 2, 0)] == [
        found.brackets(number, 1) for number in (0, 1, 2)
    ]
    np.testing.assert_allclose(turned.scores[:, [1, 2, 0]], found.scores, atol=1e-6)


def test_long_sentences_are_left_out_and_counted(found):
    short = measured(longest=2)
    assert [short.sentence(number) for number in (0, 1)] == [("go", "on"), ("stop",)]
    assert (found.left_out, short.left_out, short.summary()["left_out"]) == (0, 1, 1)
    assert short.values == pytest.approx(found.values[:, :1, 1:])
    title = drawn_data(short.figures()["f1"])["layout"]["title"]["text"]
    assert "in 2 sentences (1 longer ones left out)" in title


def test_methods_are_scored_beside_the_one_that_is_kept():
    results = {method: measured(method=method) for method in METHODS}
    for method, result in results.items():
        summary = result.summary()
        assert summary["tparseval"] == summary[f"f1_{method}"]
        assert [summary[f"f1_{each}"] for each in METHODS] == [
            results[each].f1() for each in METHODS
        ]


def test_cky_branches_to_the_left_since_the_model_is_causal():
    assert measured(method="cky").brackets(0) == left_branching(5)


def test_a_greedy_tree_is_worth_at_least_the_mean_over_the_splits_of_its_nodes():
    assert (measured().scores >= -1e-9).all()


def test_no_random_tree_is_worth_more_than_that_of_cky():
    assert (measured(method="cky", against="random_tree").scores >= -1e-9).all()


def test_a_threshold_that_the_model_lacks_is_refused():
    with pytest.raises(ValueError, match=r"threshold 3: .* layers 0 to 2"):
        measured(threshold=3)


@pytest.mark.parametrize("threshold", [-1, True])
def test_a_threshold_that_is_no_layer_is_refused(threshold):
    with pytest.raises(
        ValueError, match=rf"take a layer .* or 'all' as threshold, not {threshold}"
    ):
        measured(threshold=threshold)


@pytest.mark.parametrize("threshold", ["x", 1.5, True, -1, "1"])
def test_an_experiment_refuses_a_threshold_that_is_no_layer(threshold):
    message = (
        rf"TreeProjection\.threshold: take a layer .* or 'all' as threshold, not {threshold!r}"
    )
    with pytest.raises(ValueError, match=message):
        check_options(TreeProjection, {"threshold": threshold})


def test_a_method_that_there_is_not_is_refused(found):
    with pytest.raises(ValueError, match="method 'foo': take one of greedy, cky, cky_centred"):
        found.f1("foo")


def test_a_threshold_that_was_not_measured_is_refused():
    with pytest.raises(ValueError, match=r"threshold 1 was not measured; \(0,\) were"):
        measured().brackets(0, 1)


def test_examples_without_trees_are_refused():
    snapshot = snapshot_of(dataclasses.replace(examples_of(), trees=None))
    with pytest.raises(ValueError, match="TreeProjection needs gold trees"):
        TreeProjection.measure(snapshot)


def test_models_without_attention_are_refused():
    sizes = Sizes(d_vocab=20, d_vocab_out=20, n_ctx=7)
    model = build(MLPConfig(d_model=4, d_mlp=4), sizes, seed=0)
    with pytest.raises(ValueError, match="TreeProjection needs attention"):
        TreeProjection.measure(snapshot_of().on(examples_of()).of(model, examples_of()))


def test_models_of_both_directions_are_measured():
    config = tiny_config(n_layers=2, attention_dir="bidirectional", normalization_type="LN")
    snapshot = Snapshot.of(build(config, SIZES, seed=0), examples_of())
    result = TreeProjection.measure(snapshot, method="cky", threshold="all")
    assert result.values[1] == pytest.approx(result.values.max(0))


def test_trees_are_graphs(found):
    assert nx.is_arborescence(found.tree(0, 2))
    assert set(found.gold_tree(0)) == {*GOLD[0], *((at, at + 1) for at in range(5))}
    assert found.gold_tree(0).nodes[3, 5]["text"] == "see it"


def test_the_frame_has_a_row_a_threshold_and_sentence(found):
    frame = found.to_frame()
    assert frame[["threshold", "words"]].to_numpy().tolist() == [
        [threshold, words] for threshold in (0, 1, 2) for words in (5, 2, 1)
    ]
    np.testing.assert_allclose(frame["score"], found.scores.ravel())


def test_trees_in_the_frame_are_text_that_can_be_read_back(found):
    row = found.to_frame().iloc[3]  # the first sentence at threshold 1
    assert from_brackets(row["gold"]) == (GOLD[0], found.sentence(0))
    assert from_brackets(row["tree"]) == (found.brackets(0, 1), found.sentence(0))
    shared = len({*GOLD[0]} & {*found.brackets(0, 1)})
    assert row["f1"] == pytest.approx(shared / 4)


def test_what_is_kept_of_a_sentence_is_small():
    many = examples_of().at(torch.arange(300) % 3)
    result = TreeProjection.measure(snapshot_of(many))
    fields = (getattr(result, field.name) for field in dataclasses.fields(result))
    held = sum(each.nbytes for each in fields if isinstance(each, np.ndarray))
    assert held / 300 < 150  # bytes


def test_trees_that_the_model_does_not_decide_have_no_f1():
    snapshot = snapshot_of()
    edit = Edit(parameters=dict.fromkeys(snapshot.parameters(), torch.zeros_like))
    found = TreeProjection.measure(snapshot.edited(edit))
    assert np.isnan([found.f1(), found.summary()["tparseval"]]).all()
    assert (found.undecided_share(), found.tscore) == (1, 0)


def test_the_trees_of_a_model_are_decided():
    assert measured().summary()["undecided_share"] == 0
