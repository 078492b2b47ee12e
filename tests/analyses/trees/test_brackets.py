import itertools

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses.trees.brackets import (
    first_leaf,
    from_brackets,
    graph_spans,
    spans_of,
    to_brackets,
    tree_graph,
    tree_of,
)

TREE = ((3, 4), (5, (6, 7)))
SPANS = [(3, 8), (3, 5), (5, 8), (6, 8)]
WORDS = ("the", "newt", "does", "see", "it")
FROM_ZERO = [(start - 3, stop - 3) for start, stop in SPANS]


@st.composite
def trees(draw):
    """A tree of any arity over positions from 0 or later."""
    start, count = draw(st.integers(0, 5)), draw(st.integers(1, 12))

    def grown(first, stop):
        if stop - first == 1:
            return first
        cuts = draw(st.sets(st.integers(first + 1, stop - 1), min_size=1, max_size=3))
        bounds = [first, *sorted(cuts), stop]
        return tuple(grown(i, j) for i, j in itertools.pairwise(bounds))

    return grown(start, start + count), start, start + count


def test_brackets_come_before_those_inside_them():
    assert spans_of(TREE) == SPANS


def test_a_single_word_has_no_brackets():
    assert spans_of(4) == []


def test_a_tree_begins_with_its_first_leaf():
    assert first_leaf(((2, 3), 4)) == 2


@given(trees())
def test_a_tree_comes_back_from_its_brackets(drawn):
    tree, start, stop = drawn
    assert tree_of(spans_of(tree), start, stop) == tree


@given(trees())
def test_a_tree_comes_back_from_text(drawn):
    tree, start, stop = drawn
    spans = [(i - start, j - start) for i, j in spans_of(tree)]
    words = tuple(f"w{at}" for at in range(stop - start))
    assert from_brackets(to_brackets(spans, words)) == (spans, words)


@given(trees())
def test_a_tree_comes_back_from_its_graph(drawn):
    tree, start, stop = drawn
    spans = [(i - start, j - start) for i, j in spans_of(tree)]
    assert graph_spans(tree_graph(spans, ["w"] * (stop - start))) == spans


@given(trees())
def test_the_order_of_brackets_does_not_matter(drawn):
    tree, start, stop = drawn
    assert tree_of(spans_of(tree)[::-1], start, stop) == tree


def test_text_is_nested_as_the_tree_is():
    assert to_brackets(FROM_ZERO, WORDS) == "((the newt) (does (see it)))"


def test_text_may_be_laid_out_freely():
    assert from_brackets("(\n  (the newt)\n  (does(see it)) )") == (FROM_ZERO, WORDS)


def test_words_that_are_brackets_are_escaped_and_come_back():
    text = to_brackets([(0, 2)], ("(a", "a)"))
    assert text == "(-LRB-a a-RRB-)"
    assert from_brackets(text) == ([(0, 2)], ("(a", "a)"))


def test_a_single_word_is_a_text_and_a_graph():
    assert to_brackets([], ("it",)) == "it"
    assert from_brackets("it") == ([], ("it",))
    assert list(tree_graph([], ("it",)).nodes(data=True)) == [((0, 1), {"text": "it"})]


def test_edges_lead_from_a_span_to_its_parts_in_order():
    graph = tree_graph(FROM_ZERO, WORDS)
    assert list(graph.successors((0, 5))) == [(0, 2), (2, 5)]
    assert list(graph.successors((2, 5))) == [(2, 3), (3, 5)]
    assert list(graph.successors((3, 4))) == []


def test_the_graph_is_a_tree_rooted_in_the_whole():
    graph = tree_graph(FROM_ZERO, WORDS)
    assert nx.is_arborescence(graph)
    assert next(iter(graph)) == (0, 5)
    assert nx.descendants(graph, (0, 5)) == set(graph) - {(0, 5)}


def test_nodes_hold_their_words():
    assert tree_graph(FROM_ZERO, WORDS).nodes[3, 5]["text"] == "see it"


@pytest.mark.parametrize("branch", ["left", "right"])
def test_trees_may_be_thousands_deep(branch):
    count = 3000
    spans = [(0, j) if branch == "left" else (count - j, count) for j in range(count, 1, -1)]
    tree = tree_of(spans, 0, count)
    assert spans_of(tree) == spans
    assert from_brackets(to_brackets(spans, ["w"] * count))[0] == spans


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ((1, 3), "3 stands where 2 should"),
        ((1, (3, 2)), "3 stands where 2 should"),
        ((1, (2,)), r"\(2,\) is no position and no tuple of two parts"),
        ((1, ()), r"\(\) is no position"),
        (("the", "newt"), "'the' is no position"),
        ((1, "newt"), "'newt' is no position"),
        ((), r"\(\) is no position"),
    ],
)
def test_what_is_no_tree_has_no_brackets(tree, message):
    with pytest.raises(ValueError, match=message):
        spans_of(tree)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(0, 3), (0, 2), (1, 3)], r"\(1, 3\) crosses or repeats"),
        ([(0, 3), (0, 2), (0, 2)], r"\(0, 2\) crosses or repeats"),
        ([(0, 3), (1, 2)], r"\(1, 2\) crosses or repeats"),
        ([(0, 2)], r"none is the whole, \(0, 3\)"),
        ([], r"none is the whole, \(0, 3\)"),
        ([(0, 4)], r"\(0, 4\) crosses"),
        ([(0, 3), (1, 1)], r"\(1, 1\) crosses"),
    ],
)
def test_brackets_that_are_no_trees_are_refused(spans, message):
    with pytest.raises(ValueError, match=message):
        tree_of(spans, 0, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(a b", "1 brackets are never closed"),
        ("a b)", "closes that none opened"),
        ("", "holds no word: give a sentence"),
        ("()", "the bracket around '' holds fewer than two parts"),
        ("a b", "2 parts side by side: put one bracket around all"),
        ("(a b) c", "2 parts side by side"),
        ("((a b))", "the bracket around 'a b' holds fewer than two parts: leave it out"),
        ("(a (b) c)", "the bracket around 'b' holds fewer than two parts: leave it out"),
    ],
)
def test_text_that_is_no_tree_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        from_brackets(text)


@pytest.mark.parametrize("word", ["", "a b", "-LRB-", "x-RRB-"])
def test_words_that_would_not_come_back_are_refused(word):
    with pytest.raises(ValueError, match=f"words: '{word}' cannot stand"):
        to_brackets([(0, 2)], ("a", word))


def test_graphs_that_are_no_trees_are_refused():
    crossed = tree_graph(FROM_ZERO, WORDS)
    crossed.remove_edge((2, 5), (2, 3))
    crossed.add_edge((0, 2), (2, 3))
    looped = tree_graph(FROM_ZERO, WORDS)
    looped.add_edge((3, 4), (0, 5))
    for graph in (crossed, looped):
        with pytest.raises(ValueError, match=r"graph: no tree of spans|spans: "):
            graph_spans(graph)
