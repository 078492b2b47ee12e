"""Saved results as sections of a page: drawings, curves over steps, numbers and their captions.

A drawing is a card: a heading in the page, and data below it that a script draws. Headings are
taken out of plotly's figures, in which they could neither wrap nor be read aloud.
"""

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from markupsafe import Markup

from analyses import plots
from analyses.findings import Finding
from analyses.plots.slider import slides
from analyses.plots.views import OWN, PICTURE, View, element, script_json, view_data
from analyses.result import Analysis, BaseResult, Drawing, Result, readable
from interp.runs.current import error_message
from interp.runs.findings import TASKS_OWN, importance, stated
from interp.runs.results import Saved

MAX_NARROW_TOKENS = 12  # drawings of more tokens take the whole width
HALF_WIDTH = 480  # pixels of a drawing where two stand side by side
TOP_MARGIN = 36  # pixels above a figure, whose title is taken out
# Height of each component in pixels, so that little moves when it is drawn.
HEIGHTS = {"AttentionHeads": 420, "TextNeuronActivations": 380, "AddingNetwork": 300}
DEFAULT_HEIGHT = 48
SOURCE = re.compile(r"^Sources?: (.+?)(?:\n\n|\Z)", re.DOTALL | re.MULTILINE)
# By the split of a result without steps: what was measured as a whole.
PARTS = ("data", "layout", "steps", "titles", "visible")  # what the script is given of a figure
WHOLE = {"series": "run", "sweep": "sweep"}
MAX_SLIDES = 24  # with more, a scrubber's stops are closer than a fingertip is wide
PANEL_TITLE_LETTERS = 24  # letters in a line above a small panel
# Patterns and what they become, applied one after another. They are about the words of a scalar's
# name (`logit_fve_key`, `t_train`), whatever analysis it comes from.
CAPTION_RULES = (
    (r"\bt (train|test|accuracy)\b", r"t \1 crossing"),
    (r"\bat t\b", "at"),
    (r"^t (.+)", r"\1 (step)"),
    (r"^(delay|lag|lag half)$", r"\1 (steps)"),
    (r" fve (key|top \d+)$", r" fve by \1 frequencies"),
    (r"\bfve\b", "variance explained"),
    (r" (\w+) rule$", r", \1 rule"),
    (r" (W_\w|neuron in)$", r" of \1"),
    (r" (all|train|test)$", r", \1"),
    (r"^([a-z]) (.+)", r"\2 of \1"),  # a label of one letter
    (r"\bl([12])\b", r"L\1"),
    (r"\br2\b", "R²"),
    (r"\brms\b", "RMS"),
    (r"^f1 ", "F1 "),
    (r"\bgini\b", "Gini"),
    (r"\bhoyer\b", "Hoyer"),
)


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
        steps: Steps that it can show; none where it shows one.
    """

    slug: str
    kind: Literal["figure", "view", "own", "picture"]
    title: str
    caption: str
    data: Markup
    height: int
    is_wide: bool = False
    least_width: int = 0
    steps: tuple[int, ...] = ()


def card(drawing: Drawing, slug: str, *, is_wide: bool = False) -> Card:
    """The card of one drawing.

    Raises:
        ValueError: A view has an unknown component or a number that is not finite.
    """
    if isinstance(drawing, View):
        return _view_card(drawing, slug)
    figure = plots.as_data(drawing)
    return _figure_card(figure, slug, _take_title(figure["layout"]), is_wide=is_wide)


def sliding_card(drawings: Mapping[int, Drawing], slug: str) -> Card:
    """One figure at several steps, which the page's scrubber moves through with its heading."""
    figures = {
        step: plots.as_data(drawing)
        for step, drawing in drawings.items()
        if not isinstance(drawing, View)
    }
    figure = slides(list(figures.values()), list(figures))
    layout = figure["layout"]
    title, choices = _take_title(layout), layout.pop("sliders")[0]["steps"]
    room = layout["meta"].pop("slider")
    layout["height"] -= room
    layout["margin"] = layout["margin"] | {"b": layout["margin"]["b"] - room}
    by_step = {
        "steps": list(figures),
        "titles": [_plain(choice["args"][1]["title.text"] or title) for choice in choices],
        "visible": [choice["args"][0]["visible"] for choice in choices],
    }
    made = _figure_card(figure | by_step, slug, title, is_wide=False)
    return replace(made, steps=tuple(figures))


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
    is_ours = view.component in OWN
    return Card(
        slug=slug,
        kind="own" if is_ours else "view",
        title=view.title,
        caption=view.caption,
        data=Markup(script_json(view_data(view))),
        height=HEIGHTS.get(view.component, DEFAULT_HEIGHT),
        is_wide=is_ours or len(view.props.get("tokens", ())) > MAX_NARROW_TOKENS,
    )


