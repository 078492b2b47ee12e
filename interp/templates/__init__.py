"""Files to start from: a task, a model or an analysis of a user's own, each with its test.

A folder here is a template. Its files work as they stand; a copy has the user's name in place of
`my_task` and `MyTask`, `my_model` and `MyModel`, `my_analysis` and `MyAnalysis`.
"""

import ast
import re
from collections.abc import Mapping
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from typing import Literal

Thing = Literal["task", "analysis", "model"]
TaskKind = Literal["one-answer", "several-answers", "endless", "inputs"]

TEMPLATES = Path(__file__).parent
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}")
# Where a word of a name in capitals begins: SortedDigits, XORTask.
WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def write_template(
    thing: Thing, name: str, kind: TaskKind = "one-answer", folder: Path | None = None
) -> list[Path]:
    """Writes the files of a template under a name of the user's.

    Args:
        thing: What the files are a start for.
        name: Of the class, or of its file: `SortedDigits` and `sorted_digits` give the same.
        kind: Which of the templates for tasks.
        folder: Where the files are written; the current folder where left out.

    Returns:
        The files: of the class, of the experiment that trains it (an analysis has none), of the
        test.

    Raises:
        ValueError: The name cannot be a class' and a file's; the message says why.
        FileExistsError: One of the files is there already; nothing is written.
    """
    stem, class_name = _stem_and_class(name)
    texts = {
        file.name: file.read_text(encoding="utf-8")
        for file in sorted((TEMPLATES / _template(thing, kind)).glob(f"*my_{thing}.*"))
    }
    renamed = {
        (folder or Path()) / file.replace(f"my_{thing}", stem): text.replace(
            f"my_{thing}", stem
        ).replace(f"My{thing.title()}", class_name)
        for file, text in texts.items()
    }
    for path in renamed:
        if path.exists() or path.is_symlink():
            raise FileExistsError(f"{path} is there already: take another name, or move it away")
    _check_free(thing, stem, class_name, texts)
    _write_all(renamed)
    return list(renamed)


def next_commands(thing: Thing, name: str) -> list[str]:
    """The commands to go on with, once the files of a template are written."""
    stem, class_name = _stem_and_class(name)
    test, run = f"python -m pytest test_{stem}.py", f"runs/{stem}-s0"
    if thing == "analysis":
        return [test, f"interp analyze RUN --only {stem}.py:{class_name}", "interp report RUN"]
    return [test, f"interp train {stem}.toml", f"interp analyze {run}", f"interp report {run}"]


def _template(thing: Thing, kind: TaskKind) -> str:
    return kind.replace("-", "_") if thing == "task" else thing


def _stem_and_class(name: str) -> tuple[str, str]:
    """The name in snake_case and in CamelCase.

    Raises:
        ValueError: It can be neither a module nor a class.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"'{name}' cannot name a class: take up to 60 letters, digits and _, a letter first"
        )
    stem = WORD_START.sub("_", name).lower()
    words = [word for word in name.split("_") if word]
    return stem, "".join(word[0].upper() + word[1:] for word in words)


def _check_free(thing: Thing, stem: str, class_name: str, texts: Mapping[str, str]) -> None:
    """Refuses a name that stands for something else where the files are read.

    Raises:
        ValueError: It does.
    """
    if iskeyword(stem) or iskeyword(class_name):
        raise ValueError(f"'{stem}' is a word of Python's own: take another name")
    if class_name.startswith("Test"):
        raise ValueError(f"pytest takes a class {class_name} for a test: take another name")
    if find_spec(stem) is not None:
        raise ValueError(f"{stem}.py would hide the module {stem}: take another name")
    if class_name in set().union(*(_names(text) for file, text in texts.items() if ".py" in file)):
        raise ValueError(f"the file uses the name {class_name} already: take another name")
    if thing == "analysis":
        from analyses import ANALYSES

        if class_name in ANALYSES:
            raise ValueError(f"there is an analysis {class_name} already: take another name")


def _names(code: str) -> set[str]:
    """The names that code reads, sets or imports."""
    nodes = list(ast.walk(ast.parse(code)))
    imported = {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}
    return imported | {node.id for node in nodes if isinstance(node, ast.Name)}


def _write_all(texts: Mapping[Path, str]) -> None:
    """Writes new files, or none of them.

    Raises:
        OSError: One cannot be written.
    """
    begun = []
    try:
        for path, text in texts.items():
            with path.open("x", encoding="utf-8") as file:
                begun.append(path)
                file.write(text)
    except OSError:
        for path in begun:
            path.unlink()
        raise
