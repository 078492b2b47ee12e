"""Sentences with two trees each, side by side; brackets of only one of the two are marked.

Words stand one below the other; the first tree grows to their left and the second to their right,
so that words need no room below one another and the same bracket lies at the same height.
"""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.plots import INK, PALETTE, PAPER, Figure, layout_of, line
from analyses.trees.brackets import Span, tree_graph

WORDS_SHARE = 0.28  # of the distance from the middle to a side that words take
MIN_WIDTH = 480  # pixels, below which long words would meet the trees
WORD_HEIGHT = 21  # pixels
ROWS_BETWEEN, ROWS_ABOVE = 2.2, 1.2  # words' heights between sentences, and above the first


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
    places, row = [], ROWS_ABOVE
    for pair in pairs:
        places.append((pair, row))
        row += len(pair.words) + ROWS_BETWEEN
    drawn: dict[bool, Strokes] = {True: Strokes([], []), False: Strokes([], [])}
    for pair, top in places:
        for side, spans in ((-1, pair.first), (1, pair.second)):
            _draw(pair, spans, side, top, drawn)
    hidden = {"showticklabels": False, "showgrid": False, "zeroline": False}
    traces = [*_brackets(drawn[True], True), *_brackets(drawn[False], False), *_words(places)]
    layout = layout_of(
        title,
        (f"left: {names[0]}; right: {names[1]}", "words, from top to bottom"),
        height=round(110 + WORD_HEIGHT * row),
        has_legend=True,
        meta={"least_width": MIN_WIDTH},
        xaxis=hidden | {"range": [-1.05, 1.05]},
        yaxis=hidden | {"range": [row - 1.6, -0.8]},
    )
    return Figure({"data": traces, "layout": layout})


@dataclass(frozen=True)
class Strokes:
    """Lines of brackets, broken by NaN, and their dots with the words below each."""

    corners: list[tuple[float, float]]
    dots: list[tuple[float, float, str]]


def _draw(
    pair: TwoTrees, spans: Sequence[Span], side: int, top: float, drawn: Mapping[bool, Strokes]
) -> None:
    """Adds a tree's strokes to those of both trees (True) and of one alone (False).

    A node is as far from the words as its longest way down is long, and between its parts.
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
    for span, part in graph.edges:
        corner = (x[span], rows[part])
        ends = [(x[span], rows[span]), corner, (x[part], rows[part]), (math.nan, math.nan)]
        drawn[span in shared].corners.extend(ends)
    for span in spans:
        drawn[span in shared].dots.append(
            (x[span], rows[span], html.escape(graph.nodes[span]["text"], quote=False))
        )


def _brackets(strokes: Strokes, is_shared: bool) -> list[dict[str, Any]]:
    """Lines, and dots at which the pointer tells the words."""
    colour, name = (INK, "in both trees") if is_shared else (PALETTE[1], "in one tree alone")
    x, y = np.array([*strokes.corners, (math.nan, math.nan)]).T
    style = {"color": colour, "dash": "solid" if is_shared else "dot", "width": 2}
    dots = {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "showlegend": False,
        "x": [at for at, _, _ in strokes.dots],
        "y": [row for _, row, _ in strokes.dots],
        "text": [text for _, _, text in strokes.dots],
        "hoverinfo": "text",
        "marker": {
            "size": 7 if is_shared else 9,
            "symbol": "circle" if is_shared else "diamond",
            "color": colour if is_shared else PAPER,
            "line": {"color": colour, "width": 1.5},
        },
    }
    return [line(x, y, name, style) | {"hoverinfo": "skip"}, dots]


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
