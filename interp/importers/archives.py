"""What a file holds: checkpoints by step, losses by step, a config, the pairs trained on.

Authors name things differently; the names that are known are in the tables below. Steps are the
archive's own numbers. Both public codes keep a checkpoint numbered e after the update of epoch e,
so that it has had e + 1 updates.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from interp.importers.layouts import State, some
from interp.importers.reading import TABLE_SUFFIXES, TENSOR_SUFFIXES, read_file, read_table

SERIES = ("checkpoints", "state_dicts")
STEPS = ("checkpoint_epochs", "epochs", "steps", "epoch", "step")
MODEL = ("model", "state_dict", "model_state_dict")
CONFIG = ("config", "cfg")
TRAINED_ON = ("train_indices", "train_data")
TESTED_ON = ("test_indices", "test_data")
METRICS = {
    "train_losses": "train.loss", "test_losses": "test.loss",
    "train_loss": "train.loss", "test_loss": "test.loss",
    "train_accuracies": "train.accuracy", "test_accuracies": "test.accuracy",
}  # fmt: skip
STEP_IN_NAME = re.compile(r"(?:^|[^a-z])(?:step|epoch|iter|iteration|checkpoint|ckpt)[-_ =]?(\d+)")


@dataclass(frozen=True, eq=False)
class Archive:
    """What one file holds.

    Attributes:
        path: The file.
        checkpoints: Parameters, as the file names them, by step.
        config: What it says of the model, or None.
        metrics: Values by step, by column of metrics.jsonl.
        trained_on: Indices of the training examples or their tokens, as stored, or None.
        tested_on: The same of the test examples.
        unplaced: Lists of metrics whose steps cannot be told.
        is_stepless: Whether its parameters are of no known step, and so left out.
    """

    path: Path
    checkpoints: Mapping[int, State]
    config: Mapping[str, Any] | None = None
    metrics: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    trained_on: Any = None
    tested_on: Any = None
    unplaced: tuple[str, ...] = ()
    is_stepless: bool = False


def archives(source: Path) -> Iterator[Archive]:
    """A file, or the files of a folder one after the other, in order of their names' numbers.

    In a folder, a file of no step that states the split is read for that alone: `init.pth`, which
    the progress-measures code writes before the first update, beside a file an epoch.

    Raises:
        FileNotFoundError: There is nothing to read.
        ValueError: A file cannot be read, or holds nothing that is known.
    """
    if not source.is_dir():
        yield _with_step(read_archive(source))
        return
    files = [
        file
        for file in source.iterdir()
        if file.suffix in TENSOR_SUFFIXES and file.stem != "config"
    ]
    if not files:
        raise FileNotFoundError(f"{source} holds no {', '.join(TENSOR_SUFFIXES)} file")
    for file in sorted(files, key=lambda file: (_number(file.stem) or -1, file.name)):
        archive = read_archive(file, number=_number(file.stem))
        yield archive if archive.trained_on is not None else _with_step(archive)


def folder_config(source: Path) -> dict[str, Any] | None:
    """The config.json, .toml, .pt or .pth of a folder of checkpoints, or None."""
    files = [source / f"config{suffix}" for suffix in TABLE_SUFFIXES]
    found = next((file for file in files if file.is_file()), None)
    return None if found is None else read_table(found)


def read_archive(path: Path, number: int | None = None) -> Archive:
    """What one file holds; no checkpoints where nothing says their step.

    Args:
        path: The file.
        number: The step, where neither the file's name nor what it holds says it.

    Raises:
        ValueError: It cannot be read, or holds no state_dict.
    """
    content = read_file(path)
    try:
        return _archive(path, {"model": content} if is_state(content) else content, number)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def is_state(content: Any) -> bool:
    """Whether something is a state_dict: tensors by name."""
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(name, str) for name in content)
        and all(isinstance(value, Tensor) for value in content.values())
    )


def _with_step(archive: Archive) -> Archive:
    if archive.is_stepless:
        suffix = archive.path.suffix
        raise ValueError(
            f"{archive.path}: which step is it of? rename it, such as step_1000{suffix}"
        )
    return archive


def _archive(path: Path, content: Any, number: int | None) -> Archive:
    if not isinstance(content, Mapping):
        raise ValueError(f"holds a {type(content).__name__}, not a state_dict or a table of them")
    checkpoints = _checkpoints(path, content, number)
    lists, unplaced = _placed(content, tuple(checkpoints))
    config = next((content[name] for name in CONFIG if name in content), None)
    if config is not None and not isinstance(config, Mapping):
        raise ValueError(f"its config is a {type(config).__name__}, not a table of options by name")
    return Archive(
        path=path,
        checkpoints=checkpoints,
        config=config,
        metrics=lists,
        trained_on=next((content[name] for name in TRAINED_ON if name in content), None),
        tested_on=next((content[name] for name in TESTED_ON if name in content), None),
        unplaced=unplaced,
        is_stepless=not checkpoints,
    )


def _checkpoints(path: Path, content: Mapping[Any, Any], number: int | None) -> dict[int, State]:
    listed = next((name for name in SERIES if name in content), None)
    single = next((name for name in MODEL if is_state(content.get(name))), None)
    steps = next((content[name] for name in STEPS if name in content), None)
    if listed is not None:
        return _series(content[listed], listed, steps)
    if single is None:
        keys = some([str(key) for key in content])
        raise ValueError(f"no state_dict under {', '.join((*SERIES, *MODEL))}; it holds {keys}")
    named = [_named_step(path.stem), _whole(steps), number]
    step = next((step for step in named if step is not None), None)
    return {} if step is None else {step: content[single]}


def _series(states: Any, name: str, steps: Any) -> dict[int, State]:
    if not isinstance(states, Sequence) or not states or not all(map(is_state, states)):
        raise ValueError(f"{name} is not a list of state_dicts")
    if isinstance(steps, Tensor):
        steps = steps.tolist()
    if not isinstance(steps, Sequence) or len(steps) != len(states):
        count = len(steps) if isinstance(steps, Sequence) else "no"
        raise ValueError(
            f"{name} holds {len(states)} state_dicts and {STEPS[0]} {count} steps; add the list "
            f"{STEPS[0]} with one number each and save again"
        )
    numbers = [_whole(step) for step in steps]
    if None in numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"the steps of {name} are not distinct whole numbers: {steps[:6]}")
    return {step: state for step, state in zip(numbers, states, strict=True) if step is not None}


def _whole(value: Any) -> int | None:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and value >= 0 and value == int(value) else None


def _named_step(stem: str) -> int | None:
    """The step that a file's name states: `1000`, `step_1000`, `epoch-1000`."""
    if stem.isdecimal():
        return int(stem)
    found = STEP_IN_NAME.findall(stem.lower())
    return int(found[-1]) if found else None


