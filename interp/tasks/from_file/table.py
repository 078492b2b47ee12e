"""Examples in a file: npz, jsonl or parquet, with one set of names for arrays, keys and columns.

    tokens or inputs   what the model is fed        label.NAME   one value an example, or a position
    targets, scored    the right answers            tree, spans  gold parses
    lengths            real positions, npz only     words        positions in readable words
    split              train, test, ..

A jsonl file holds one JSON table a line, a parquet file one example a row. Rows may have several
lengths there: they are padded at the end with zeros, which are not scored. Whatever the file, a
fault is named by the file, the place in it and the remedy. Nothing is unpickled.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import pad

from hooks import Examples
from interp.tasks.data_files import Stamp, stamp_of
from interp.tasks.from_file.gold_trees import gold_trees
from interp.tasks.from_file.sources import LABEL, Source, brief, described, parsed, read_source

NOT_SCORED = -100  # a class that does not count, as torch's losses have it
ALL = "all"  # the split of all examples
SPLIT = re.compile(r"[A-Za-z0-9_-]{1,80}")  # results of a split stand in a folder of its name
TAKEN_SPLITS = (ALL, "series", "sweep")
WHOLE, REAL = "iu", "f"  # NumPy's letters for whole and for real numbers


@dataclass(frozen=True, eq=False)
class ExampleTable:
    """The examples of a file, without facts, and which of them are in which split.

    Attributes:
        examples: All examples, in the file's order.
        splits: True at the examples of a split, by its name.
    """

    examples: Examples
    splits: Mapping[str, Bool[Tensor, " example"]] = field(default_factory=dict)


def read_examples(path: str, columns: Mapping[str, str], *, next_token: bool) -> ExampleTable:
    """The examples of a file; a file that has not changed is read once.

    Args:
        path: The file, which ends in .npz, .jsonl or .parquet.
        columns: For each of our names what the file calls it; only these are read then. Empty if
            the file has our names.
        next_token: Whether the targets are the next token at every position but the last.

    Raises:
        ValueError: Something in the file is not as it should be; the message names the place.
        FileNotFoundError: There is no such file.
    """
    return _read(stamp_of(path), tuple(columns.items()), next_token)


@lru_cache(maxsize=4)
def _read(stamp: Stamp, columns: tuple[tuple[str, str], ...], next_token: bool) -> ExampleTable:
    source = read_source(stamp[0], dict(columns))
    fed, lengths = _fed(source)
    targets, scored = _answers(source, fed, lengths, next_token)
    labels = {
        name.removeprefix(LABEL): _values(source, name, fed, lengths)
        for name in source.columns
        if name.startswith(LABEL)
    }
    words = _words(source, fed, lengths)
    trees = gold_trees(source, words)
    tokens, inputs = (fed, None) if "tokens" in source.columns else (None, fed)
    try:
        examples = Examples(
            targets, scored, tokens, inputs, lengths, labels, trees=trees, words=words
        )
    except ValueError as error:
        raise ValueError(f"{source.path}: {error}") from None
    return ExampleTable(examples, _splits(source, labels))


def _fed(source: Source) -> tuple[Tensor, Int[Tensor, " example"] | None]:
    """Tokens or inputs, padded at the end, and how many positions are real if some are not."""
    given = [name for name in ("tokens", "inputs") if name in source.columns]
    if len(given) != 1:
        raise ValueError(
            f"{source.path}: give tokens or inputs, one of the two; there are "
            f"{', '.join(source.columns)}"
        )
    (name,) = given
    kinds, ndim, wanted = {
        "tokens": (WHOLE, 2, "whole numbers [example, position]"),
        "inputs": (REAL, 3, "real numbers [example, position, number]"),
    }[name]
    values = source.columns[name]
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in kinds or values.ndim != ndim or 0 in values.shape:
            raise source.fault(name, None, f"{described(values)}, and {wanted} are wanted")
        return _ids(source, name, _tensor(values)), _stated_lengths(source)
    if "lengths" in source.columns:
        raise source.fault("lengths", 0, "rows have their own lengths here: leave it out")
    rows = [_row(source, name, row, kinds, ndim - 1, wanted) for row in range(len(values))]
    widths = {row.shape[1:] for row in rows}
    if len(widths) > 1:
        raise source.fault(
            name, _first_other(rows), "it has another number of numbers than row 0; give as many"
        )
    lengths = torch.tensor([len(row) for row in rows])
    longest = int(lengths.max())
    padded = [np.pad(row, ((0, longest - len(row)), *[(0, 0)] * (ndim - 2))) for row in rows]
    fed = _ids(source, name, _tensor(np.stack(padded)))
    return fed, lengths if int(lengths.min()) < longest else None


def _ids(source: Source, name: str, values: Tensor) -> Tensor:
    """The values, of which whole numbers are ids.

    Raises:
        ValueError: An id is negative; the message names the row.
    """
    is_wrong = (values < 0).flatten(1).any(1)
    if not values.is_floating_point() and bool(is_wrong.any()):
        row = int(is_wrong.int().argmax())
        raise source.fault(name, row, f"{int(values[row].min())}; ids are 0 and up")
    return values


def _row(source: Source, name: str, row: int, kinds: str, ndim: int, wanted: str) -> np.ndarray:
    """A row of numbers as an array that is not empty."""
    value = source.columns[name][row]
    numbers = _numbers(value)
    if kinds == REAL and numbers.dtype.kind in WHOLE:
        numbers = numbers.astype(np.float64)
    if numbers.dtype.kind not in kinds or numbers.ndim != ndim or not numbers.size:
        raise source.fault(name, row, f"{brief(value)}, and a row of {wanted} is wanted")
    return numbers.astype(np.float32) if kinds == REAL else numbers.astype(np.int64)


def _numbers(value: Any) -> np.ndarray:
    """Lists of numbers as an array; an array of an object where they are no such lists."""
    try:
        numbers = np.asarray(value)
    except (ValueError, OverflowError):  # parts of several lengths, or too large a number
        return np.asarray(None)
    is_mixed = numbers.dtype.kind in WHOLE + REAL and _holds_truth_value(value)
    return np.asarray(None) if is_mixed else numbers


def _holds_truth_value(value: Any) -> bool:
    """Whether true or false is among lists of numbers, where NumPy reads 1 or 0."""
    if isinstance(value, list):
        return any(map(_holds_truth_value, value))
    return isinstance(value, bool)


def _first_other(rows: Sequence[np.ndarray]) -> int:
    """The first row whose parts are of another width than those of the first row."""
    return next(n for n, row in enumerate(rows) if row.shape[1:] != rows[0].shape[1:])


def _stated_lengths(source: Source) -> Int[Tensor, " example"] | None:
    """The lengths that an npz file states."""
    lengths = source.columns.get("lengths")
    if lengths is None:
        return None
    if lengths.dtype.kind not in WHOLE or lengths.ndim != 1:
        raise source.fault("lengths", None, f"{described(lengths)}; give a whole number an example")
    return _tensor(lengths)


def _answers(
    source: Source, fed: Tensor, lengths: Tensor | None, next_token: bool
) -> tuple[Tensor, Bool[Tensor, "example position"]]:
    """Targets, and where they count, at every position."""
    visible = _visible(fed, lengths)
    if next_token:
        return _next_tokens(source, fed, visible)
    if "targets" not in source.columns:
        raise ValueError(
            f"{source.path}: there are no targets; give them, or set next_token = true, by which "
            "every next token is predicted"
        )
    given = source.columns["targets"]
    if isinstance(given, np.ndarray):
        targets = given
        if targets.dtype.kind not in WHOLE + REAL or targets.ndim not in (1, 2) or not targets.size:
            raise source.fault(
                "targets",
                None,
                f"{described(targets)}, and numbers [example] or [example, position] are wanted",
            )
    else:
        targets = _target_rows(source, visible)
    if targets.ndim == 1:  # one answer an example, at its last real position
        if "scored" in source.columns:
            raise source.fault(
                "scored", None, "targets are one an example, at its last position: leave it out"
            )
        answers = _tensor(targets)[:, None]
        scored = _last(visible) & ~_is_left_out(answers)
        answers = torch.where(scored, answers, torch.zeros_like(answers))
        return _ids(source, "targets", answers), scored
    return _counted(source, _tensor(targets), visible)


def _next_tokens(
    source: Source, fed: Tensor, visible: Bool[Tensor, "example position"]
) -> tuple[Tensor, Bool[Tensor, "example position"]]:
    for name in ("targets", "scored"):
        if name in source.columns:
            raise source.fault(name, None, "next_token is true, which makes it: leave one out")
    if "tokens" not in source.columns:
        raise source.fault("inputs", None, "next_token is true, and there are no tokens")
    scored = pad(visible[:, 1:], (0, 1))
    return pad(fed[:, 1:], (0, 1)) * scored, scored


def _target_rows(source: Source, visible: Bool[Tensor, "example position"]) -> np.ndarray:
    """Targets that were read row by row: `[example]`, or padded `[example, position]`."""
    rows, real = source.columns["targets"], visible.sum(1).tolist()
    is_single = not isinstance(rows[0], list)
    lists = [value if isinstance(value, list) else [value] for value in rows]
    kinds = [_numbers(_given(values)).dtype.kind for values in lists]
    is_real = _is_real(source, {n: kinds[n] for n, row in enumerate(lists) if _given(row)})
    filler = np.nan if is_real else NOT_SCORED
    width = 1 if is_single else visible.shape[1]
    targets = np.full((len(rows), width), filler, np.float64 if is_real else np.int64)
    for row, values in enumerate(lists):
        kind, wanted = kinds[row], 1 if is_single else real[row]
        if isinstance(rows[row], list) == is_single or kind not in WHOLE + REAL:
            one = "a number" if is_single else "a list of numbers and null"
            raise source.fault("targets", row, f"{brief(rows[row])}; give {one}, as row 0 has")
        if len(values) != wanted:
            problem = f"{len(values)} answers for {wanted} positions; give null where none counts"
            raise source.fault("targets", row, problem)
        targets[row, :wanted] = [filler if value is None else value for value in values]
    return targets[:, 0] if is_single else targets


def _is_real(source: Source, kinds: Mapping[int, str]) -> bool:
    """Whether targets are real numbers, by NumPy's letter for each row that has one.

    Raises:
        ValueError: They are in some rows and not in others; the message names the first of the
            fewer.
    """
    real = [row for row, kind in kinds.items() if kind == REAL]
    whole = [row for row, kind in kinds.items() if kind in WHOLE]
    if not real or not whole:
        return bool(real)
    row, problem = (
        (real[0], "real, and other rows hold whole numbers: write classes without a point")
        if len(real) <= len(whole)
        else (whole[0], "whole, and other rows hold real numbers: write real answers as 1.0")
    )
    raise source.fault("targets", row, f"{brief(source.columns['targets'][row])} is {problem}")


def _given(values: Sequence[Any]) -> list[Any]:
    """The values of a row that are there."""
    return [value for value in values if value is not None]


def _counted(
    source: Source, targets: Tensor, visible: Bool[Tensor, "example position"]
) -> tuple[Tensor, Bool[Tensor, "example position"]]:
    """Targets of several positions, with 0 where they do not count, and where they do."""
    n_pos, n_answers = visible.shape[1], targets.shape[1]
    if n_answers > n_pos:
        raise source.fault("targets", None, f"{n_answers} answers for {n_pos} positions")
    is_left_out = _is_left_out(targets)
    if "scored" in source.columns:
        scored = _scored(source, tuple(targets.shape), visible)
        row = int((scored & is_left_out).any(1).int().argmax())
        if (scored & is_left_out).any():
            raise source.fault("targets", row, "an answer that is scored is missing")
    else:
        scored = ~is_left_out & visible[:, -n_answers:]
    targets = torch.where(is_left_out, torch.zeros_like(targets), targets)
    _ids(source, "targets", targets * scored)
    missing = n_pos - n_answers  # answers may be those of the last positions alone
    return pad(targets, (missing, 0)), pad(scored, (missing, 0))


def _is_left_out(targets: Tensor) -> Bool[Tensor, "example answer"]:
    """True where a target stands for none."""
    return targets.isnan() if targets.is_floating_point() else targets == NOT_SCORED


def _scored(
    source: Source, shape: tuple[int, ...], visible: Bool[Tensor, "example position"]
) -> Bool[Tensor, "example answer"]:
    given = source.columns["scored"]
    if isinstance(given, np.ndarray):
        if given.dtype != bool or given.shape != shape:
            raise source.fault(
                "scored", None, f"{described(given)}; give booleans {list(shape)}, as targets have"
            )
        return torch.from_numpy(given)
    scored = torch.zeros(shape, dtype=torch.bool)
    for row, (values, real) in enumerate(zip(given, visible.sum(1).tolist(), strict=True)):
        is_right = isinstance(values, list) and all(type(value) is bool for value in values)
        if not is_right or len(values) != real:
            raise source.fault("scored", row, f"{brief(values)}; give {real} times true or false")
        scored[row, :real] = torch.tensor(values)
    return scored


def _values(source: Source, name: str, fed: Tensor, lengths: Tensor | None) -> Tensor:
    """A label: one value an example, or one a position, 0 in the padding."""
    given, n_pos = source.columns[name], fed.shape[1]
    if isinstance(given, np.ndarray):
        if given.dtype.kind not in WHOLE + REAL + "b" or given.shape[1:] not in ((), (n_pos,)):
            raise source.fault(
                name,
                None,
                f"{described(given)}; give numbers or booleans [example] or [example, {n_pos}]",
            )
        return _tensor(given, keep=True)
    real = _visible(fed, lengths).sum(1).tolist()
    is_single = not isinstance(given[0], list)
    rows = []
    for row, value in enumerate(given):
        array = _numbers(value if isinstance(value, list) else [value])
        wanted = 1 if is_single else real[row]
        is_right = array.dtype.kind in WHOLE + REAL + "b" and array.shape == (wanted,)
        if isinstance(value, list) == is_single or not is_right:
            what = "a number or true or false" if is_single else f"{real[row]} numbers"
            raise source.fault(name, row, f"{brief(value)}; give {what}")
        rows.append(np.pad(array, (0, 0 if is_single else n_pos - len(array))))
    if len({row.dtype.kind == "b" for row in rows}) > 1:
        raise source.fault(name, None, "truth values in some rows and numbers in others")
    return _tensor(np.concatenate(rows) if is_single else np.stack(rows), keep=True)


def _words(
    source: Source, fed: Tensor, lengths: Tensor | None
) -> tuple[tuple[str, ...], ...] | None:
    if "words" not in source.columns:
        return None
    n_pos, real = fed.shape[1], _visible(fed, lengths).sum(1).tolist()
    rows = []
    for row, value in enumerate(source.columns["words"]):
        values = parsed(source, "words", row, value)
        is_right = isinstance(values, list) and all(isinstance(word, str) for word in values)
        if not is_right or len(values) not in (real[row], n_pos):
            raise source.fault("words", row, f"{brief(values)}; give {real[row]} texts")
        rows.append(tuple(values))
    return tuple(rows)


def _splits(source: Source, labels: Mapping[str, Tensor]) -> dict[str, Bool[Tensor, " example"]]:
    """True at the examples of each split, by name; without any, by the label `train`."""
    if "split" not in source.columns:
        train = labels.get("train")
        if train is None or train.dtype != torch.bool or train.ndim != 1:
            return {}
        return {name: at for name, at in {"train": train, "test": ~train}.items() if at.any()}
    given = source.columns["split"]
    names = [str(name) if isinstance(name, str) else "" for name in given]
    for row, name in enumerate(names):
        if not SPLIT.fullmatch(name) or name in TAKEN_SPLITS:
            raise source.fault(
                "split",
                row,
                f"{brief(given[row])}; give a name of letters, digits, _ and -, and none of "
                f"{', '.join(TAKEN_SPLITS)}",
            )
    return {name: torch.tensor([other == name for other in names]) for name in dict.fromkeys(names)}


def _visible(fed: Tensor, lengths: Tensor | None) -> Bool[Tensor, "example position"]:
    places = torch.arange(fed.shape[1])
    if lengths is None:
        return torch.ones(fed.shape[:2], dtype=torch.bool)
    return places < lengths[:, None]


def _last(visible: Bool[Tensor, "example position"]) -> Bool[Tensor, "example position"]:
    """True at each example's last real position."""
    return visible & ~pad(visible[:, 1:], (0, 1))


def _tensor(array: np.ndarray, *, keep: bool = False) -> Tensor:
    """An array as a tensor; whole numbers, unless they are kept, as indices can be: in 64 bits."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    is_unknown = array.dtype.kind == "u" and array.dtype.itemsize > 1  # few of torch's functions
    is_narrow = array.dtype.kind in WHOLE and array.dtype not in (np.int32, np.int64)
    if is_unknown or (is_narrow and not keep):
        array = array.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(array))
