"""Names of scalars as captions: what the abbreviations in them stand for.

A scalar's name is words joined by underscores (`logit_fve_key`, `t_train`). The rules are about
such words, whatever analysis they come from; a name that none of them fits is read as it is.
"""

import re
import textwrap
from collections.abc import Iterable

from analyses.plots.style import words

LETTERS = 24  # of a line above a small panel

# Each is tried on what those before it left.
RULES = (
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


def caption(name: str) -> str:
    """A scalar's name to be read: `t_train` is `train crossing (step)`."""
    text = words(name)
    for pattern, meaning in RULES:
        text = re.sub(pattern, meaning, text)
    return text


def panel_captions(names: Iterable[str]) -> dict[str, str]:
    """A caption a name, in as many lines as a small panel needs; where two agree, the names."""
    lines = {name: textwrap.wrap(caption(name), LETTERS, break_long_words=False) for name in names}
    found = {name: "<br>".join(each) for name, each in lines.items()}
    return found if len(set(found.values())) == len(found) else {name: name for name in found}
