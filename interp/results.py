"""Results on disk: one npz a measurement, with a JSON header that says what was measured.

    results/<analysis>/<split>-<hash>/<step>.npz   results/<analysis>/series-<hash>/series.npz

Those of many runs stand in the sweep's folder: results/<analysis>/sweep-<hash>/sweep.npz. A
folder's hash is of options, count and seed. A file whose header differs from what would be measured
now (another checkpoint, reference, version) counts as absent. Nothing is unpickled.
"""

import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from analyses import ANALYSES
from analyses.result import Analysis, Finding
from interp.disk import write_whole
from interp.run import Run

Header = dict[str, Any]
PLAIN = re.compile(r"[A-Za-z0-9_-]{1,80}")


@runtime_checkable
class Folder(Protocol):
    """A run's folder, or a sweep's."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...


@dataclass(frozen=True)
class Saved:
    """One folder of saved results: an analysis with its options on one split of one run.

    Attributes:
        cls: The result class.
        name: Its name in `ANALYSES`.
        split: The split it was measured on; `series` for results of a whole run, `sweep` of many.
        options: Options that differ from the defaults.
        path: The folder.
        steps: Steps with a result, ascending; none for results of a whole run, or of many.
    """

    cls: Analysis
    name: str
    split: str
    options: dict[str, Any] = field(hash=False)
    path: Path
    steps: tuple[int, ...]

    def load(self, step: int | None = None) -> Any:
        """The result of a step, by default the last; an instance of `cls`."""
        if not self.steps:
            return read_result(self.path / f"{self.split}.npz", self.cls)[0]
        step = self.steps[-1] if step is None else step
        return read_result(self.path / f"{step}.npz", self.cls)[0]


def saved(folder: Folder, names: Sequence[str] = tuple(ANALYSES)) -> list[Saved]:
    """Everything saved of some analyses for a run, or for a whole sweep, in their order.

    The task's own split comes before those that an analysis names.
    """
    found = []
    for name in names:
        later = getattr(ANALYSES[name], "splits", ())
        places = sorted((folder.path / "results" / name).glob("*-*/"))
        for place in sorted(places, key=lambda place: place.name.rpartition("-")[0] in later):
            files = {file.stem: file for file in sorted(place.glob("*.npz"))}
            if files:
                header = read_header(next(iter(files.values())))
                steps = tuple(sorted(int(stem) for stem in files if stem.isdigit()))
                split, options = header["split"], header["options"]
                found.append(Saved(ANALYSES[name], name, split, options, place, steps))
    return found


def saved_scalars(run: Run, name: str) -> pd.DataFrame:
    """Saved summaries of an analysis by step (column `step`); empty where there are none.

    Where several splits or options were measured, those of the first.
    """
    for each in saved(run, [name]):
        if each.steps:
            return scalars(each)
    return pd.DataFrame()


def scalars(each: Saved) -> pd.DataFrame:
    """Summaries by step of one folder of results (column `step`)."""
    return pd.DataFrame([{"step": step} | each.load(step).summary() for step in each.steps])


def result_folder(folder: Folder, name: str, split: str, key: Header) -> Path:
    """The folder of results with certain options, count and seed.

    Raises:
        ValueError: A name would lead to another folder.
    """
    for part in (name, split):
        if not PLAIN.fullmatch(part):
            raise ValueError(f"'{part}' cannot name a folder of results: letters, digits, _ and -")
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]
    return folder.path / "results" / name / f"{split}-{digest}"


def make_header(cls: Analysis, name: str, **facts: Any) -> Header:
    """What a result's file says of itself."""
    fields = [each.name for each in dataclasses.fields(cls)]
    return {"analysis": name, "version": version("interp"), "fields": fields} | facts


def write_result(path: Path, result: Finding, header: Header) -> None:
    """Saves a result: arrays as they are, all else in the JSON header."""
    fields = {each.name: getattr(result, each.name) for each in dataclasses.fields(result)}
    arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    others = {name: value for name, value in fields.items() if name not in arrays}
    text = json.dumps({"header": header, "values": others}, sort_keys=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, __header__=np.array(text), **arrays)
    write_whole(path, buffer.getvalue(), durable=False)  # it can be measured again


def read_result(path: Path, cls: Analysis) -> tuple[Finding, Header]:
    """A saved result and its header.

    Raises:
        ValueError: The file is damaged, or of another version of the class.
    """
    content = _read(path)
    described = json.loads(str(content.pop("__header__")))
    values = {name: _frozen(value) for name, value in described["values"].items()}
    try:
        return cls(**values, **content), described["header"]
    except TypeError:
        raise ValueError(f"{path}: of another version of {cls.__name__}; analyse again") from None


def read_header(path: Path) -> Header:
    """The header of a saved result.

    Raises:
        ValueError: The file is damaged.
    """
    return json.loads(str(_read(path, only="__header__")["__header__"]))["header"]


def is_current(path: Path, header: Header) -> bool:
    """Whether a file holds the result that this header describes."""
    try:
        return path.is_file() and read_header(path) == json.loads(json.dumps(header))
    except ValueError:
        return False


def _read(path: Path, only: str | None = None) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if only in (None, name)}
    except Exception as error:  # NumPy raises whatever zip, zlib and its own reader raise
        raise ValueError(
            f"{path} is damaged ({error}); delete it and run `interp analyze` again"
        ) from None


def _frozen(value: Any) -> Any:
    """JSON's lists as tuples, so that a loaded result is as frozen as a measured one."""
    if isinstance(value, list):
        return tuple(_frozen(each) for each in value)
    if isinstance(value, dict):
        return {name: _frozen(each) for name, each in value.items()}
    return value
