"""Finds an engine by its name and options: `local`, `slurm`, `ray`, or a factory of the user's own.

[executor]                      # a TOML file of its own: a sweep says what, and never where
name = "slurm"
partition = "gpu"
timeout_min = 240
"""

import inspect
import sys
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from importlib import import_module
from pathlib import Path
from typing import Any

from interp.config import read_toml
from interp.executors.engine import Engine, as_engine, in_words
from interp.executors.local import Processes, worker_count
from interp.executors.ray import Ray
from interp.executors.slurm import Slurm

KNOWN = "local, slurm, ray, package.module:factory, or a TOML file with a table [executor]"


def find_engine(name: str, options: Mapping[str, Any], folder: Path) -> Engine:
    """The engine of a name.

    Args:
        name: local, slurm, ray, package.module:factory, or a TOML file.
        options: The engine's own; they go before those of a file.
        folder: Where an engine keeps what it has to write.

    Raises:
        ValueError: No such engine, an option that it does not have, or an extra is not installed.
    """
    if name.endswith(".toml"):
        name, table = _of_file(Path(name))
        options = table | dict(options)
    if name == "local":
        return _called(processes, options, "local")
    if name == "slurm":
        return Slurm(folder, options)
    if name == "ray":
        return Ray(options)
    if ":" in name:
        return _made_by(name, options)
    raise ValueError(f"executor '{name}' is unknown; there are {KNOWN}")


def processes(workers: Any = None) -> Processes:
    """Processes of this machine; as many as suit it where nothing is asked.

    Raises:
        ValueError: `workers` is no whole number of at least 1.
    """
    if workers is None:
        return Processes(worker_count("auto"))
    if type(workers) is not int or workers < 1:  # an option may be anything
        raise ValueError(f"workers must be a whole number of at least 1, got {workers!r}")
    return Processes(workers)


def parsed_options(texts: Sequence[str]) -> dict[str, Any]:
    """Options given as NAME=VALUE; a value is TOML where it can be, else text.

    Raises:
        ValueError: One has no `=`.
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (sign and name):
            raise ValueError(f"--option {text}: give NAME=VALUE, such as partition=gpu")
        try:
            options[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            options[name] = value
    return options


def _of_file(path: Path) -> tuple[str, dict[str, Any]]:
    """The name and the options that a file's table gives."""
    if not path.is_file():
        raise ValueError(f"executor {path}: no such file; there are {KNOWN}")
    tables = read_toml(path)
    table = tables.pop("executor", None)
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        raise ValueError(f"{path}: no table [executor] with a name; there are {KNOWN}")
    if tables:
        raise ValueError(f"{path}: {', '.join(tables)}: only [executor] is read; take the rest out")
    name = table.pop("name")
    if name.endswith(".toml"):
        raise ValueError(f"{path}: executor.name is a file again; there are {KNOWN}")
    return name, table


def _made_by(name: str, options: Mapping[str, Any]) -> Engine:
    """The engine that a user's own factory makes."""
    module, _, attribute = name.partition(":")
    sys.path.append(str(Path.cwd()))  # a command's own path is its program's folder
    try:
        factory = getattr(import_module(module), attribute)
    except Exception as error:  # of a user's own code, of whatever kind
        raise ValueError(f"executor {name} cannot be imported: {error}") from error
    finally:
        sys.path.pop()
    made = _called(factory, options, name)
    if not isinstance(made, Engine | Executor):
        raise ValueError(
            f"executor {name} gives {type(made).__name__}, and not a concurrent.futures.Executor"
        )
    return as_engine(made)


def _called(factory: Any, options: Mapping[str, Any], name: str) -> Any:
    """What a factory makes of options; whatever it raises is one line."""
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(factory).parameters) or "none"
        raise ValueError(f"executor {name}: {error}; its options are {known}") from None
    try:
        return factory(**options)
    except Exception as error:  # of a user's own code, of whatever kind
        raise ValueError(f"executor {name}: {in_words(error)}") from error
