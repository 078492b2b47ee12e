"""Results on disk: one npz file for each measurement, whose JSON header says what was measured.

    results/<analysis>/<split>-<hash>/<step>.npz   results/<analysis>/series-<hash>/series.npz

Those of many runs stand in the sweep's folder: results/<analysis>/sweep-<hash>/sweep.npz. A
folder's hash is of options, count and seed. A file that is damaged, or whose header differs from
what would be measured now (another checkpoint, reference, task, model, version), counts as absent:
`analyze` measures it again. Who loads such a file by hand still gets what is in it. What a header
must say, `interp.runs.current` knows. Nothing is pickled or unpickled.
"""

import dataclasses
import hashlib
import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, get_type_hints, runtime_checkable

import numpy as np
from jaxtyping import jaxtyped
from pydantic import ConfigDict, TypeAdapter, ValidationError

from analyses import ANALYSES, Analysis, BaseResult
from hooks.own_classes import find_class, imported_hash, reference_to, short_name
from interp.runs.safe_files import as_table, write_whole

Header = dict[str, Any]
HEADER = "__header__"  # the array of a file that holds its JSON
# An array that older versions wrote by mistake, under NumPy 2.0 and 2.1.
STRAY_ARRAY = "allow_pickle"
RUN_AGAIN = "; run `interp analyze` again"
# What some entries of a header are called in messages.
HEADER_WORDS = {
    "experiment": "task or model",
    "against": "reference checkpoint",
    "fields": "version of its class",
    "code": "text of its class",
    "run": "state of the run",
    "results": "state of what it reads",
    "runs": "state of the runs",
    "missing": "number of runs",
}
FOLDER_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")


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

    def file(self, step: int | None = None) -> Path:
        """The file of a step, by default the last, or of a whole run or sweep.

        Raises:
            ValueError: The step has no result.
        """
        if step is not None and step not in self.steps:
            raise ValueError(
                f"{self.path}: no result of step {step}; steps: "
                f"{', '.join(map(str, self.steps)) or 'none: it is of the whole'}"
            )
        last = self.steps[-1] if self.steps else self.split
        return self.path / f"{last if step is None else step}.npz"

    def load(self, step: int | None = None) -> Any:
        """The result of a step, by default the last; an instance of `cls`.

        Raises:
            ValueError: There is none, it is damaged, or of another version of the class.
        """
        return read_result(self.file(step), self.cls)[0]


@dataclass(frozen=True)
class ResultFile:
    """The file of one result: of a step, of a whole run, or of a sweep.

    Attributes:
        cls: The result class.
        path: Where the file is, or will be.
        header: What the file must say of itself, to be of what would be measured today.
    """

    cls: Analysis
    path: Path
    header: Header = field(hash=False)

    def read(self) -> BaseResult:
        """The result, if every byte of it is as it was written and its header is today's.

        Raises:
            ValueError: It is missing, damaged, or of something else; the message names what.
        """
        if not self.path.is_file():
            raise ValueError(f"{self.path} is not there")
        stored, fields = _header_and_fields(self.path)
        wanted = json.loads(json.dumps(self.header))
        if not wanted.keys() <= stored.keys():
            raise ValueError(f"{self.path} is of an older version{RUN_AGAIN}")
        differing = [name for name in stored if stored[name] != wanted.get(name)]
        if differing:
            words = ", ".join(HEADER_WORDS.get(name, name) for name in differing)
            raise ValueError(f"{self.path} is of another {words}{RUN_AGAIN}")
        return _result(self.path, self.cls, fields)

    def current(self) -> BaseResult | None:
        """The result, or nothing where `read` refuses it."""
        with suppress(ValueError):
            return self.read()
        return None


def saved(folder: Folder, names: Sequence[str] | None = None) -> list[Saved]:
    """Everything saved of some analyses, or of all, for a run or a whole sweep, in their order.

    The task's own split comes before those that an analysis names. A warning names each folder of
    which no file can be read. What is listed need not be current: `interp.runs.current` looks at
    that.
    """
    results, faults = find_saved(folder, names)
    for fault in faults:
        warnings.warn(f"passed over: {fault}", stacklevel=2)
    return results


