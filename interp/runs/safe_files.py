"""How files are written: a reader, or a kill at any moment, finds them whole or not at all.

A file is written under a temporary name that no other process has, and renamed. What cannot be made
again is synced, so that it outlasts a power failure. Nothing is written through a symbolic link. A
full disk is an error that names the file and leaves no half of it behind. Below a folder that this
process holds (`interp.runs.leases`), each change asks at the last moment whether it still does.
"""

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

TEMPORARY = re.compile(r"\.(?P<name>.+?)(\.[0-9a-f]{8})?\.tmp")  # older versions: no digits
# Windows lacks the first two, and others the third, without which it changes the ends of lines.
PLAIN_FLAGS = ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY")
UNSYNCABLE = (errno.EINVAL, errno.ENOTSUP)  # errors of disks that cannot sync a folder

# By the real path of a folder that this process holds: what raises once it was taken over.
fences: dict[str, Callable[[], None]] = {}


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Writes a file under a temporary name and renames it.

    Args:
        path: The file. What stands there is replaced: of a symbolic link, the link and not the file
            that it points to.
        content: What it will hold.
        durable: Whether it must outlast a power failure. A sync takes milliseconds, and is not
            needed where the same command would write the file again.

    Raises:
        OSError: The disk is full or cannot be written to; what was there before is there still.
        ValueError: The folder was taken over by another process.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    check = _fence_of(path)
    try:
        check()
        make_folder(path.parent)
        if check is _unfenced:  # elsewhere nobody but the next to hold the folder removes them
            _remove_temporaries(path)
        _make(temporary, content, durable)
        check()
        # Whoever takes the folder over now removes the temporary file, and this fails.
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        check()
        raise _unwritten(path, error) from None


def append_whole(path: Path, content: bytes) -> None:
    """Writes at the end of a file; what a full disk cuts short is taken back.

    Raises:
        OSError: The disk is full or cannot be written to; the file is as it was before.
        ValueError: The file is a symbolic link, or the folder was taken over by another process.
    """
    file = open_plain(path, os.O_WRONLY | os.O_APPEND)
    check = _fence_of(path)
    try:
        size = os.fstat(file).st_size
        # Whoever takes the folder over now makes a new file of this name: what is added is lost.
        check()
        _append(file, content, size)
    except OSError as error:
        check()
        raise _unwritten(path, error) from None
    finally:
        os.close(file)


def sync(path: Path) -> None:
    """Makes what was appended to a file outlast a power failure."""
    file = open_plain(path, os.O_RDWR)  # Windows syncs no file that is open for reading alone
    try:
        os.fsync(file)
    finally:
        os.close(file)


def remove(path: Path) -> None:
    """Removes a file, if it is there.

    Raises:
        ValueError: The folder was taken over by another process.
    """
    _fence_of(path)()
    path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Removes a folder with all that is in it.

    Raises:
        ValueError: It was taken over by another process.
    """
    _fence_of(path / "any")()
    shutil.rmtree(path)


def move_folder(folder: Path, path: Path) -> None:
    """Moves a whole folder to its place, so that it outlasts a power failure there.

    Raises:
        ValueError: The folder above it was taken over by another process.
    """
    make_folder(path.parent)
    _fence_of(folder)()
    folder.replace(path)
    _sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it, so that they outlast a power failure."""
    if path.is_dir():
        return
    if not path.parent.exists():
        make_folder(path.parent)
    path.mkdir(exist_ok=True)
    _sync_folder(path.parent)


def open_plain(path: Path, flags: int) -> int:
    """The descriptor of a file, opened if it is no symbolic link.

    Raises:
        ValueError: It is a symbolic link.
        OSError: It cannot be opened.
    """
    try:
        if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return os.open(path, flags | sum(getattr(os, name, 0) for name in PLAIN_FLAGS), 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ValueError(
            f"{path} is a symbolic link, through which nothing is written: put the file that it "
            "points to in its place"
        ) from None


def as_table(text: str | bytes) -> dict[str, Any] | None:
    """The table that a JSON text is; None where it is no JSON, or anything but a table."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested without end
        return None
    return table if isinstance(table, dict) else None


def is_temporary(path: Path) -> bool:
    """Whether a file has the name of one that a killed process was writing."""
    return TEMPORARY.fullmatch(path.name) is not None


def remove_temporaries_in(folder: Path) -> None:
    """Removes what killed processes left in a folder, where there is one.

    Only names with digits, which no other program gives.
    """
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in list(entries):
            match = TEMPORARY.fullmatch(entry.name)
            if match and match[2] and not entry.is_dir(follow_symlinks=False):
                Path(entry.path).unlink(missing_ok=True)


def _unfenced() -> None:
    """Allows every write: outside of all folders that this process holds."""


def _fence_of(path: Path) -> Callable[[], None]:
    """What raises if the folder that a file is in was taken over by another process."""
    if not fences:
        return _unfenced
    folder = os.path.realpath(path.parent)
    while folder not in fences:
        folder, below = os.path.split(folder)
        if not below:  # the root
            return _unfenced
    return fences[folder]


def _remove_temporaries(path: Path) -> None:
    """Removes what killed processes left of a file."""
    with os.scandir(path.parent) as entries:
        matches = [TEMPORARY.fullmatch(entry.name) for entry in entries]
    for match in matches:
        if match and match["name"] == path.name:
            path.with_name(match[0]).unlink(missing_ok=True)


def _make(path: Path, content: bytes, durable: bool) -> None:
    """Writes a file that is not there yet."""
    with os.fdopen(open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def _append(file: int, content: bytes, size: int) -> None:
    """Writes at the end of a file, or leaves it as long as it was."""
    try:
        with os.fdopen(file, "wb", closefd=False) as opened:
            opened.write(content)
    except OSError:
        os.ftruncate(file, size)
        raise


def _sync_folder(path: Path) -> None:
    """Makes the names in a folder outlast a power failure, where a folder can be opened."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in UNSYNCABLE:
            raise
    finally:
        os.close(folder)


def _unwritten(path: Path, error: OSError) -> OSError:
    """An error that names the file, which errors of `write` do not."""
    return OSError(
        f"{path} could not be written ({error.strerror or error}); nothing is half written, and "
        "the same command goes on once it can be"
    )
