"""The content of a file: checkpoints by step, losses by step, a config, and the training pairs.

Authors use different names; those that are known are in the tables below. Steps are numbered as in
the archive. Both public codes save checkpoint e after the update of epoch e, so that it has had
e + 1 updates. An archive's notes say what had to be assumed.

A step is read off a file's name only where its digits have one possible meaning, alone after a word
such as `step`. `step_10k`, `step_1e3`, `step_1,000`, `step_1_000` and `step_1.5` begin with digits
too, which would be steps 10, 1, 1, 1 and 1; they are not read at all.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from interp.importers.layouts import State
from interp.importers.layouts.base import listed, unwrapped
from interp.importers.layouts.nanogpt import MODEL_ARGS
from interp.importers.reading import (
    TABLE_SUFFIXES,
    TENSOR_SUFFIXES,
    is_table,
    read_file,
    read_table,
)

# The names that different codes give to the same thing in their files.
STATE_LISTS = ("checkpoints", "state_dicts")
STEPS = ("checkpoint_epochs", "epochs", "steps")
STEP = ("epoch", "step", "iter_num")
MODEL = ("model", "state_dict", "model_state_dict")
CONFIG = ("config", "cfg")
TRAINED_ON = ("train_indices", "train_data")
TESTED_ON = ("test_indices", "test_data")
METRICS = {
    "train_losses": "train.loss",
    "test_losses": "test.loss",
    "train_loss": "train.loss",
    "test_loss": "test.loss",
    "train_accuracies": "train.accuracy",
    "test_accuracies": "test.accuracy",
}
MAX_STEP = 10**12  # the largest step that a file may state
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


@dataclass(frozen=True, eq=False)
class Archive:
    """The content of one file.

    Attributes:
        path: The file.
        checkpoints: For each step, the parameters under the file's names.
        config: The options of the model that the file states, or None.
        metrics: For each column of metrics.jsonl, values by step.
        trained_on: Indices or tokens of the training examples as they are stored, or None.
        tested_on: The same for the test examples.
        notes: What was assumed about the file, or left out.
        unplaced: The parameters of a file that does not say its step; None if it does.
        placed: The step that was given to such parameters.
    """

    path: Path
    checkpoints: Mapping[int, State]
    config: Mapping[str, Any] | None = None
    metrics: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    trained_on: Any = None
    tested_on: Any = None
    notes: tuple[str, ...] = ()
    unplaced: State | None = None
    placed: int | None = None

    def at_step(self, step: int) -> "Archive":
        """The archive with the parameters that say no step placed at one."""
        assert self.unplaced is not None
        notes = (*self.notes, f"nothing in the file says its step, which is kept as {step}")
        checkpoints = {step: self.unplaced}
        return replace(self, checkpoints=checkpoints, notes=notes, unplaced=None, placed=step)

    def step_unknown(self) -> ValueError:
        """What is said where parameters of an unknown step are to be kept."""
        return ValueError(
            f"{self.path}: which step is it of? give --step, or rename it, such as "
            f"step_1000{self.path.suffix}"
        )


def archives(source: Path) -> Iterator[Archive]:
    """The archive of a file, or of each file of a folder in order of the numbers in their names.

    In a folder, a file without a step is read only for the split that it states. Such a file is
    `init.pth`, which the progress-measures code writes before the first update. A file alone may
    be without one: it can be asked for.

    Raises:
        FileNotFoundError: There is nothing to read.
        ValueError: A file cannot be read, or its content is unknown.
    """
    if not source.is_dir():
        yield read_archive(source)
        return
    files = [
        file
        for file in source.iterdir()
        if file.suffix in TENSOR_SUFFIXES and file.stem != "config"
    ]
    if not files:
        raise FileNotFoundError(f"{source} holds no {', '.join(TENSOR_SUFFIXES)} file")
    numbers = steps_in_names(files)
    for file in sorted(files, key=lambda file: (numbers.get(file, -1), file.name)):
        archive = read_archive(file, number=numbers.get(file))
        if archive.unplaced is not None and archive.trained_on is None:
            raise archive.step_unknown()
        yield archive


def folder_config(source: Path) -> dict[str, Any] | None:
    """The content of config.json, .toml, .pt or .pth in a folder of checkpoints, or None.

    Raises:
        ValueError: There are two, or it cannot be read.
    """
    configs = [file for suffix in TABLE_SUFFIXES if (file := source / f"config{suffix}").is_file()]
    if len(configs) > 1:
        raise ValueError(f"{configs[0]} and {configs[1].name} are two configs: move one away")
    return read_table(configs[0]) if configs else None


def read_archive(path: Path, number: int | None = None) -> Archive:
    """The archive of one file, without checkpoints where nothing tells their step.

    Args:
        path: The file.
        number: The step, used where neither the file's name nor its content states it.

    Raises:
        ValueError: It cannot be read, holds no state_dict, or has a step that cannot be read.
    """
    content = read_file(path)
    try:
        return _archive(path, {"model": content} if is_state(content) else content, number)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def is_state(content: Any) -> bool:
    """Whether content is a state_dict: tensors by name."""
    return (
        is_table(content)
        and len(content) > 0
        and all(isinstance(value, Tensor) for value in content.values())
    )


def _archive(path: Path, content: Any, number: int | None) -> Archive:
    if not isinstance(content, Mapping):
        raise ValueError(f"holds a {type(content).__name__}, not a state_dict or a table of them")
    checkpoints, unplaced, step_notes = _checkpoints(path, content, number)
    metrics, metric_notes = _placed(content, tuple(checkpoints))
    # nanoGPT keeps the model's options apart from its `config`, which is of the training.
    config = content[MODEL_ARGS] if MODEL_ARGS in content else _only(content, CONFIG)
    if config is not None and not is_table(config):
        raise ValueError(f"its config is a {type(config).__name__}, not a table of options by name")
    return Archive(
        path=path,
        checkpoints=checkpoints,
        config=config,
        metrics=metrics,
        trained_on=next((content[name] for name in TRAINED_ON if name in content), None),
        tested_on=next((content[name] for name in TESTED_ON if name in content), None),
        notes=tuple(f"{note} ({path.name})" for note in (*step_notes, *metric_notes)),
        unplaced=unplaced,
    )


def _only(content: Mapping[Any, Any], names: Sequence[str]) -> Any:
    """The value under one of several names for the same thing, or None.

    Raises:
        ValueError: There are values under two of the names.
    """
    used = [name for name in names if content.get(name) is not None]
    if len(used) > 1:
        raise ValueError(f"holds {' and '.join(used)}: save it again with the one that counts")
    return content[used[0]] if used else None


def _checkpoints(
    path: Path, content: Mapping[Any, Any], number: int | None
) -> tuple[dict[int, State], State | None, list[str]]:
    """Parameters by step, those of an unknown step, and notes about the steps."""
    states = _only(content, STATE_LISTS)
    if states is not None:
        return _list_of_checkpoints(states, content), None, []
    states = {name: content[name] for name in MODEL if is_state(content.get(name))}
    if not states:
        raise ValueError(
            f"no state_dict under {', '.join((*STATE_LISTS, *MODEL))}; it holds "
            f"{listed([str(key) for key in content])}"
        )
    # The steps that the content states, under the names that the file gives them.
    inside = {name: step for name in STEP if (step := as_step(content.get(name))) is not None}
    step, notes = _step(path, inside, number)
    state = unwrapped(_only(states, MODEL))
    return ({}, state, notes) if step is None else ({step: state}, None, notes)


def _step(
    path: Path, inside: Mapping[str, int], number: int | None
) -> tuple[int | None, list[str]]:
    """The step of a file's only model: from its name, its content, or the number in its name."""
    try:
        named = step_in_name(path.stem)
    except ValueError as error:
        if not inside:
            raise ValueError(f"{error}: rename it, such as step_1000{path.suffix}") from None
        name, step = next(iter(inside.items()))
        return step, [f"step {step}, its {name}, since {error}"]
    step = next((step for step in (named, *inside.values(), number) if step is not None), None)
    if named is None and not inside and number is not None:
        return step, ["steps taken to be the one number in each file's name"]
    others = {name: other for name, other in inside.items() if other != step}
    return step, [f"step {step}, though its {name} is {other}" for name, other in others.items()]


