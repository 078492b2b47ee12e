"""Turns tensors into results: one question a file, one line in `__init__.pyi`.

A class is imported when it is first asked for, so that a command loads the analyses it uses. Which
there are, and in which order, is read from the file that type checkers read.
"""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from sys import modules
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analyses.result import Analysis

_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_LINE = re.compile(r"^from (?P<module>\S+) import (?P<name>\w+) as (?P=name)$", re.MULTILINE)
_MODULES = {line["name"]: line["module"] for line in _LINE.finditer(_STUB)}
_NAMES = tuple(name for name, module in _MODULES.items() if module != "analyses.result")


class _Analyses(Mapping[str, "Analysis"]):
    """Result classes by name, each imported when it is looked up.

    A class of the user's own answers to its name too once it is added, and is not among those that
    are listed.
    """

    def __init__(self) -> None:
        self._own: dict[str, Analysis] = {}

    def add(self, cls: "Analysis") -> None:
        """Adds a class of the user's own; it replaces an earlier version of the same file.

        Raises:
            ValueError: An analysis that is listed has its name, or one of another file.
        """
        earlier = self._own.get(cls.__name__, cls)
        file, other = (getattr(modules[each.__module__], "__file__", "") for each in (cls, earlier))
        if cls.__name__ in _NAMES or file != other:
            raise ValueError(f"there is an analysis {cls.__name__} already: call yours otherwise")
        self._own[cls.__name__] = cls

    def __getitem__(self, name: str) -> "Analysis":
        if name in _NAMES:
            return __getattr__(name)
        return self._own[name]

    def __contains__(self, name: object) -> bool:
        return name in _NAMES or name in self._own  # the mixin's would import it to find out

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)

    def __repr__(self) -> str:
        return f"ANALYSES({', '.join(_NAMES)})"


ANALYSES = _Analyses()

__all__ = ["ANALYSES", *_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]  # it reads the stub


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'analyses' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
