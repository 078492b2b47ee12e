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
from inspect import getsource
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

# Keys of a validation's context: the folder where relative paths begin, or another rule for them;
# the folder of the file that is read; and whether that file is the user's own.
RELATIVE, RUN, USERS = "relative_paths", "run_folder", "is_users"
REFERENCE = re.compile(r"(?P<place>.+):(?P<name>[A-Za-z_]\w*)")
HASH_CHARS = 12  # of a file's hash in the name of its module

Class = TypeVar("Class")
_is_trusting: ContextVar[bool] = ContextVar("_is_trusting", default=False)
_trusted: set[str] = set()  # lines of this process, where the user's folder cannot be written to
_siblings: dict[str, tuple[Path, ...]] = {}  # files that a module imported from beside its own
_hashes: dict[str, str] = {}  # of a module's text when it was imported, its siblings' included


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
    return bool((context or {}).get(USERS))


def placed(reference: str, context: Any) -> str:
    """The reference with its whole path, by the context of a validation."""
    place, _, name = reference.rpartition(":")
    rule, run = ((context or {}).get(key) for key in (RELATIVE, RUN))
    folder = rule if isinstance(rule, Path) else run or Path()
    return f"{_whole(folder / place)}:{name}" if place.endswith(".py") else reference


def class_in(context: Any, reference: str, base: type[Class]) -> type[Class]:
    """The class that an experiment names, by the context of its validation (`find_class`)."""
    folder = Path() if is_named_by_user(context) else None
    return find_class(placed(reference, context), base, folder)


def find_class(reference: str, base: type[Class], folder: Path | None) -> type[Class]:
    """The class that a reference names.

    Args:
        reference: `path.py:Class` or `package.module:Class`.
        base: What it must be a subclass of.
        folder: Where a relative path begins, if the user names the class; None if a run folder
            does, or anything else that others may have written.

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
        _of_file((folder or Path()) / place, may_import)
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
    """The reference of a class: its file, or its module where that is part of a package.

    A class of a notebook or of the script that runs is named as that: to import a script would run
    it again.
    """
    file = code_file(cls)
    if file is None or "." in cls.__module__ or cls.__module__ == "__main__":
        return f"{cls.__module__}:{cls.__name__}"
    return f"{file}:{cls.__name__}"


def code_file(cls: type) -> Path | None:
    """The file that a class is written in; None for one of a notebook."""
    return _file(sys.modules.get(cls.__module__))


def code_hash(reference: str) -> str:
    """The SHA-256 of a class' file as it is now, and of what it imported from beside it.

    Of a class of a notebook or script, that of its own text. Nothing where there is none.
    """
    place, _, name = reference.rpartition(":")
    if place == "__main__":
        try:
            return hashlib.sha256(getsource(getattr(sys.modules[place], name)).encode()).hexdigest()
        except (AttributeError, OSError, TypeError):
            return ""
    file = file_of(reference)
    if file is None or not file.is_file():
        return ""
    content = file.read_bytes()
    return _text_hash(_module_name(file, content), content)


def imported_hash(cls: type) -> str:
    """As `code_hash`, of the text that was imported, whatever the file holds by now."""
    return _hashes.get(cls.__module__) or code_hash(reference_to(cls))


def siblings_of(reference: str) -> tuple[Path, ...]:
    """Files that a class' file imported from beside it."""
    file = file_of(reference)
    return _siblings.get(_module_name(file, file.read_bytes()), ()) if file else ()


def check_imported(reference: str) -> None:
    """Refuses a file that was edited after it was imported, as a class of before may be in use.

    Raises:
        ValueError: The file, or one that it imports from beside it, is not what was imported.
    """
    file = file_of(reference)
    if file is None or not file.is_file() or not reference.startswith(str(file)):
        return
    here = [_hashes.get(name) for name, module in [*sys.modules.items()] if _is_of(module, file)]
    if here and code_hash(reference) not in here:
        raise ValueError(
            f"{file} was edited since it was imported: load the experiment again, or put the "
            "earlier text back"
        )


def is_trusted(file: Path) -> bool:
    """Whether a file, as it is now, was imported for the user before."""
    return file.is_file() and _line(file, file.read_bytes()) in _lines()


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
    path = _whole(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist: it holds a class that is needed here")
    content = path.read_bytes()
    _check_trusted(_line(path, content), path, may_import)
    name = _module_name(path, content)
    if name in sys.modules and _hashes[name] == _text_hash(name, content):
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    assert spec is not None  # it ends in .py
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    try:
        with _named(path), _beside(path) as siblings:
            exec(compile(content, str(path), "exec"), module.__dict__)  # what was hashed
    except BaseException:
        del sys.modules[name]
        raise
    _siblings[name] = tuple(sorted(siblings))
    _hashes[name] = _text_hash(name, content)
    return module


def _text_hash(name: str, content: bytes) -> str:
    """The hash of a module's text and of what it imported from beside it, as these are now."""
    beside = [file.read_bytes() for file in _siblings.get(name, ()) if file.is_file()]
    return hashlib.sha256(b"\0".join([content, *beside])).hexdigest()


def _module_name(path: Path, content: bytes) -> str:
    """The name under which Python knows a file's module: another content is another module."""
    digest = hashlib.sha256(str(_whole(path)).encode() + b"\0" + content).hexdigest()
    return f"{path.stem}_{digest[:HASH_CHARS]}"


def _is_of(module: Any, file: Path) -> bool:
    """Whether a module is one that `_of_file` made of a file."""
    name, made_of = getattr(module, "__name__", ""), getattr(module, "__file__", None)
    return made_of == str(file) and name.startswith(f"{file.stem}_")


@contextmanager
def _beside(path: Path) -> Iterator[set[Path]]:
    """A context in which modules beside a file can be imported, behind everything installed.

    They are its own: what another file imported under the same name, or this one before, is
    forgotten first.

    Yields:
        The files that were imported, once the context is left.
    """
    known = {file for files in _siblings.values() for file in files}
    for name, module in [*sys.modules.items()]:
        if _file(module) in known:
            del sys.modules[name]
    before, siblings = set(sys.modules), set[Path]()
    sys.path.append(str(path.parent))
    try:
        yield siblings
    finally:
        sys.path.remove(str(path.parent))
    new = [_file(sys.modules[name]) for name in set(sys.modules) - before]
    siblings |= {file for file in new if file and file.is_relative_to(path.parent)} - {path}


def _file(module: Any) -> Path | None:
    file = getattr(module, "__file__", None)
    return None if file is None else _whole(Path(file))


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
        f"{place} holds a class that a folder names, and was not imported for you before as it is: "
        "read it, since importing it runs it, and then say --trust, or interp.load(RUN, trust=True)"
    )


def _whole(path: Path) -> Path:
    """The path from the root, links as they are: a download is full of links to nameless files."""
    return Path(os.path.abspath(path))  # noqa: PTH100  # pathlib's keeps ..


def _line(file: Path, content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()}  {_whole(file)}"


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
