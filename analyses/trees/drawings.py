"""Sentences with two trees each, side by side; brackets of only one of the two are marked.

Words stand one below the other; the first tree grows to their left and the second to their right,
so that words need no room below one another and the same bracket lies at the same height.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from analyses.plots import INK, PALETTE, PAPER, Figure, layout_of, line
from analyses.plots.plain import made
from analyses.trees.brackets import Span, tree_graph

WORDS_SHARE = 0.28  # of the distance from the middle to a side that words take
MIN_WIDTH = 480  # pixels, below which long words would meet the trees
WORD_HEIGHT = 21  # pixels
ROWS_BETWEEN, ROWS_ABOVE = 2.2, 1.2  # words' heights between sentences, and above the first
# Corners of a tree's lines, broken by NaN, and its dots with the words below each: whether the
# bracket is in both trees, x, y (and words).
DrawnTree = tuple[list[tuple[bool, float, float]], list[tuple[bool, float, float, str]]]


@dataclass(frozen=True)
class TwoTrees:
    """Two trees over a sentence.

    Attributes:
        words: The sentence.
        first: Brackets of the tree at the left.
        second: Brackets of the tree at the right.
        heading: What is written above.
    """

    words: tuple[str, ...]
    first: tuple[Span, ...]
    second: tuple[Span, ...]
    heading: str


def side_by_side(pairs: Sequence[TwoTrees], names: tuple[str, str], *, title: str) -> Figure:
    """Sentences below one another, each with its two trees.

    Brackets of both trees are drawn dark and solid, with filled dots; those of one alone in
    orange and dashed, with open diamonds.

    Args:
        pairs: Sentences and their trees.
        names: What the trees at the left and at the right are.
        title: What is seen.
    """
    *tops, bottom = accumulate(
        (len(pair.words) + ROWS_BETWEEN for pair in pairs), initial=ROWS_ABOVE
    )
    places = list(zip(pairs, tops, strict=True))
    trees = [
        _tree(pair, spans, side, top)
        for pair, top in places
        for side, spans in ((-1, pair.first), (1, pair.second))
    ]
    hidden = {"showticklabels": False, "showgrid": False, "zeroline": False}
    return made(
        {
            "data": [*_brackets(trees, True), *_brackets(trees, False), *_words(places)],
            "layout": layout_of(
                title,
                (f"left: {names[0]}; right: {names[1]}", "words, from top to bottom"),
                height=round(110 + WORD_HEIGHT * bottom),
                has_legend=True,
                meta={"least_width": MIN_WIDTH},
                xaxis=hidden | {"range": [-1.05, 1.05]},
                yaxis=hidden | {"range": [bottom - 1.6, -0.8]},
            ),
        }
    )


def _tree(pair: TwoTrees, spans: Sequence[Span], side: int, top: float) -> DrawnTree:
    """Lines and dots of one tree of a pair.

    A node is as far from the words as its longest way down is long, and between its parts.

    Args:
        pair: The sentence and both trees.
        spans: Brackets of this tree.
        side: -1 at the left of the words, 1 at their right.
        top: Row of the first word.
    """
    graph = tree_graph(spans, pair.words)
    shared = set(pair.first) & set(pair.second)
    heights: dict[Span, int] = {}
    rows: dict[Span, float] = {}
    for span in reversed(list(graph)):  # parts come after what they are part of
        parts = list(graph.successors(span))
        heights[span] = 1 + max((heights[part] for part in parts), default=-1)
        rows[span] = sum(rows[part] for part in parts) / len(parts) if parts else top + span[0]
    step = (1 - WORDS_SHARE) / max(1, *heights.values())
    x = {span: side * (WORDS_SHARE + step * height) for span, height in heights.items()}
    places = [
        (span in shared, *place)
        for span, part in graph.edges
        for place in (
            (x[span], rows[span]),
            (x[span], rows[part]),
            (x[part], rows[part]),
            (np.nan, np.nan),
        )
    ]
    return places, [
        (span in shared, x[span], rows[span], html.escape(graph.nodes[span]["text"], quote=False))
        for span in spans
    ]


def _brackets(trees: Sequence[DrawnTree], is_shared: bool) -> list[dict[str, Any]]:
    """Lines, and dots at which the pointer tells the words, of brackets of both trees or of one."""
    colour, name = (INK, "in both trees") if is_shared else (PALETTE[1], "in one tree alone")
    corners = [corner for lines, _ in trees for shared, *corner in lines if shared == is_shared]
    nodes = [node for _, dots in trees for shared, *node in dots if shared == is_shared]
    x, y = np.array([*corners, (np.nan, np.nan)]).T
    stroke = {"color": colour, "dash": "solid" if is_shared else "dot", "width": 2}
    markers = {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "showlegend": False,
        "x": [at for at, _, _ in nodes],
        "y": [row for _, row, _ in nodes],
        "text": [text for _, _, text in nodes],
        "hoverinfo": "text",
        "marker": {
            "size": 7 if is_shared else 9,
            "symbol": "circle" if is_shared else "diamond",
            "color": colour if is_shared else PAPER,
            "line": {"color": colour, "width": 1.5},
        },
    }
    return [line(x, y, name, stroke) | {"hoverinfo": "skip"}, markers]


def _words(places: Sequence[tuple[TwoTrees, float]]) -> list[dict[str, Any]]:
    """Words in the middle, and a heading above each sentence."""
    # Plotly reads markup in text and drops what looks like a tag of another kind.
    words = [
        (0, top + at, html.escape(word, quote=False))
        for pair, top in places
        for at, word in enumerate(pair.words)
    ]
    headings = [(0, top - 1.1, f"<b>{html.escape(pair.heading)}</b>") for pair, top in places]
    return [
        {
            "type": "scatter",
            "mode": "text",
            "showlegend": False,
            "hoverinfo": "skip",
            "x": [x for x, _, _ in texts],
            "y": [y for _, y, _ in texts],
            "text": [text for _, _, text in texts],
            "name": name,
        }
        for name, texts in (("words", words), ("headings", headings))
    ]
