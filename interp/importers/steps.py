"""Which step a file is of: what its name or its content says, or nothing.

A number is read where it can be read in one way only: digits that stand alone after a word such as
`step`. `step_10k`, `step_1e3`, `step_1,000`, `step_1_000` and `step_1.5` begin with digits too, and
would be steps 10, 1, 1, 1 and 1; they are not read at all.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

MAX_STEP = 10**12

# From the surest to the least: `epoch=10-step=5000` is of step 5000.
WORDS = ("step", "iter", "epoch", "checkpoint")
NAMED = re.compile(
    r"(?<![a-z])(?P<word>step|iter|epoch|checkpoint|ckpt)(?:ation)?s?"
    r"(?P<between>[-_ =]*)(?P<number>[0-9][^-_ =]*)(?P<after>[-_ =]?[0-9]?)"
)
# One number alone in a name: what stands before it and after it.
ALONE = re.compile(
    r"(?P<before>(?:[^0-9]*[^0-9.,+])?)(?P<number>[0-9]+)(?P<after>(?:[-_ .=][^0-9]*)?)"
)


def step_in_name(stem: str) -> int | None:
    """The step that a file's name states: `1000`, `step_1000`, `epoch-1000`; otherwise None.

    Raises:
        ValueError: It states a step that is not read: a number written otherwise, or two.
    """
    if _is_digits(stem):
        return _step(stem, stem)
    found: dict[str, list[str]] = {}
    for match in NAMED.finditer(stem.lower()):
        word = "checkpoint" if match["word"] == "ckpt" else match["word"]
        found.setdefault(word, []).append(_plain(match, stem))
    numbers = next((found[word] for word in WORDS if word in found), [])
    steps = {_step(number, stem) for number in numbers}
    if len(steps) > 1:
        raise ValueError(f"its name states {len(steps)} steps, {' and '.join(numbers)}")
    return next(iter(steps), None)


def steps_in_names(files: Sequence[Path]) -> dict[Path, int]:
    """Steps of files whose names differ in one number and in nothing else, such as model20.pt.

    One such file alone says nothing: 113 in grok_113.pth may be anything.
    """
    matches = {file: ALONE.fullmatch(file.stem) for file in files}
    around = {file: (match["before"], match["after"]) for file, match in matches.items() if match}
    alike = Counter(around.values())
    return {
        file: int(match["number"])
        for file, match in matches.items()
        if match and alike[around[file]] > 1 and int(match["number"]) <= MAX_STEP
    }


def whole(value: Any) -> int | None:
    """A number as a step; None where it is no whole number from 0 to MAX_STEP."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= MAX_STEP and value == int(value) else None


def step_inside(content: Mapping[Any, Any], names: Sequence[str]) -> dict[str, int]:
    """The steps that a file of one model states inside, by the name they stand under."""
    found = {name: whole(content[name]) for name in names if name in content}
    return {name: step for name, step in found.items() if step is not None}


def _plain(match: re.Match[str], stem: str) -> str:
    """The digits after a word, where nothing before or after makes another number of them."""
    number, dot, rest = match["number"].partition(".")
    is_suffix = dot and rest[:1].isalpha()  # step_1000.ema
    is_alone = _is_digits(number) and (not dot or is_suffix) and len(match["between"]) <= 1
    if not is_alone or match["after"][-1:].isdecimal():
        written = match["between"] + match["number"] + match["after"]
        raise ValueError(f"'{match['word']}{written}' in {stem} is no plain whole number")
    return number


def _step(digits: str, stem: str) -> int:
    if int(digits) > MAX_STEP:
        raise ValueError(f"{digits} in {stem} is more than {MAX_STEP}")
    return int(digits)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