def _number(stem: str) -> int | None:
    """The step in a name, or the only number in it."""
    numbers = re.findall(r"\d+", stem)
    alone = int(numbers[0]) if len(numbers) == 1 else None
    return alone if _named_step(stem) is None else _named_step(stem)


def _placed(
    content: Mapping[Any, Any], steps: tuple[int, ...]
) -> tuple[dict[str, dict[int, float]], tuple[str, ...]]:
    """Metrics by column and step, and the names of lists whose steps cannot be told."""
    lists = {name: _numbers(content[name], name) for name in METRICS if name in content}
    longest = max(map(len, lists.values()), default=0)
    placed: dict[str, dict[int, float]] = {}
    unplaced = []
    for name, values in lists.items():
        places = _places(len(values), steps, longest)
        if places is None:
            unplaced.append(name)
        else:
            placed.setdefault(METRICS[name], {}).update(zip(places, values, strict=True))
    return placed, tuple(unplaced)


def _places(count: int, steps: tuple[int, ...], longest: int) -> Sequence[int] | None:
    """The steps of a list of values: those of the checkpoints, every step, or every so many."""
    if not steps:
        return None
    if count == len(steps) and count != max(steps) + 1:
        return steps
    if longest < max(steps) or not count or longest % count:
        return None
    return range(0, longest, longest // count)


def _numbers(values: Any, name: str) -> list[float]:
    if isinstance(values, Tensor):
        values = values.flatten().tolist()
    if not isinstance(values, Sequence) or isinstance(values, str):
        values = [values]
    try:
        return [float(value) for value in values]
    except (TypeError, RuntimeError):
        raise ValueError(f"{name} is neither a number nor a list of numbers") from None