def _list_of_checkpoints(states: Any, content: Mapping[Any, Any]) -> dict[int, State]:
    """Parameters by step, of a file that holds a list of state_dicts and a list of their steps."""
    name = next(name for name in STATE_LISTS if content.get(name) is not None)
    if not isinstance(states, Sequence) or not states or not all(map(is_state, states)):
        raise ValueError(f"{name} is not a list of state_dicts")
    steps = next((content[name] for name in (*STEPS, *STEP) if name in content), None)
    if isinstance(steps, Tensor):
        steps = steps.tolist()
    if not isinstance(steps, Sequence) or len(steps) != len(states):
        count = len(steps) if isinstance(steps, Sequence) else "no"
        raise ValueError(
            f"{name} holds {len(states)} state_dicts and {STEPS[0]} {count} steps; add the list "
            f"{STEPS[0]} with one number each and save again"
        )
    numbers = [as_step(step) for step in steps]
    if None in numbers or len(set(numbers)) < len(numbers):
        raise ValueError(
            f"the steps of {name} are not distinct whole numbers: {str(list(steps[:6]))[:200]}"
        )
    return {
        step: unwrapped(state)
        for step, state in zip(numbers, states, strict=True)
        if step is not None
    }


def _placed(
    content: Mapping[Any, Any], steps: tuple[int, ...]
) -> tuple[dict[str, dict[int, float]], list[str]]:
    """Metrics by column and step, and notes about their steps."""
    lists = {name: _numbers(content[name], name) for name in METRICS if name in content}
    longest = max(map(len, lists.values()), default=0)
    gap = max((after - before for before, after in pairwise(sorted(steps))), default=1)
    placed: dict[str, dict[int, float]] = {}
    notes = []
    for name, values in lists.items():
        places = _places(len(values), steps, longest)
        if places is None:
            notes.append(f"{name} left out: the steps of its {len(values)} entries cannot be told")
            continue
        placed.setdefault(METRICS[name], {}).update(zip(places, values, strict=True))
        if isinstance(places, range) and (places.step > 1 or longest > max(steps) + gap):
            notes.append(
                f"{name} taken to be one every {places.step} steps, from 0 to {places[-1]}"
            )
    return placed, notes


