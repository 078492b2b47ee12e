"""Saved results as sections of a page: drawings, traces over steps, numbers."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from analyses import plots
from analyses.result import BaseResult, Drawing, Result
from interp.measure.outcomes import in_a_line
from interp.pages.captions import panel_captions
from interp.pages.cards import Card, arranged, card, sliding_card
from interp.runs.results import Saved

WHOLE = {"series": "run", "sweep": "sweep"}
SLIDES = 24  # more than that and a slider's stops are closer than a fingertip


@dataclass(frozen=True, eq=False)
class Section:
    """A heading with its drawings and numbers.

    Attributes:
        slug: Its place on the page.
        title: What was measured.
        lede: One sentence on what that is.
        scope: Split, steps and options it was measured with.
        cards: Its drawings.
        scalars: Rows of name, value at the first step, value at the last.
        columns: Titles of those two values; the first is empty where there is one value only.
    """

    slug: str
    title: str
    lede: str
    scope: str
    cards: tuple[Card, ...]
    scalars: tuple[tuple[str, Any, Any], ...]
    columns: tuple[str, str]


@dataclass(frozen=True, eq=False)
class History:
    """What a page needs of one result at every step, each loaded once.

    Attributes:
        rows: The summaries, `step` first.
        slides: Drawings by step, for the figures that slide.
        last: The result at the last step.
    """

    rows: list[dict[str, Any]]
    slides: Mapping[int, Mapping[str, Drawing]]
    last: BaseResult


def sections(found: Sequence[Saved]) -> tuple[tuple[Section, ...], list[str]]:
    """One a saved result; where an analysis has several, titles tell in what they differ.

    Returns:
        The sections, and a line on each result that could not be drawn.
    """
    made, faults = [], []
    for index, each in enumerate(found, start=1):
        try:
            one, own = section(each, f"result-{index}"), _own(each, found)
        except Exception as error:  # whatever an analysis raises, the others are drawn
            faults.append(f"{each.name} cannot be drawn: {in_a_line(error)}")
            continue
        made.append(replace(one, title=f"{one.title}: {own}") if own else one)
    return tuple(made), faults


def section(each: Saved, slug: str) -> Section:
    """The section of one saved result.

    Raises:
        ValueError: A result is damaged, or holds something that cannot be drawn.
    """
    history = _history(each)
    title = each.cls.title or readable(each.name)
    last = history.last.summary()
    first = history.rows[0] if len(history.rows) > 1 else {}
    return Section(
        slug=slug,
        title=title,
        lede=(inspect.getdoc(each.cls) or "").partition("\n\n")[0].replace("\n", " "),
        scope=_scope(each),
        cards=arranged([*_drawings(each, history, slug), *_trace(title, history.rows, slug)]),
        scalars=tuple((name, first.get(name), value) for name, value in last.items()),
        columns=_columns(each),
    )


def readable(name: str) -> str:
    """A class name as words: `FourierSpectrum` is `Fourier spectrum`."""
    first, *rest = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+|[0-9]+", name) or [name]
    return " ".join([first, *(word if word.isupper() else word.lower() for word in rest)])


def spread(steps: tuple[int, ...]) -> tuple[int, ...]:
    """As many steps as a slider can offer: evenly spread, the first and the last among them."""
    if len(steps) <= SLIDES:
        return steps
    places = {round(index * (len(steps) - 1) / (SLIDES - 1)) for index in range(SLIDES)}
    return tuple(steps[place] for place in sorted(places))


def _history(each: Saved) -> History:
    *earlier, last_step = each.steps or (None,)
    if last_step is None:
        return History([], {}, each.load())
    sliding = issubclass(each.cls, Result) and each.cls.sliding
    chosen = spread(each.steps) if sliding and len(each.steps) > 1 else ()
    rows, slides = [], {}
    for step in earlier:
        result = each.load(step)
        rows.append({"step": step} | result.summary())
        if step in chosen:
            slides[step] = result.figures()
    last = each.load()
    rows.append({"step": last_step} | last.summary())
    return History(rows, slides, last)


def _drawings(each: Saved, history: History, slug: str) -> Iterator[Card]:
    """The last step's drawings; those that slide have a slider."""
    sliding = each.cls.sliding if issubclass(each.cls, Result) else ()
    for index, (name, drawing) in enumerate(history.last.figures().items(), start=1):
        place = f"{slug}-{index}"
        if name in sliding and history.slides and isinstance(drawing, plots.Figure):
            steps = {step: drawn[name] for step, drawn in history.slides.items() if name in drawn}
            yield sliding_card(steps | {each.steps[-1]: drawing}, place)
        else:
            yield card(drawing, place)


def _trace(title: str, rows: list[dict[str, Any]], slug: str) -> Iterator[Card]:
    """The summary's numbers over steps; what never changes stands in the table of numbers."""
    frame = pd.DataFrame(rows)
    numbers = frame.select_dtypes("number").dropna(axis="columns", how="all")
    numbers = numbers.loc[:, numbers.nunique(dropna=False) > 1]
    if len(rows) > 1 and len(numbers.columns) > 1:
        named = numbers.rename(columns=panel_captions(map(str, numbers)))
        figure = plots.small_multiples(
            named, x="step", title=f"{title} over training", x_title="step"
        )
        yield card(figure, f"{slug}-trace", is_wide=True)


def _own(each: Saved, found: Sequence[Saved]) -> str:
    """Split and options of a result, as far as its analysis has others."""
    alike = [other for other in found if other.name == each.name]
    options = [*each.options.values()] if any(o.options != each.options for o in alike) else []
    splits = [each.split] if any(other.split != each.split for other in alike) else []
    return ", ".join(map(str, [*splits, *options]))


def _scope(each: Saved) -> str:
    place = f"{each.split} examples" if each.steps else f"the whole {WHOLE[each.split]}"
    count = len(each.steps)
    steps = f"{count} steps, {each.steps[0]} to {each.steps[-1]}" if count > 1 else ""
    options = ", ".join(f"{name} = {value}" for name, value in sorted(each.options.items()))
    return " · ".join(part for part in (place, steps, options) if part)


def _columns(each: Saved) -> tuple[str, str]:
    steps = each.steps
    last = f"step {steps[-1]}" if steps else f"whole {WHOLE[each.split]}"
    if len(steps) < 2:
        return "", last
    return "untrained (step 0)" if steps[0] == 0 else f"step {steps[0]}", last