def find_saved(folder: Folder, names: Sequence[str] | None = None) -> tuple[list[Saved], list[str]]:
    """What is saved of some analyses, and a line for each folder that cannot be read, with why."""
    results, faults = [], []
    for name in _names_in(folder) if names is None else names:
        of_name = []
        for place in sorted((folder.path / "results" / name).glob("*-*/")):
            if any(place.glob("*.npz")):
                try:
                    of_name.append(_saved_in(place, name))
                except ValueError as error:
                    faults.append(str(error))
        results += sorted(
            of_name, key=lambda saved: saved.split in getattr(saved.cls, "splits", ())
        )
    return results, faults


def _names_in(folder: Folder) -> list[str]:
    """Analyses of which there may be results: all that are listed, then the user's own."""
    places = sorted((folder.path / "results").glob("*/"))
    return [*ANALYSES, *(place.name for place in places if place.name not in [*ANALYSES])]


def own_analysis(reference: str, folder: Path | None) -> Analysis:
    """A class of results of the user's own, which answers to its name from now on.

    Args:
        reference: Where it is.
        folder: As for `hooks.own_classes.find_class`.

    Raises:
        ValueError: There is none, it is not trusted, or its name is taken.
    """
    cls = find_class(reference, BaseResult, folder)
    ANALYSES.add(cls)  # pyright: ignore[reportArgumentType]  # of one of the three kinds
    return ANALYSES[cls.__name__]


def _saved_in(place: Path, name: str) -> Saved:
    """The results in a folder; split and options are those of the first file that can be read.

    Raises:
        ValueError: There is none.
    """
    files, faults = sorted(place.glob("*.npz")), []
    steps = tuple(sorted(int(file.stem) for file in files if file.stem.isdecimal()))
    for file in files:
        try:
            header = read_header(file)
            split, options = header.get("split"), header.get("options")
            if isinstance(split, str) and isinstance(options, dict):
                return Saved(_class_of(name, header), name, split, options, place, steps)
            raise _damaged(file, "its header does not say split and options")
        except ValueError as error:
            faults.append(error)
    raise faults[0]


def _class_of(name: str, header: Header) -> Analysis:
    """The class that a result was made of.

    Raises:
        ValueError: It is of the user's own, and missing or not trusted.
    """
    if name in ANALYSES:
        return ANALYSES[name]
    code = header.get("code")
    reference = code.get("class") if isinstance(code, dict) else None
    if not isinstance(reference, str) or short_name(reference) != name:
        raise ValueError(f"{name}: no analysis of this name, and no file says where its class is")
    return own_analysis(reference, None)


def result_folder(folder: Folder, name: str, split: str, key: Header) -> Path:
    """The folder of results with certain options, count and seed.

    Raises:
        ValueError: A name would lead to another folder.
    """
    for part in (name, split):
        if not FOLDER_NAME.fullmatch(part):
            raise ValueError(f"'{part}' cannot name a folder of results: letters, digits, _ and -")
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]
    return folder.path / "results" / name / f"{split}-{digest}"


@cache
def _version() -> str:
    """The installed version; asking for it reads files."""
    return version("interp")


def make_header(cls: Analysis, name: str, **facts: Any) -> Header:
    """What the file of a result says of itself."""
    about = {
        "analysis": name,
        "version": _version(),
        "fields": [field.name for field in dataclasses.fields(cls)],
    }
    if cls.__module__.partition(".")[0] != "analyses":
        about["code"] = {"class": reference_to(cls), "sha256": imported_hash(cls)}
    return about | facts


