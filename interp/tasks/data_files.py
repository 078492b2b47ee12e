"""Files that a task reads: where they are, and whether their content has changed.

A task names its files by absolute paths, so that a run loads from any folder and never takes
another file of the same name. A relative path begins at the folder of the TOML file that names it,
or, in Python, at the current folder. A run's own folder may hold files of its task (`OwnFile`, and
those of runs that were shared): it names them by relative paths, so that it can be moved and sent.
"""

import hashlib
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from hooks.own_classes import RELATIVE, RUN

KEPT = "kept"  # rule: relative paths stay relative, since older versions wrote them into runs
REFUSED = "refused"  # rule: relative paths are an error
UNREAD = "unread"  # rule: relative paths stay so, since nothing is read

Stamp = tuple[str, int, int]


def taken_from(rule: Path | str, run: Path | None = None) -> dict[str, Any]:
    """The context of a validation, which says what becomes of relative paths.

    Args:
        rule: The folder at which they begin, `KEPT`, `REFUSED` or `UNREAD`.
        run: A run's folder: under the rule `KEPT`, paths of files in it are taken from there.
    """
    return {RELATIVE: rule, RUN: run}


def _absolute(path: str, info: Any) -> str:  # pydantic's ValidationInfo, which no check can take
    if Path(path).is_absolute():
        return path
    rule = (info.context or {}).get(RELATIVE, Path.cwd())
    if rule == UNREAD:
        return path
    if rule == REFUSED:
        raise ValueError("a relative path; write the whole path here")
    if rule == KEPT:
        run = (info.context or {}).get(RUN)
        if run is not None and ".." not in Path(path).parts and (run / path).is_file():
            return str((run / path).absolute())  # not resolved: a download is full of links
        warnings.warn(
            f"the run names its data file by the relative path {path}, as older versions wrote it, "
            "and its folder has no such file: it is looked for in the current folder; put it into "
            "the run's folder, or write the whole path into experiment.toml",
            stacklevel=2,
        )
        return path
    return str((rule / path).resolve())


def _beside(path: str, info: Any) -> str:
    run = (info.context or {}).get(RUN)
    is_kept = (info.context or {}).get(RELATIVE) == KEPT
    if is_kept and run is not None and not Path(path).is_absolute():
        return str((run / path).absolute())
    return _absolute(path, info)


DataFile = Annotated[str, AfterValidator(_absolute)]
OwnFile = Annotated[str, AfterValidator(_beside)]  # may lie in the run's folder


def names_folders(text: str) -> bool:
    """Whether a text is a path that begins at the root, and so tells folders of this machine."""
    path = Path(text)
    return path.is_absolute() and len(path.parts) > 2  # `/` may be a word of a task


def stamp_of(path: str) -> Stamp:
    """Path, time of change and size of a file; another stamp means another content.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is a folder.
    """
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"the task's data file {path} is a folder: name the file in it")
    if not file.is_file():
        raise FileNotFoundError(
            f"the task's data file {path} does not exist; a relative path is taken from the folder "
            "of the TOML file that names it"
        )
    status = file.stat()
    return path, status.st_mtime_ns, status.st_size


def text_lines(path: str) -> list[str]:
    """The lines of a text file, without their ends.

    Raises:
        ValueError: It is empty, or not UTF-8.
        FileNotFoundError: There is no such file.
    """
    stamp_of(path)  # raises where there is no such file
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error}") from None
    if not text:
        raise ValueError(f"{path}: the file is empty")
    return text.removesuffix("\n").split("\n")


@lru_cache(maxsize=16)
def sha256_of(stamp: Stamp) -> str:
    """The SHA-256 of a file's content."""
    with Path(stamp[0]).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
