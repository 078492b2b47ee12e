"""Saved results as sections of a page: drawings, curves over steps, numbers and their captions."""

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from analyses import plots
from analyses.plots.style import words
from analyses.result import BaseResult, Drawing, Result, readable
from interp.pages.cards import Card, arranged, card, sliding_card
from interp.runs.current import in_a_line
from interp.runs.results import Saved

WHOLE = {"series": "run", "sweep": "sweep"}  # what a result without steps is of, by its split
MAX_SLIDES = 24  # with more, a slider's stops are closer than a fingertip is wide
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


@dataclass(frozen=True, eq=False)
class Section:
    """A heading with its drawings and numbers.

    Attributes:
        slug: The id of its element on the page.
        title: What was measured.
        lede: One sentence that explains it.
        scope: Split, steps and options with which it was measured.
        cards: Its drawings.
        scalars: Rows of name, value at the first step, value at the last step.
        columns: Titles of these two values; the first is empty where there is only one value.
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
    """What a page needs of an analysis' results at all steps, of which each is loaded once.

    Attributes:
        rows: The summary at each step, `step` first.
        slides: Drawings by step, for the figures that have a slider.
        last: The result at the last step.
    """

    rows: list[dict[str, Any]]
    slides: Mapping[int, Mapping[str, Drawing]]
    last: BaseResult


def sections(results: Sequence[Saved]) -> tuple[tuple[Section, ...], list[str]]:
    """A section for each saved result; where an analysis has several, titles say how they differ.

    Returns:
        The sections, and a line on each result that could not be drawn.
    """
    made, faults = [], []
    for index, saved in enumerate(results, start=1):
        try:
            plain, difference = section(saved, f"result-{index}"), _difference(saved, results)
        except Exception as error:  # whatever an analysis raises, the others are drawn
            faults.append(f"{saved.name} cannot be drawn: {in_a_line(error)}")
            continue
        title = f"{plain.title}: {difference}" if difference else plain.title
        made.append(replace(plain, title=title))
    return tuple(made), faults


def section(saved: Saved, slug: str) -> Section:
    """The section of one saved result.

    Raises:
        ValueError: A result is damaged, or holds something that cannot be drawn.
    """
    history = _history(saved)
    title = saved.cls.title or readable(saved.name)
    last = history.last.summary()
    first = history.rows[0] if len(history.rows) > 1 else {}
    return Section(
        slug=slug,
        title=title,
        lede=(inspect.getdoc(saved.cls) or "").partition("\n\n")[0].replace("\n", " "),
        scope=_scope(saved),
        cards=arranged([*_drawings(saved, history, slug), *_trace(title, history.rows, slug)]),
        scalars=tuple((name, first.get(name), value) for name, value in last.items()),
        columns=_columns(saved),
    )


def caption(name: str) -> str:
    """A scalar's name in words, abbreviations written out: `t_train` is `train crossing (step)`."""
    text = words(name)
    for pattern, replacement in CAPTION_RULES:
        text = re.sub(pattern, replacement, text)
    return text


def panel_captions(names: Iterable[str]) -> dict[str, str]:
    """A caption for each name, broken into lines for a small panel.

    Where two captions agree, all names stay as they are.
    """
    lines = {
        name: textwrap.wrap(caption(name), PANEL_TITLE_LETTERS, break_long_words=False)
        for name in names
    }
    captions = {name: "<br>".join(parts) for name, parts in lines.items()}
    is_distinct = len(set(captions.values())) == len(captions)
    return captions if is_distinct else {name: name for name in captions}


def spread(steps: tuple[int, ...]) -> tuple[int, ...]:
    """The steps that a slider offers: all of a few, otherwise evenly spread from first to last."""
    if len(steps) <= MAX_SLIDES:
        return steps
    places = {round(index * (len(steps) - 1) / (MAX_SLIDES - 1)) for index in range(MAX_SLIDES)}
    return tuple(steps[place] for place in sorted(places))


def _history(saved: Saved) -> History:
    *earlier, last_step = saved.steps or (None,)
    if last_step is None:
        return History([], {}, saved.load())
    has_slider = issubclass(saved.cls, Result) and saved.cls.sliding
    chosen = spread(saved.steps) if has_slider and len(saved.steps) > 1 else ()
    rows, slides = [], {}
    for step in earlier:
        result = saved.load(step)
        rows.append({"step": step} | result.summary())
        if step in chosen:
            slides[step] = result.figures()
    last = saved.load()
    rows.append({"step": last_step} | last.summary())
    return History(rows, slides, last)


def _drawings(saved: Saved, history: History, slug: str) -> Iterator[Card]:
    """The drawings of the last step, some of them with a slider over steps."""
    sliding = saved.cls.sliding if issubclass(saved.cls, Result) else ()
    for index, (name, drawing) in enumerate(history.last.figures().items(), start=1):
        place = f"{slug}-{index}"
        if name in sliding and history.slides and isinstance(drawing, plots.Figure):
            steps = {step: drawn[name] for step, drawn in history.slides.items() if name in drawn}
            yield sliding_card(steps | {saved.steps[-1]: drawing}, place)
        else:
            yield card(drawing, place)


def _trace(title: str, rows: list[dict[str, Any]], slug: str) -> Iterator[Card]:
    """The summary's numbers over steps; numbers that never change stand in the table alone."""
    frame = pd.DataFrame(rows)
    numbers = frame.select_dtypes("number").dropna(axis="columns", how="all")
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
    options = [*saved.options.values()] if has_other_options else []
    return ", ".join(map(str, [saved.split, *options] if has_other_splits else options))


def _scope(saved: Saved) -> str:
    place = f"{saved.split} examples" if saved.steps else f"the whole {WHOLE[saved.split]}"
    count = len(saved.steps)
    steps = f"{count} steps, {saved.steps[0]} to {saved.steps[-1]}" if count > 1 else ""
    options = ", ".join(f"{name} = {value}" for name, value in sorted(saved.options.items()))
    return " · ".join(part for part in (place, steps, options) if part)


def _columns(saved: Saved) -> tuple[str, str]:
    steps = saved.steps
    last = f"step {steps[-1]}" if steps else f"whole {WHOLE[saved.split]}"
    if len(steps) < 2:
        return "", last
    return "untrained (step 0)" if steps[0] == 0 else f"step {steps[0]}", last
