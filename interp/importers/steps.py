"""The step of a file's model, as the file's name or its content states it.

A number is read only where it has one possible meaning: digits that stand alone after a word such
as `step`. `step_10k`, `step_1e3`, `step_1,000`, `step_1_000` and `step_1.5` begin with digits too,
which would be steps 10, 1, 1, 1 and 1; they are not read at all.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

MAX_STEP = 10**12

# The surest word first: `epoch=10-step=5000` is of step 5000.
WORDS = ("step", "iter", "epoch", "checkpoint")
NAMED = re.compile(
    r"(?<![a-z])(?P<word>step|iter|epoch|checkpoint|ckpt)(?:ation)?s?"
    r"(?P<between>[-_ =]*)(?P<number>[0-9][^-_ =]*)(?P<after>[-_ =]?[0-9]?)"
)
# A name with a single number, and what stands before and after the number.
ALONE = re.compile(
    r"(?P<before>(?:[^0-9]*[^0-9.,+])?)(?P<number>[0-9]+)(?P<after>(?:[-_ .=][^0-9]*)?)"
)


def step_in_name(stem: str) -> int | None:
    """The step that a file's name states: `1000`, `step_1000`, `epoch-1000`; otherwise None.

    Raises:
        ValueError: It states two steps, or one that is not read because it is written otherwise.
    """
    if _is_digits(stem):
        return _step(stem, stem)
    by_word: dict[str, list[str]] = {}
    for match in NAMED.finditer(stem.lower()):
        word = "checkpoint" if match["word"] == "ckpt" else match["word"]
        by_word.setdefault(word, []).append(_plain(match, stem))
    numbers = next((by_word[word] for word in WORDS if word in by_word), [])
    steps = {_step(number, stem) for number in numbers}
    if len(steps) > 1:
        raise ValueError(f"its name states {len(steps)} steps, {' and '.join(numbers)}")
    return next(iter(steps), None)


def steps_in_names(files: Sequence[Path]) -> dict[Path, int]:
    """Steps of files whose names differ only in one number, such as model20.pt and model40.pt.

    The number in a single file's name is no step: 113 in grok_113.pth may mean anything.
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
    """A value as a step; None unless it is a whole number from 0 to MAX_STEP."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= MAX_STEP and value == int(value) else None


def step_inside(content: Mapping[Any, Any], names: Sequence[str]) -> dict[str, int]:
    """The steps that a file's content states, under the names that the file gives them."""
    steps = {name: whole(content[name]) for name in names if name in content}
    return {name: step for name, step in steps.items() if step is not None}


def _plain(match: re.Match[str], stem: str) -> str:
    """The digits after a word, unless what stands around them makes them another number."""
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