def write_result(path: Path, result: BaseResult, header: Header) -> None:
    """Saves a result: arrays as they are, all else in the JSON header.

    Raises:
        ValueError: An array holds objects, which could only be pickled.
    """
    fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    values = {name: value for name, value in fields.items() if name not in arrays}
    text = json.dumps({"header": header, "values": values}, sort_keys=True)
    buffer = io.BytesIO()
    # numpy.savez takes `allow_pickle` since 2.2; before, it saved an array of that name.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, value in {HEADER: np.array(text), **arrays}.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(value), allow_pickle=False)
    write_whole(path, buffer.getvalue(), durable=False)  # it can be measured again


def read_result(path: Path, cls: Analysis) -> tuple[BaseResult, Header]:
    """A saved result and its header.

    Raises:
        ValueError: The file is damaged, of another version of the class, or holds a value or an
            array of another shape than the class has.
    """
    header, fields = _header_and_fields(path)
    return _result(path, cls, fields), header


def read_header(path: Path) -> Header:
    """The header of a saved result.

    Raises:
        ValueError: The file is damaged.
    """
    return _described(path, _read(path, only=HEADER).get(HEADER))[0]


def _header_and_fields(path: Path) -> tuple[Header, dict[str, Any]]:
    """Header and fields of a file."""
    arrays = _read(path)
    header, values = _described(path, arrays.pop(HEADER, None))
    if STRAY_ARRAY not in header.get("fields", ()):
        arrays.pop(STRAY_ARRAY, None)
    return header, {name: _frozen(value) for name, value in values.items()} | arrays


def _read(path: Path, only: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of a file by name; each is compared to its checksum as a whole."""
    try:
        with zipfile.ZipFile(path) as file:
            names = {entry: entry.removesuffix(".npy") for entry in file.namelist()}
            return {
                name: np.lib.format.read_array(io.BytesIO(file.read(entry)), allow_pickle=False)
                for entry, name in names.items()
                if only in (None, name)
            }
    except Exception as error:  # whatever zip, zlib and NumPy raise on damaged bytes
        raise _damaged(path, str(error)) from None


def _described(path: Path, stored: np.ndarray | None) -> tuple[Header, dict[str, Any]]:
    """Header and values, of the JSON text in a file."""
    described = as_table(str(stored)) or {}
    header, values = described.get("header"), described.get("values")
    if isinstance(header, dict) and isinstance(values, dict):
        return header, values
    raise _damaged(path, f"{HEADER} is not a JSON table of header and values")


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is damaged ({why}){RUN_AGAIN}")


def _result(path: Path, cls: Analysis, fields: Mapping[str, Any]) -> BaseResult:
    """The result that a file's fields make.

    Raises:
        ValueError: They are not those of the class, by name, type and shape; the message names the
            field.
    """
    known = {field.name: field for field in dataclasses.fields(cls)}
    needed = {
        name
        for name, field in known.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    differing = ", ".join(sorted((needed - fields.keys()) | (fields.keys() - known.keys())))
    if differing:
        raise ValueError(
            f"{path} is of another version of {cls.__name__}, which differs in {differing}"
            f"{RUN_AGAIN}"
        )
    with jaxtyped("context"):  # the same axis name is the same size in all fields
        for name, value in fields.items():
            try:
                _checks_of(cls)[name](value)
            except ValidationError:
                shape = f"an array {list(value.shape)}" if isinstance(value, np.ndarray) else ""
                raise ValueError(
                    f"{path} is damaged ({name} of {cls.__name__} is {shape or repr(value)[:80]}, "
                    f"which is not its type or shape){RUN_AGAIN}"
                ) from None
    return cls(**fields)


@cache
def _checks_of(cls: Analysis) -> dict[str, Callable[[Any], Any]]:
    """For each field of a class, what refuses a value of another type."""
    allowed, hints = ConfigDict(arbitrary_types_allowed=True), get_type_hints(cls)
    return {
        field.name: TypeAdapter(hints[field.name], config=allowed).validate_python
        for field in dataclasses.fields(cls)
    }


def _frozen(value: Any) -> Any:
    """JSON's lists as tuples, so that a loaded result is as frozen as a measured one."""
    if isinstance(value, dict):
        return {name: _frozen(item) for name, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
