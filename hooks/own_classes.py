"""Classes of a user's own, named by where they are: `my_task.py:Sorting`, `package.module:Sorting`.

Importing a file runs it. That is done where the user's own command or file names the class, and the
file is then written down, with its hash, outside of every run folder. A run folder names classes
too, but anybody may have written it: from there a class is imported only if the same file with the
same content is written down, or inside `trusting()`. What Python has imported already is taken as
it is.
"""

import hashlib
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

# Keys of a validation's context: the folder where paths begin, if any; and a run's folder.
RELATIVE, RUN = "relative_paths", "run_folder"
REFERENCE = re.compile(r"(?P<place>.+):(?P<name>[A-Za-z_]\w*)")
HASH_CHARS = 12  # of a file's hash in the name of its module

Class = TypeVar("Class")
_is_trusting: ContextVar[bool] = ContextVar("_is_trusting", default=False)
_trusted: set[str] = set()  # lines of this process, where the user's folder cannot be written to


@contextmanager
def trusting() -> Iterator[None]:
    """A context in which run folders may name any class; what they name is written down."""
    token = _is_trusting.set(True)
    try:
        yield
    finally:
        _is_trusting.reset(token)


def is_reference(name: object) -> bool:
    """Whether a name says where a class is."""
    return isinstance(name, str) and REFERENCE.fullmatch(name) is not None


def short_name(reference: str) -> str:
    """The class' own name."""
    return reference.rpartition(":")[2]


def is_named_by_user(context: Any) -> bool:
    """Whether a validation is of the user's own file, and not of a run's."""
    return isinstance((context or {}).get(RELATIVE), Path)


def class_in(context: Any, reference: str, base: type[Class]) -> type[Class]:
    """The class that an experiment names, by the context of its validation (`find_class`)."""
    context = context or {}
    folder = context.get(RELATIVE)
    if isinstance(folder, Path):
        return find_class(reference, base, folder)
    return find_class(reference, base, None, run=context.get(RUN))


def find_class(
    reference: str, base: type[Class], folder: Path | None, *, run: Path | None = None
) -> type[Class]:
    """The class that a reference names.

    Args:
        reference: `path.py:Class` or `package.module:Class`.
        base: What it must be a subclass of.
        folder: Where a relative path begins, if the user names the class; None if a run folder
            does, or anything else that others may have written.
        run: That run folder, where relative paths begin then.

    Raises:
        ValueError: There is no such file, module or class; it cannot be imported, or is of another
            kind; or it is not trusted. The message says which.
    """
    match = REFERENCE.fullmatch(reference)
    if match is None:
        raise ValueError(f"'{reference}' names no class: write FILE.py:CLASS or MODULE:CLASS")
    place, name = match["place"], match["name"]
    may_import = folder is not None or _is_trusting.get()
    module = (
        _of_file((folder or run or Path()) / place, may_import)
        if place.endswith(".py")
        else _of_module(place, may_import)
    )
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise ValueError(f"{place} has no class {name}")
    if not issubclass(found, base):
        raise ValueError(f"{reference} is no {base.__name__}: let it inherit from that class")
    return found


def reference_to(cls: type) -> str:
    """The reference of a class: its file, or its module where that is part of a package."""
    file = code_file(cls)
    if file is None or "." in cls.__module__:
        return f"{cls.__module__}:{cls.__name__}"
    return f"{file}:{cls.__name__}"


def code_file(cls: type) -> Path | None:
    """The file that a class is written in; None for one of a notebook."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return None if file is None else Path(file).resolve()


def code_hash(file: Path | None) -> str:
    """The SHA-256 of a file, as it is now; nothing where there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file and file.is_file() else ""


def file_of(reference: str) -> Path | None:
    """The file that a reference names; None for a module that is not imported."""
    place = reference.rpartition(":")[0]
    file = place if place.endswith(".py") else getattr(sys.modules.get(place), "__file__", None)
    return None if file is None else Path(file)


def trust(reference: str) -> None:
    """Writes down the file that a reference names, so that run folders may name it."""
    file = file_of(reference)
    if file is not None and file.is_file():
        _write_down(_line(file, file.read_bytes()))


def _of_file(path: Path, may_import: bool) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise ValueError(f"{path} does not exist: it holds a class that is needed here")
    content = path.read_bytes()
    _check_trusted(_line(path, content), path, may_import)
    digest = hashlib.sha256(str(path).encode() + b"\0" + content).hexdigest()[:HASH_CHARS]
    name = f"{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    assert spec is not None  # it ends in .py
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    sys.path.append(str(path.parent))  # what stands beside it, behind everything installed
    try:
        with _named(path):
            exec(compile(content, str(path), "exec"), module.__dict__)  # what was hashed
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module


def _of_module(name: str, may_import: bool) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    package = f"package  {name.partition('.')[0]}"  # to find a module imports what it is in
    if not may_import and package not in _lines():
        raise ValueError(_untrusted(name))
    with _named(name):
        spec = find_spec(name)
    file = Path(spec.origin) if spec and spec.has_location and spec.origin else None
    if file is None:
        raise ValueError(f"there is no module {name}: install it, or name a file")
    _check_trusted(_line(file, file.read_bytes()), name, may_import)
    _write_down(package)
    with _named(name):
        return import_module(name)


@contextmanager
def _named(place: object) -> Iterator[None]:
    """Whatever imported code raises becomes one line that names it."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{place} cannot be imported: {what}") from error


def _check_trusted(line: str, place: object, may_import: bool) -> None:
    if may_import:
        _write_down(line)
    elif line not in _lines():
        raise ValueError(_untrusted(place))


def _untrusted(place: object) -> str:
    return (
        f"{place} holds a class of this run, and is not the file that you trained with: read it, "
        "since importing it runs it, and then say --trust, or interp.load(RUN, trust=True)"
    )


def _line(file: Path, content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()}  {file.resolve()}"


def _record() -> Path:
    """Where trusted files are written down, a line each, as sha256sum does."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "interp" / "trusted.txt"


def _lines() -> set[str]:
    record = _record()
    return _trusted | set(record.read_text("utf-8").splitlines() if record.is_file() else ())


def _write_down(line: str) -> None:
    if line in _lines():
        return
    _trusted.add(line)
    record = _record()
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        with record.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")  # one write: lines of two processes stay whole
    except OSError as error:
        warnings.warn(
            f"{record} cannot be written ({error.strerror or error}): later commands will ask "
            "whether you trust this file; set XDG_STATE_HOME to a folder that can be",
            stacklevel=2,
        )
