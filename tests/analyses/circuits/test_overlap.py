import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import interp
from analyses import CircuitOverlap
from analyses.circuits.overlap import matching, permuted
from hooks.circuits.graph import Graph

FIXTURE = "fixtures/modular-addition"


def sizes_of(graph, seed=0):
    return torch.rand(len(graph.edges), generator=torch.Generator().manual_seed(seed)).numpy()


@pytest.mark.parametrize("graph", [Graph(1, 4, has_mlp=True), Graph(2, 3, has_mlp=False)])
def test_matching_undoes_a_permutation_of_heads(graph):
    sizes = sizes_of(graph)
    heads = [
        torch.randperm(graph.n_heads, generator=torch.Generator().manual_seed(layer + 3)).tolist()
        for layer in range(graph.n_layers)
    ]
    other = permuted(graph, sizes, heads)
    assert not np.allclose(other, sizes)
    assert sorted(other) == sorted(sizes)
    np.testing.assert_array_equal(permuted(graph, other, matching(graph, sizes, other)), sizes)


def test_permuted_moves_the_edges_of_a_head():
    graph = Graph(1, 2, has_mlp=True)
    sizes = sizes_of(graph)
    other = permuted(graph, sizes, [[1, 0]])
    by_edge, moved = (dict(zip(graph.edges, each, strict=True)) for each in (sizes, other))
    assert moved["embed->0.h0.k"] == by_edge["embed->0.h1.k"]
    assert moved["0.h1->0.mlp"] == by_edge["0.h0->0.mlp"]
    assert moved["0.mlp->logits"] == by_edge["0.mlp->logits"]


def permuted_heads(series, heads):
    """The same run with the heads of its only layer in another order."""

    def parameters(step):
        given = dict(series.parameters(step))
        return {
            name: value[heads] if ".attn." in name and not name.endswith("b_O") else value
            for name, value in given.items()
        }

    return replace(series, parameters=parameters)


def table_of(names, failures=()):
    return pd.DataFrame({"run": names, "failure": ["no" if n in failures else "" for n in names]})


@pytest.fixture(scope="module")
def series():
    fixture = interp.load(FIXTURE).series()
    return {
        "one": fixture,
        "permuted": permuted_heads(fixture, [2, 0, 3, 1]),
        "untrained": replace(fixture, steps=(0,)),
        "failed": fixture,
    }


@pytest.fixture(scope="module")
def result(series):
    return CircuitOverlap.measure(table_of([*series], ["failed"]), series, axes=(), count=60)


def test_a_run_with_permuted_heads_is_the_same_once_they_are_matched(result):
    assert result.runs == ("one", "permuted")
    assert result.matched == pytest.approx(np.ones((2, 2)))
    assert result.matched_correlation == pytest.approx(np.ones((2, 2)))
    assert result.correlation[0, 1] < 1
    assert result.permuted[0, 1] < 1


def test_runs_without_a_span_are_left_out(result):
    assert result.left_out == ("untrained", "failed")
    assert result.part == "test"


def test_chance_is_that_of_random_sets(result):
    generator = np.random.default_rng(0)
    sets = [{*generator.choice(23, 8, replace=False)} for _ in range(4000)]
    overlaps = [len(a & b) / len(a | b) for a, b in zip(sets[::2], sets[1::2], strict=True)]
    assert result.chance == pytest.approx(np.mean(overlaps), abs=0.02)


def test_one_run_has_nothing_to_be_compared_with(series):
    alone = CircuitOverlap.measure(table_of(["one", "untrained"]), series, axes=(), count=20)
    assert alone.runs == ("one",)
    assert math.isnan(float(alone.summary()["jaccard_matched"]))
    assert "1 of 2 runs have a span" in str(alone.plot())


def test_wrong_options_are_refused(series):
    with pytest.raises(ValueError, match="top = 24: give a number from 1 to 23"):
        CircuitOverlap.measure(table_of(["one"]), series, axes=(), top=24, count=10)
    with pytest.raises(ValueError, match="no run has checkpoints: train the sweep first"):
        CircuitOverlap.measure(table_of(["failed"], ["failed"]), series, axes=())
