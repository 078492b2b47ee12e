"""Drawings as cards: a heading in the page, and data below it that a script draws.

Headings are taken out of plotly's figures, in which they could neither wrap nor be read aloud.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from markupsafe import Markup

from analyses import plots
from analyses.plots.slider import slides
from analyses.plots.views import OWN, PICTURE, View, element, script_json, view_data
from analyses.result import Drawing

MAX_NARROW_TOKENS = 12  # drawings of more tokens take the whole width
HALF_WIDTH = 480  # pixels of a drawing where two stand side by side
TOP_MARGIN = 36  # pixels above a figure, whose title is taken out
# Height of each component in pixels, so that little moves when it is drawn.
HEIGHTS = {"AttentionHeads": 420, "TextNeuronActivations": 380, "AddingNetwork": 300}
DEFAULT_HEIGHT = 48


@dataclass(frozen=True)
class Card:
    """One drawing.

    Attributes:
        slug: The id of its element on the page.
        kind: What draws it: plotly (`figure`), CircuitsVis (`view`), a script of ours (`own`), or
            nothing, since it is an image (`picture`).
        title: What it shows.
        caption: How to read it.
        data: JSON that may stand inside a script element; for a picture, the image itself.
        height: Height of the drawing in pixels.
        is_wide: Whether it takes the whole width of the page.
        least_width: Pixels below which it is scrolled rather than drawn smaller.
    """

    slug: str
    kind: Literal["figure", "view", "own", "picture"]
    title: str
    caption: str
    data: Markup
    height: int
    is_wide: bool = False
    least_width: int = 0


def card(drawing: Drawing, slug: str, *, is_wide: bool = False) -> Card:
    """The card of one drawing.

    Raises:
        ValueError: A view has an unknown component or a number that is not finite.
    """
    if isinstance(drawing, View):
        return _view_card(drawing, slug)
    figure = plots.as_data(drawing)
    title = _take_title(figure["layout"])
    return _figure_card(figure, slug, title, is_wide=is_wide)


def sliding_card(drawings: Mapping[int, Drawing], slug: str) -> Card:
    """One figure at several steps, with a slider that also changes the heading."""
    figures = {
        step: plots.as_data(drawing)
        for step, drawing in drawings.items()
        if isinstance(drawing, plots.Figure)
    }
    figure = slides(list(figures.values()), list(figures))
    title = _take_title(figure["layout"])
    titles = []
    for choice in figure["layout"]["sliders"][0]["steps"]:
        titles.append(_plain(choice["args"][1].pop("title.text", None) or title))
    return _figure_card(figure | {"titles": titles}, slug, title, is_wide=False)


def arranged(cards: Sequence[Card]) -> tuple[Card, ...]:
    """The cards in rows: two narrow ones that follow each other share a row, others have one."""
    placed: list[Card] = []
    is_row_half_full = False
    for index, card in enumerate(cards):
        is_next_narrow = index + 1 < len(cards) and not cards[index + 1].is_wide
        is_wide = card.is_wide or not (is_row_half_full or is_next_narrow)
        is_row_half_full = not is_wide and not is_row_half_full
        placed.append(replace(card, is_wide=is_wide))
    return tuple(placed)


def _view_card(view: View, slug: str) -> Card:
    if view.component == PICTURE:
        image, wide = Markup(element(view, slug)), view.props["width"] > view.props["height"]
        return Card(slug, "picture", view.title, view.caption, image, 0, bool(wide))
    data = Markup(script_json(view_data(view)))
    if view.component in OWN:
        return Card(slug, "own", view.title, view.caption, data, HEIGHTS[view.component], True)
    height = HEIGHTS.get(view.component, DEFAULT_HEIGHT)
    is_wide = len(view.props.get("tokens", ())) > MAX_NARROW_TOKENS
    return Card(slug, "view", view.title, view.caption, data, height, is_wide)


def _figure_card(figure: dict[str, Any], slug: str, title: str, *, is_wide: bool) -> Card:
    layout = figure["layout"]
    layout["margin"] = layout.get("margin", {}) | {"t": TOP_MARGIN}
    layout["legend"] = layout.get("legend", {}) | {
        "x": 0,
        "xanchor": "left",
    }  # buttons are on the right
    drawn = {
        name: _rounded(figure[name]) for name in ("data", "layout", "titles") if name in figure
    }
    data, height = Markup(script_json(drawn)), layout.get("height", plots.HEIGHT)
    least_width = layout.get("meta", {}).get("least_width", 0)
    has_panels = "xaxis2" in layout
    is_wide = is_wide or has_panels or least_width > HALF_WIDTH
    return Card(slug, "figure", title, "", data, height, is_wide, least_width)


def _take_title(layout: dict[str, Any]) -> str:
    return _plain(layout.pop("title", {}).get("text") or "Figure")


def _plain(title: str) -> str:
    """A title without plotly's line breaks."""
    return re.sub(r"\s*<br\s*/?>\s*", " ", title)


def _rounded(value: Any) -> Any:
    """Numbers rounded to six significant digits: more than a screen shows, in half the bytes."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return value