def _figure_card(figure: dict[str, Any], slug: str, title: str, *, is_wide: bool) -> Card:
    layout = figure["layout"]
    layout["margin"] = layout.get("margin", {}) | {"t": TOP_MARGIN}
    # The legend is on the left, since buttons are on the right.
    layout["legend"] = layout.get("legend", {}) | {"x": 0, "xanchor": "left"}
    parts = {name: figure[name] for name in PARTS if name in figure}
    least_width, has_panels = layout.get("meta", {}).get("least_width", 0), "xaxis2" in layout
    return Card(
        slug=slug,
        kind="figure",
        title=title,
        caption="",
        data=Markup(script_json(_rounded(parts))),
        height=layout.get("height", plots.HEIGHT),
        is_wide=is_wide or has_panels or least_width > HALF_WIDTH,
        least_width=least_width,
    )


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


@dataclass(frozen=True, eq=False)
class Section:
    """A heading with its drawings and numbers.

    Attributes:
        slug: The id of its element on the page.
        title: What was measured.
        lede: One sentence that explains it.
        scope: Split, steps and options with which it was measured.
        source: Paper and equation behind it, and where it differs; empty where it states none.
        findings: What it says, the most important first; each names its drawing by id.
        rank: How early it stands (`interp.runs.importance`).
        cards: Its drawings that its findings name, and its first: as many as fill a row.
        more: Its other drawings, folded away, and its numbers over steps where they change.
        scalars: Rows of name, value at the first step, value at the last step.
        columns: Titles of these two values; the first is empty where there is only one value.
    """

    slug: str
    title: str
    lede: str
    scope: str
    source: str
    findings: tuple[Finding, ...]
    rank: int
    cards: tuple[Card, ...]
    more: tuple[Card, ...]
    scalars: tuple[tuple[str, Any, Any], ...]
    columns: tuple[str, str]

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps that one of its drawings can show."""
        return tuple(sorted({step for card in (*self.cards, *self.more) for step in card.steps}))

    @property
    def is_folded(self) -> bool:
        """Whether a line stands for it until it is opened: it is no own one, or says nothing."""
        says_nothing = bool(self.findings) and all(f.strength == "null" for f in self.findings)
        return says_nothing or self.rank > TASKS_OWN


@dataclass(frozen=True, eq=False)
class History:
    """What a page needs of an analysis' results at all steps, of which each is loaded once.

    Attributes:
        rows: The summary at each step, `step` first.
        slides: Drawings by step, for the figures that have steps.
        first: The result at the first step, if that is another.
        last: The result at the last step.
    """

    rows: list[dict[str, Any]]
    slides: Mapping[int, Mapping[str, Drawing]]
    first: BaseResult | None
    last: BaseResult


def sections(results: Sequence[Saved]) -> tuple[tuple[Section, ...], list[str]]:
    """A section for each saved result, in order of importance.

    Where an analysis has several results, titles say how they differ.

    Returns:
        The sections, and a line on each result that could not be drawn.
    """
    made, faults = [], []
    results = sorted(results, key=lambda saved: importance(saved.cls))
    for index, saved in enumerate(results, start=1):
        try:
            plain, difference = section(saved, f"result-{index}"), _difference(saved, results)
        except Exception as error:  # whatever an analysis raises, the others are drawn
            faults.append(f"{saved.name} cannot be drawn: {error_message(error)}")
        else:
            made.append(
                replace(plain, title=f"{plain.title}: {difference}" if difference else plain.title)
            )
    return tuple(made), faults


def section(saved: Saved, slug: str) -> Section:
    """The section of one saved result.

    Raises:
        ValueError: A result is damaged, or holds something that cannot be drawn.
    """
    title, history = saved.cls.title or readable(saved.name), _history(saved)
    first = history.rows[0] if len(history.rows) > 1 else {}
    places = {name: f"{slug}-{index}" for index, name in enumerate(history.last.figures(), 1)}
    said = stated(saved, history.last, history.first)
    named = [places.get(each.figure, f"{slug}-1") for each in said]
    shown, more = _first_row(list(_drawings(saved, history, slug)), named)
    return Section(
        slug=slug,
        title=title,
        lede=(inspect.getdoc(saved.cls) or "").partition("\n\n")[0].replace("\n", " "),
        scope=_scope(saved),
        source=_source(saved.cls),
        findings=tuple(
            replace(each, figure=figure) for each, figure in zip(said, named, strict=True)
        ),
        rank=importance(saved.cls),
        cards=arranged(shown),
        more=arranged([*more, *_trace(title, history.rows, slug)]),
        scalars=tuple(
            (name, first.get(name), value) for name, value in history.last.summary().items()
        ),
        columns=_columns(saved),
    )


def caption(name: str) -> str:
    """A scalar's name in words, abbreviations written out: `t_train` is `train crossing (step)`."""
    text = plots.words(name)
    for pattern, replacement in CAPTION_RULES:
        text = re.sub(pattern, replacement, text)
    return text


