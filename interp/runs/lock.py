"""One writer at a time in a run folder; readers need no leave.

The lock is the kernel's (`flock` on the hidden file `.lock`): it ends with the process, in whatever
way that ends, so that no kill leaves it behind. The empty file stays; removing it would let two
processes lock two files of one name. On NFS the lock holds between machines where the server offers
locks (Linux passes flock on to it since 2.6.12); mounted with `nolock`, only within one machine.
"""

import errno
import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interp.runs.files import open_plain

READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds a run folder for one writer.

    A folder that cannot be written to is not locked: nobody writes there, and reading is free.

    Raises:
        ValueError: Another process holds it, or `.lock` is a symbolic link.
    """
    file = _open(folder / ".lock")
    try:
        if file is not None:
            _lock(file, folder)
        yield
    finally:
        if file is not None:
            os.close(file)


def _open(path: Path) -> int | None:
    try:
        return open_plain(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno in READ_ONLY:
            return None
        raise


def _lock(file: int, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(
            f"{folder} is in use: another process is training or analysing it; wait until it is "
            "done, or choose another folder"
        ) from None
    except OSError as error:
        warnings.warn(
            f"{folder} cannot be locked here ({error.strerror}): see to it that no other process "
            "works on it",
            stacklevel=2,
        )
