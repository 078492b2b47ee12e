"""The columns of a data file, whatever its format: npz, jsonl or parquet. Nothing is unpickled."""

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hooks.messages import did_you_mean
from interp.tasks.data_files import text_lines

NAMES = ("tokens", "inputs", "targets", "scored", "lengths", "tree", "spans", "words", "split")
LABEL = "label."  # before the name of a label
UNREADABLE = (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError)
MAX_SHOWN = 60  # characters of a wrong value that a message shows


@dataclass(frozen=True, eq=False)
class Source:
    """The columns of a file.

    Attributes:
        path: The file.
        columns: By name, arrays with the examples along the first axis, or lists of values that
            were read row by row.
        place: Where in the file a row of a column stands, in words.
    """

    path: str
    columns: Mapping[str, Any]
    place: Callable[[str, int], str]

    def fault(self, name: str, row: int | None, problem: str) -> ValueError:
        """An error that names the file, the place and the problem."""
        place = f"{self.path}: {name}" if row is None else self.place(name, row)
        return ValueError(f"{place}: {problem}")


def read_source(path: str, columns: Mapping[str, str]) -> Source:
    """The columns of a file, under our names.

    Args:
        path: The file; its name says which format it has.
        columns: For each of our names what the file calls it; only these are read then. Empty if
            the file has our names.

    Raises:
        ValueError: It cannot be read, holds a column that nothing here stands for, or its columns
            differ in length.
    """
    reader = READERS.get(Path(path).suffix)
    if reader is None:
        raise ValueError(f"{path}: the name must end in {', '.join(READERS)}, to say what it is")
    return _renamed(reader(path), columns)


def _npz(path: str) -> Source:
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array; np.savez writes several, by name")
        with loaded as file:
            arrays = {name: file[name] for name in file.files}
    except UNREADABLE as error:
        problem = str(error) or type(error).__name__
        if "allow_pickle" in problem:
            problem = "it holds objects, which could only be unpickled; save numbers and texts"
        raise ValueError(f"{path} cannot be read as npz: {problem}") from None
    source = Source(path, arrays, lambda name, row: f"{path}: {name}[{row}]")
    for name, array in arrays.items():
        if not array.ndim:
            raise source.fault(name, None, "a single value; give an array with a row an example")
    return source


def _jsonl(path: str) -> Source:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text_lines(path), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise ValueError(f'{path}:{number}: give a JSON table, such as {{"tokens": [..]}}')
        rows.append(row)
    first = rows[0]
    for number, row in enumerate(rows, 1):
        for name in [*first, *row]:
            if name not in row or name not in first:
                raise ValueError(
                    f"{path}:{number}: '{name}' is in some lines and not in all: give every line "
                    "the same keys"
                )
    columns = {name: [row[name] for row in rows] for name in first}
    return Source(path, columns, lambda name, row: f"{path}:{row + 1}: {name}")


def _parquet(path: str) -> Source:
    try:
        import pandas as pd  # heavy, and needed here alone
        import pyarrow  # noqa: F401  # what pandas reads parquet by
    except ImportError:
        raise ValueError(
            f"{path}: parquet is read by pyarrow, which is not installed: `pip install pyarrow`, "
            "or write the rows as jsonl"
        ) from None
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except UNREADABLE as error:
        raise ValueError(f"{path} cannot be read as parquet: {error}") from None
    columns = {str(name): [_plain(value) for value in frame[name]] for name in frame}
    return Source(path, columns, lambda name, row: f"{path}: {name} of row {row}")


READERS = {".npz": _npz, ".jsonl": _jsonl, ".parquet": _parquet}


def _plain(value: Any) -> Any:
    """A cell of a data frame as JSON would have it."""
    if isinstance(value, np.ndarray):
        return [_plain(part) for part in value] if value.dtype == object else value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _renamed(source: Source, columns: Mapping[str, str]) -> Source:
    """The columns under our names, those of the file that nothing here stands for refused."""
    there = source.columns
    for name, in_file in columns.items():
        if in_file not in there:
            raise ValueError(
                f"{source.path}: there is no '{in_file}', which columns.{name} names; there are "
                f"{', '.join(there)}{did_you_mean(in_file, there)}"
            )
    if columns:
        there = {name: there[in_file] for name, in_file in columns.items()}
    for name in there:
        if name not in NAMES and not (name.startswith(LABEL) and name != LABEL):
            raise ValueError(
                f"{source.path}: '{name}' is none of {', '.join(NAMES)} and {LABEL}NAME: "
                f"take it out, or say by columns which to read{did_you_mean(name, NAMES)}"
            )
    counts = {name: len(values) for name, values in there.items()}
    if not counts or not max(counts.values()):
        raise ValueError(f"{source.path}: there are no examples in it")
    if len({*counts.values()}) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ValueError(f"{source.path}: rows differ in number ({listed}): give one an example")
    return Source(source.path, there, source.place)


def described(array: np.ndarray) -> str:
    """An array's shape and type in words."""
    return f"an array {list(array.shape)} of {array.dtype}"


def brief(value: Any) -> str:
    """A value as a message shows it: the beginning of a long one."""
    text = json.dumps(value, default=str)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}.."


def parsed(source: Source, name: str, row: int, value: Any) -> Any:
    """A cell as lists and texts: in an npz file it is a row of texts, or a text that holds JSON."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise source.fault(name, row, f"{brief(str(value))} is no JSON; give a list") from None
