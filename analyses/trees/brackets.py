"""Trees over the words of a sentence: four forms of one thing.

A tree is nested tuples of positions in a row, mostly pairs: `((1, 2), (3, (4, 5)))`; a single word
is its position. Its brackets are the spans (start, stop), half open, of all its nodes but the
words: a table of them says the same. As text, words stand for positions: `((the newt) (does (see
it)))`. As a graph, nodes are spans and edges lead from a span to its parts. Nothing here recurses,
since strings of brackets are nested a thousand deep.
"""

import re
from collections import Counter
from collections.abc import Sequence
from numbers import Integral
from typing import Any

from hooks.examples import Tree

Span = tuple[int, int]

ESCAPED = {"(": "-LRB-", ")": "-RRB-"}  # as treebanks write them


def spans_of(tree: Tree) -> list[Span]:
    """The brackets of a tree, each before those inside it; none for a single word.

    Raises:
        ValueError: Leaves are not positions in a row, or a bracket holds fewer than two parts.
    """
    spans: list[Span] = []
    opened: list[int] = []  # numbers of the brackets that are not closed yet
    following, todo = first_leaf(tree), [tree]
    while todo:
        node = todo.pop()
        if node is None:  # the end of a bracket
            index = opened.pop()
            spans[index] = (spans[index][0], following)
        elif isinstance(node, Integral):
            if node != following:
                raise ValueError(f"tree: {node} stands where {following} should: give all in a row")
            following += 1
        elif not isinstance(node, tuple | list) or len(node) < 2:
            raise ValueError(f"tree: {node!r} is no position and no tuple of two parts or more")
        else:
            opened.append(len(spans))
            spans.append((following, following))
            todo += [None, *reversed(node)]
    return spans


def tree_of(spans: Sequence[Span], start: int, stop: int) -> Tree:
    """The tree that has these brackets over positions start to stop - 1.

    Raises:
        ValueError: Brackets cross, come twice, or leave the whole unbracketed.
    """
    parts: dict[int, tuple[int, Tree]] = {at: (at + 1, at) for at in range(start, stop)}
    for first, last in sorted(spans, key=lambda span: span[1] - span[0]):
        inside, at = [], first
        while at < last and at in parts:
            at, part = parts.pop(at)
            inside.append(part)
        if at != last or len(inside) < 2:
            raise ValueError(f"spans: {(first, last)} crosses or repeats another: give a tree's")
        parts[first] = (last, tuple(inside))
    if list(parts) != [start] or parts[start][0] != stop:
        raise ValueError(f"spans: none is the whole, {(start, stop)}; give every bracket")
    return parts[start][1]


def first_leaf(tree: Tree) -> int:
    """The position of a tree's first word.

    Raises:
        ValueError: It has none.
    """
    while isinstance(tree, tuple | list) and tree:
        tree = tree[0]
    if not isinstance(tree, Integral):
        raise ValueError(f"tree: {tree!r} is no position: give nested tuples of positions")
    return int(tree)


def to_brackets(spans: Sequence[Span], words: Sequence[str]) -> str:
    """A tree as text; brackets that are words are written -LRB- and -RRB-.

    Args:
        spans: Its brackets, counted from the first word.
        words: Its words.

    Raises:
        ValueError: A word is empty, holds white space, or reads as a word that is escaped; the
            brackets are not one tree's.
    """
    tree_of(spans, 0, len(words))
    for word in words:
        if not word or re.search(r"\s|-[LR]RB-", word):
            raise ValueError(f"words: '{word}' cannot stand in a bracketed text; rename it")
    opening = Counter(start for start, _ in spans)
    closing = Counter(stop for _, stop in spans)
    return " ".join(
        "(" * opening[at] + word.translate(str.maketrans(ESCAPED)) + ")" * closing[at + 1]
        for at, word in enumerate(words)
    )


def from_brackets(text: str) -> tuple[list[Span], tuple[str, ...]]:
    """The brackets and words of a tree written as text; the inverse of `to_brackets`.

    Raises:
        ValueError: There is no word, brackets do not match, one holds fewer than two parts, or
            none holds all.
    """
    spans: list[Span] = []
    opened: list[int] = []
    parts = [0]  # of the text, and of each open bracket
    words: list[str] = []
    for token in re.findall(r"[()]|[^\s()]+", text):
        if token == ")":
            if not opened:
                raise ValueError(f"text: a bracket closes that none opened after {words}")
            index = opened.pop()
            start = spans[index][0]
            spans[index] = (start, len(words))
            if parts.pop() < 2:
                raise ValueError(
                    f"text: the bracket around '{' '.join(words[start:])}' holds fewer than two "
                    "parts: leave it out"
                )
            continue
        parts[-1] += 1
        if token == "(":
            opened.append(len(spans))
            spans.append((len(words), 0))
            parts.append(0)
        else:
            words.append(token.replace(ESCAPED["("], "(").replace(ESCAPED[")"], ")"))
    if not words:
        raise ValueError("text: it holds no word: give a sentence such as ((the newt) sleeps)")
    if len(parts) > 1:
        raise ValueError(
            f"text: {len(parts) - 1} brackets are never closed over {len(words)} words: close them"
        )
    if parts[0] > 1:
        raise ValueError(f"text: {parts[0]} parts side by side: put one bracket around all")
    return spans, tuple(words)


def tree_graph(spans: Sequence[Span], words: Sequence[str]) -> Any:
    """A tree as a networkx graph, directed from each span to its parts, in the order of words.

    Args:
        spans: Its brackets, counted from the first word.
        words: Its words.

    Returns:
        Nodes are spans (start, stop), single words among them, with their `text`; the first is
        the root.

    Raises:
        ValueError: The brackets are not one tree's.
    """
    import networkx as nx  # a tenth of a second, and seldom wanted

    tree_of(spans, 0, len(words))
    graph, leaves = nx.DiGraph(), [(at, at + 1) for at in range(len(words))]
    above: list[Span] = []  # the spans that hold the present one, the smallest last
    for span in sorted({*spans, *leaves}, key=lambda span: (span[0], -span[1])):
        graph.add_node(span, text=" ".join(words[slice(*span)]))
        while above and above[-1][1] <= span[0]:
            above.pop()
        if above:
            graph.add_edge(above[-1], span)
        above.append(span)
    return graph


def graph_spans(graph: Any) -> list[Span]:
    """The brackets of a tree given as a graph, each before those inside it.

    Raises:
        ValueError: The graph is no tree, or its edges do not lead from spans to their parts.
    """
    import networkx as nx

    spans = sorted((span for span, parts in graph.out_degree if parts), key=lambda s: (s[0], -s[1]))
    drawn = tree_graph(spans, [""] * (len(graph) - len(spans)))
    if not nx.is_arborescence(graph) or set(drawn.edges) != set(graph.edges):
        raise ValueError("graph: no tree of spans; edges lead from each span to its parts")
    return spans