def _places(count: int, steps: tuple[int, ...], longest: int) -> Sequence[int] | None:
    """The steps of a list of values: those of the checkpoints, or every k-th step; None if unknown.

    The longest list has a value for each step. A list with every k-th step has longest / k values,
    rounded up. Where several k give this count, and none of them divides the longest length, k is
    unknown.
    """
    if not steps or not count:
        return None
    if count == len(steps) and count != max(steps) + 1:
        return steps
    if longest < max(steps) or (count == 1 and longest > 1):
        return None
    every = _rounded_up(longest, count)
    is_known = longest % count == 0 or _rounded_up(longest, every + 1) < count
    return range(0, longest, every) if is_known and _rounded_up(longest, every) == count else None


def _rounded_up(number: int, divisor: int) -> int:
    return -(-number // divisor)


def _numbers(values: Any, name: str) -> list[float]:
    if isinstance(values, Tensor):
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, str):
        values = [values]
    if not all(
        isinstance(value, int | float)
        or (isinstance(value, Tensor) and value.ndim == 0 and not value.is_complex())
        for value in values
    ):
        raise ValueError(f"{name} is neither a number nor a list of numbers")
    try:
        return [float(value) for value in values]
    except OverflowError:
        raise ValueError(f"{name} holds a number beyond floating point") from None


def step_in_name(stem: str) -> int | None:
    """The step that a file's name states: `1000`, `step_1000`, `epoch-1000`; otherwise None.

    Raises:
        ValueError: It states two steps, or one that is not read because it is written otherwise.
    """
    if _is_digits(stem):
        return _small_enough(stem, stem)
    by_word: dict[str, list[str]] = {}
    for match in NAMED.finditer(stem.lower()):
        word = "checkpoint" if match["word"] == "ckpt" else match["word"]
        by_word.setdefault(word, []).append(_plain(match, stem))
    numbers = next((by_word[word] for word in WORDS if word in by_word), [])
    steps = {_small_enough(number, stem) for number in numbers}
    if len(steps) > 1:
        raise ValueError(f"its name states {len(steps)} steps, {' and '.join(numbers)}")
    return next(iter(steps), None)


def steps_in_names(files: Sequence[Path]) -> dict[Path, int]:
    """Steps of files whose names differ only in one number, such as model20.pt and model40.pt.

    The number in a single file's name is no step: 113 in grok_113.pth may mean anything.
    """
    matches = {file: ALONE.fullmatch(file.stem) for file in files}
    around = {file: (match["before"], match["after"]) for file, match in matches.items() if match}
    n_files = Counter(around.values())
    return {
        file: int(match["number"])
        for file, match in matches.items()
        if match and n_files[around[file]] > 1 and int(match["number"]) <= MAX_STEP
    }


def as_step(value: Any) -> int | None:
    """A value as a step; None unless it is a whole number from 0 to MAX_STEP."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= MAX_STEP and value == int(value) else None


def _plain(match: re.Match[str], stem: str) -> str:
    """The digits after a word, unless what stands around them makes them another number."""
    number, dot, rest = match["number"].partition(".")
    is_suffix = dot and rest[:1].isalpha()  # step_1000.ema
    is_alone = _is_digits(number) and (not dot or is_suffix) and len(match["between"]) <= 1
    if not is_alone or match["after"][-1:].isdecimal():
        written = "".join(match.group("word", "between", "number", "after"))
        raise ValueError(f"'{written}' in {stem} is no plain whole number")
    return number


def _small_enough(digits: str, stem: str) -> int:
    if int(digits) > MAX_STEP:
        raise ValueError(f"{digits} in {stem} is more than {MAX_STEP}")
    return int(digits)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