def panel_captions(names: Iterable[str]) -> dict[str, str]:
    """A caption for each name, broken into lines for a small panel.

    Where two captions agree, all names stay as they are.
    """
    captions = {
        name: "<br>".join(textwrap.wrap(caption(name), PANEL_TITLE_LETTERS, break_long_words=False))
        for name in names
    }
    is_distinct = len(set(captions.values())) == len(captions)
    return captions if is_distinct else {name: name for name in captions}


def spread(steps: tuple[int, ...]) -> tuple[int, ...]:
    """The steps that a figure offers: all of a few, otherwise evenly spread from first to last."""
    if len(steps) <= MAX_SLIDES:
        return steps
    places = {round(index * (len(steps) - 1) / (MAX_SLIDES - 1)) for index in range(MAX_SLIDES)}
    return tuple(steps[place] for place in sorted(places))


def _history(saved: Saved) -> History:
    *earlier, last_step = saved.steps or (None,)
    if last_step is None:
        return History([], {}, None, saved.load())
    has_slider = issubclass(saved.cls, Result) and saved.cls.sliding
    chosen = spread(saved.steps) if has_slider and len(saved.steps) > 1 else ()
    rows, slides, first = [], {}, None
    for step in earlier:
        result = saved.load(step)
        first = first or result
        rows.append({"step": step} | result.summary())
        if step in chosen:
            slides[step] = result.figures()
    last = saved.load()
    rows.append({"step": last_step} | last.summary())
    return History(rows, slides, first, last)


def _drawings(saved: Saved, history: History, slug: str) -> Iterator[Card]:
    """The drawings of the last step, some of them at several steps."""
    sliding = saved.cls.sliding if issubclass(saved.cls, Result) else ()
    for index, (name, drawing) in enumerate(history.last.figures().items(), start=1):
        place = f"{slug}-{index}"
        if name in sliding and history.slides and not isinstance(drawing, View):
            steps = {step: drawn[name] for step, drawn in history.slides.items() if name in drawn}
            yield sliding_card(steps | {saved.steps[-1]: drawing}, place)
        else:
            yield card(drawing, place)


def _first_row(cards: Sequence[Card], named: Sequence[str]) -> tuple[list[Card], list[Card]]:
    """The drawings that are shown at once, and the others.

    Args:
        cards: All of a section.
        named: Ids of those that findings name.
    """
    shown, places = [], 0
    for card in sorted(cards, key=lambda card: card.slug not in named):
        width = 2 if card.is_wide else 1
        if not shown or places + width <= 2:
            shown.append(card)
            places += width
    return [card for card in cards if card in shown], [card for card in cards if card not in shown]


def _trace(title: str, rows: list[dict[str, Any]], slug: str) -> Iterator[Card]:
    """The summary's numbers over steps; numbers that never change stand in the table alone."""
    import pandas

    numbers = pandas.DataFrame(rows).select_dtypes("number").dropna(axis="columns", how="all")
    numbers = numbers.loc[:, numbers.nunique(dropna=False) > 1]
    if len(rows) > 1 and len(numbers.columns) > 1:
        named = numbers.rename(columns=panel_captions(map(str, numbers)))
        figure = plots.small_multiples(
            named, x="step", title=f"{title} over training", x_title="step"
        )
        yield card(figure, f"{slug}-trace", is_wide=True)


def _difference(saved: Saved, results: Sequence[Saved]) -> str:
    """The split and options of a result, where the analysis has results with other ones."""
    others = [other for other in results if other.name == saved.name]
    has_other_options = any(other.options != saved.options for other in others)
    has_other_splits = any(other.split != saved.split for other in others)
    options = saved.options.values() if has_other_options else ()
    return ", ".join(map(str, (*[saved.split] * has_other_splits, *options)))


def _scope(saved: Saved) -> str:
    place = f"{saved.split} examples" if saved.steps else f"the whole {WHOLE[saved.split]}"
    n_steps = len(saved.steps)
    steps = f"{n_steps} steps, {saved.steps[0]} to {saved.steps[-1]}" if n_steps > 1 else ""
    options = ", ".join(f"{name} = {value}" for name, value in sorted(saved.options.items()))
    return " · ".join(part for part in (place, steps, options) if part)


def _source(cls: Analysis) -> str:
    """The paragraph of a class' module that states its source."""
    text = inspect.getdoc(inspect.getmodule(cls)) or ""
    match = SOURCE.search(text)
    return match[1].replace("\n", " ") if match else ""


def _columns(saved: Saved) -> tuple[str, str]:
    steps = saved.steps
    last = f"step {steps[-1]}" if steps else f"whole {WHOLE[saved.split]}"
    if len(steps) < 2:
        return "", last
    return "untrained (step 0)" if steps[0] == 0 else f"step {steps[0]}", last
