"""A run folder that is written whole: under a hidden name near its place, then moved there.

So no error leaves half a run. The hidden name is determined by the place, so that the same call,
given again after a kill, removes what the killed one left. The folder inside has another name each
time: a call that was taken over while it was paused moves no run that is not its own.
"""

import hashlib
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from interp.runs.opening import locked
from interp.runs.run import Run
from interp.runs.safe_files import remove_folder


def is_free(folder: Path) -> bool:
    """Whether a folder is empty."""
    return folder.is_dir() and not any(folder.iterdir())


def holds(folder: Path, other: Path) -> bool:
    """Whether a folder has every file of another one, byte for byte, and no other checkpoints."""
    return has_files_of(folder, other) and Run(folder).steps == Run(other).steps


def has_files_of(folder: Path, other: Path, without: Sequence[str] = ()) -> bool:
    """Whether a folder has every file of another one, byte for byte, except some names."""
    return all(
        (folder / file).is_file() and (folder / file).read_bytes() == (other / file).read_bytes()
        for file in [file.relative_to(other) for file in other.rglob("*") if file.is_file()]
        if file.name not in without
    )


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """A place for a folder that is not there yet, locked for one writer and removed at the end.

    It is in a hidden folder above another place, on the same disk.

    Raises:
        ValueError: Another process writes to the same place.
        OSError: It cannot be made.
    """
    name = f".interp-import-{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    above = [parent for parent in path.parents if parent.is_dir()]
    folder = next((parent / name for parent in above if (parent / name).is_dir()), above[0] / name)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OSError(
            f"{folder} cannot be made ({error.strerror or error}); choose another place"
        ) from None
    with locked(folder):
        for left in folder.glob("run*"):
            shutil.rmtree(left, ignore_errors=True)
        try:
            yield folder / f"run-{secrets.token_hex(4)}"
        finally:
            remove_folder(folder)
