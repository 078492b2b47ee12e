"""Who writes to a run folder, told to other machines: lease files with a heartbeat.

The lease of a folder is its hidden file `.lease.<n>` of the highest n. Whoever creates the next one
holds the folder; creating a file that must not be there yet has one winner on every file system,
NFS since version 3 among them. A thread touches each lease that this process holds, a beat; an end
in good order is written into the lease, which stays, so that no number is ever given twice.

No two clocks are compared. Times in a lease are the file system's, and a lease counts as left
behind once its owner has not touched it for `LEASE_SECONDS` of the observer's own monotonic clock,
or at once where the kernel says that its process is gone. An owner that was paused for so long
finds its lease gone when it wakes: every write asks for it last (`safe_files.fences`).
"""

import errno
import json
import math
import os
import platform
import re
import secrets
import threading
import time
import uuid
import warnings
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from stat import S_ISREG

from interp.runs.safe_files import (
    as_table,
    fences,
    open_plain,
    remove_temporaries_in,
    write_whole,
)

BEAT_SECONDS = 10.0  # between two touches of a lease by its owner
LEASE_SECONDS = 60.0  # without a touch, after which a lease counts as left behind
LOOKS_A_BEAT = 10  # of whoever waits
NAME = re.compile(r"\.lease\.([0-9]+)")
FIELDS = {"token": str, "host": str, "machine": str, "process": int, "began": float}  # in a file
MAX_BYTES = 4096  # of a lease
THREAD = "heartbeat of leases"
GONE = (errno.ENOENT, errno.ESTALE)
READ_ONLY_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS)


class InUse(ValueError):  # noqa: N818  # a state, as the message says
    """Another process writes to a folder."""


class LeaseLost(ValueError):  # noqa: N818
    """A folder was taken over by another process while this one was paused."""


@dataclass(frozen=True)
class Lease:
    """Who holds a folder, or held it last.

    Attributes:
        folder: The folder.
        number: Leases of the folder so far.
        token: A random text that no other lease has.
        host: The name of the owner's machine.
        machine: What no other machine has, nor this one after it is started again.
        process: The owner's process id.
        began: When it was taken, in seconds by the file system's clock.
        is_held: Whether its owner has not ended in good order.
        beat: When its owner touched it last, in nanoseconds by the file system's clock.
    """

    folder: Path
    number: int
    token: str = ""
    host: str = "an unknown machine"
    machine: str = ""
    process: int = 0
    began: float = 0.0
    is_held: bool = True
    beat: int = 0

    @property
    def file(self) -> Path:
        """The file."""
        return self.folder / f".lease.{self.number}"

    @property
    def owner(self) -> str:
        """Process, machine and time, in words."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.began))
        return f"process {self.process} on {self.host}, since {since}"

    def content(self) -> bytes:
        """What the file holds; as many bytes while it is held as afterwards."""
        state = "held" if self.is_held else "free"
        facts = {"state": state} | {name: getattr(self, name) for name in FIELDS}
        return json.dumps(facts).encode() + b"\n"


@dataclass(frozen=True)
class Sight:
    """What this process has seen of a lease of another one.

    Attributes:
        lease: The lease at the latest look.
        at: When that was, by this machine's monotonic clock.
        unchanged: Seconds of observation without a beat.
        beat_at: When a look last found a beat that was less than a lease old, by the same clock.
    """

    lease: Lease
    at: float
    unchanged: float = 0.0
    beat_at: float = -math.inf

    @property
    def is_beating(self) -> bool:
        """Whether the owner was alive not long ago."""
        return self.at - self.beat_at < LEASE_SECONDS


# The state of this process: what it holds and has seen, by the folders' real paths.
_held: dict[str, Lease] = {}
_sights: dict[str, Sight] = {}
_changing = threading.Lock()  # what is held, and the thread that touches it
_ending: threading.Event | None = None  # set, it ends the thread; None while there is none


def lease_of(folder: Path) -> Lease | None:
    """The newest lease of a folder, held or released; None where there never was one."""
    return _newest(folder)[1]


def hold(folder: Path, *, is_locked: bool) -> Lease | None:
    """Takes a folder for this process; waits where an earlier owner may still be alive.

    What the earlier owner could still write is put out of its reach before this returns: files
    under temporary names are removed, so that it cannot rename them, and the metrics are copied
    into a new file, so that it cannot append to them.

    Args:
        folder: The folder.
        is_locked: Whether this process holds the kernel's lock of the folder: then no other process
            of this machine has it.

    Returns:
        The lease; None where the folder cannot be written to.

    Raises:
        InUse: A living process holds it.
    """
    own = _held.get(os.path.realpath(folder))
    if own is not None and own.process == os.getpid():
        raise in_use(folder, own)
    try:
        lease, former = _taken(folder, is_locked=is_locked)
    except OSError as error:
        if error.errno in READ_ONLY_ERRORS:
            return None
        raise
    _keep(lease)
    try:
        for earlier in _numbers(folder) - {lease.number}:
            with suppress(OSError):
                replace(lease, number=earlier).file.unlink()
        if former is None or former.is_held:
            _remove_temporaries(lease.folder)
        if former is not None and former.is_held and not is_gone(former, is_locked=is_locked):
            _renew_metrics(lease.folder)
    except BaseException:
        release(lease)
        raise
    return lease


def release(lease: Lease) -> None:
    """Ends a lease of this process; one that was taken over is left to its new owner."""
    if lease.process != os.getpid():  # a fork of the owner
        return
    with _changing:
        _held.pop(str(lease.folder), None)
        fences.pop(str(lease.folder), None)
        if _ending is not None and not _own():
            _ending.set()
    with suppress(OSError):
        if _is_current(lease):
            file = open_plain(lease.file, os.O_WRONLY)
            try:
                os.write(file, replace(lease, is_held=False).content())
            finally:
                os.close(file)


def sight(folders: Iterable[Path]) -> list[Path]:
    """Looks at the leases of many folders; those that another machine may still hold.

    Whoever will need the folders later calls this first: what was seen is remembered, so that the
    waits for left ones run at the same time.
    """
    leases = [(folder, lease_of(folder)) for folder in folders]
    return [
        folder
        for folder, lease in leases
        if lease is not None and _look(folder, lease, is_locked=True) is not None
    ]


def wait_for(folders: Collection[Path], *, is_locked: bool = True) -> None:
    """Waits until no other machine may hold any of some folders; a warning says why it waits.

    Args:
        folders: The folders.
        is_locked: As for `hold`.

    Raises:
        InUse: A living process holds one of them.
    """
    is_told = False
    while waiting := _waiting(folders, is_locked=is_locked):
        if not is_told and min(seen.unchanged for seen in waiting) > 1.5 * BEAT_SECONDS:
            is_told = True
            lease, *others = (seen.lease for seen in waiting)
            more = f" and {len(others)} other folders are" if others else " is"
            warnings.warn(
                f"{lease.folder}{more} held by {lease.owner}, without a sign of life so far; "
                f"waiting {LEASE_SECONDS:.0f} seconds for one before taking over",
                stacklevel=2,
            )
        time.sleep(BEAT_SECONDS / LOOKS_A_BEAT)


def in_use(folder: Path, lease: Lease | None) -> InUse:
    """The error that says who writes to a folder."""
    owner = f" (held by {lease.owner})" if lease is not None and lease.is_held else ""
    return InUse(
        f"{folder} is in use: another process is training or analysing it, or a recorder is open; "
        f"wait until it is done, close the recorder, or choose another folder{owner}"
    )


def this_machine() -> tuple[str, str]:
    """The name of this machine, and what no other machine has."""
    return platform.node(), _machine()


@cache
def _machine() -> str:
    """What no other machine has, nor, on Linux, this one before or after it was started.

    Containers see process ids of their own: each counts as a machine.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{uuid.getnode():x}"


def _taken(folder: Path, *, is_locked: bool) -> tuple[Lease, Lease | None]:
    """A new lease, the newest of a folder, and the one before it if that is still there."""
    number = 0
    while True:
        number, former = _newest(folder, number)
        if former is not None and _look(folder, former, is_locked=is_locked) is not None:
            wait_for([folder], is_locked=is_locked)
            continue
        number += 1
        try:
            lease = _created(folder, number)
        except FileExistsError:  # another process was quicker
            continue
        # A client of NFS may have listed the folder as it was; after its own change it does not.
        if max(_numbers(folder), default=0) == number:
            return lease, former
        lease.file.unlink(missing_ok=True)


def _waiting(folders: Collection[Path], *, is_locked: bool) -> list[Sight]:
    """What is seen of those folders that another process may still hold.

    Raises:
        InUse: One shows a sign of life.
    """
    waiting = []
    for folder in folders:
        lease = lease_of(folder)
        seen = lease and _look(folder, lease, is_locked=is_locked)
        if seen is not None and seen.is_beating:
            raise in_use(folder, lease)
        if seen is not None:
            waiting.append(seen)
    return waiting


def _look(folder: Path, lease: Lease, *, is_locked: bool) -> Sight | None:
    """What has been seen of a lease, with one more look; None where nobody can hold it.

    A pause between two looks counts for little: where the file system itself has stood still, a
    living owner has time for two beats before it is given up.
    """
    key, now = os.path.realpath(folder), time.monotonic()
    before = _sights.pop(key, None)
    if not lease.is_held or is_gone(lease, is_locked=is_locked):
        return None
    seen = Sight(lease, now)
    if before is not None and before.lease == lease:
        pause = min(now - before.at, LEASE_SECONDS - 2 * BEAT_SECONDS)
        seen = replace(before, at=now, unchanged=before.unchanged + pause)
    elif before is not None and before.lease.number == lease.number:
        beat_at = now if now - before.at < LEASE_SECONDS else before.beat_at
        seen = Sight(lease, now, beat_at=beat_at)
    _sights[key] = seen
    return seen if seen.unchanged < LEASE_SECONDS else None


def is_gone(lease: Lease, *, is_locked: bool) -> bool:
    """Whether the kernel says that a lease's process has ended."""
    if (lease.host, lease.machine) != this_machine():
        return False
    if is_locked:
        return True
    if os.name != "posix" or lease.process < 1:
        return False
    try:
        os.kill(lease.process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _numbers(folder: Path) -> set[int]:
    """The numbers of a folder's leases."""
    with (
        suppress(FileNotFoundError, NotADirectoryError, PermissionError),
        os.scandir(folder) as entries,
    ):
        return {int(match[1]) for entry in entries if (match := NAME.fullmatch(entry.name))}
    return set()


def _newest(folder: Path, known: int = 0) -> tuple[int, Lease | None]:
    """The highest number given so far, and its lease, unless that is gone since it was listed.

    Args:
        folder: The folder.
        known: A number that was given; NFS may list a folder as it was a while ago.
    """
    number = max({known} | _numbers(folder))
    return number, _read(folder, number) if number else None


def _read(folder: Path, number: int) -> Lease | None:
    """A lease; None where it is gone. Of one that cannot be read only the last beat is known."""
    lease = Lease(Path(os.path.realpath(folder)), number)
    try:
        content, beat = _file_of(lease)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise
    return _parsed(replace(lease, beat=beat), content)


def _file_of(lease: Lease) -> tuple[bytes, int]:
    """What a lease's file holds, and when it was touched; nothing of one that cannot be read."""
    try:
        file = open_plain(lease.file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (PermissionError, ValueError):  # of another user, or a link
        return b"", lease.file.lstat().st_mtime_ns
    try:
        status = os.fstat(file)
        return os.read(file, MAX_BYTES) if S_ISREG(status.st_mode) else b"", status.st_mtime_ns
    finally:
        os.close(file)


def _parsed(lease: Lease, content: bytes) -> Lease:
    """A lease with what its file says, if that is whole."""
    facts = as_table(content) or {}
    if facts.keys() != {"state", *FIELDS} or not all(
        type(facts[name]) is kind for name, kind in FIELDS.items()
    ):
        return lease
    is_held = facts.pop("state") != "free"
    return replace(lease, is_held=is_held, **facts)


def _created(folder: Path, number: int) -> Lease:
    """A new lease of this process.

    Raises:
        FileExistsError: There is one of this number.
        OSError: It cannot be written.
    """
    host, machine = this_machine()
    lease = Lease(
        folder=Path(os.path.realpath(folder)),
        number=number,
        token=secrets.token_hex(8),
        host=host,
        machine=machine,
        process=os.getpid(),
    )
    file = open_plain(lease.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        lease = replace(lease, began=os.fstat(file).st_mtime)
        os.write(file, lease.content())
    except OSError:
        lease.file.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    return lease


def _remove_temporaries(folder: Path) -> None:
    """Removes what an earlier owner was writing; should it wake, it finds nothing to rename."""
    for place in (folder, folder / "checkpoints", *(folder / "results").glob("*/*/")):
        remove_temporaries_in(place)


def _renew_metrics(folder: Path) -> None:
    """Copies the metrics into a new file: an earlier owner that wakes appends to the old one."""
    metrics = folder / "metrics.jsonl"
    if metrics.is_file() and not metrics.is_symlink():
        write_whole(metrics, metrics.read_bytes())


def _is_current(lease: Lease) -> bool:
    """Whether a lease is still there and held, by a look at the file system."""
    try:
        return _file_of(lease)[0] == lease.content()
    except OSError as error:
        if error.errno in GONE:
            return False
        raise


def _check(lease: Lease) -> None:
    """Refuses to write where a lease was lost.

    Raises:
        LeaseLost: It was.
    """
    if _is_current(lease):
        return
    newest = lease_of(lease.folder)
    taker = "another process" if newest is None else newest.host
    raise LeaseLost(
        f"{lease.folder} was taken over by {taker} while this process was paused; nothing more is "
        "written here"
    )


def _keep(lease: Lease) -> None:
    """Notes a lease of this process, from now on touched by a thread and asked for by writes."""
    global _ending
    _sights.pop(str(lease.folder), None)
    with _changing:
        _held[str(lease.folder)] = lease
        fences[str(lease.folder)] = partial(_check, lease)
        if _ending is None or _ending.is_set():
            _ending = threading.Event()
            threading.Thread(target=_beat, args=(_ending,), name=THREAD, daemon=True).start()


def _own() -> list[Lease]:
    """The leases of this process, without those of a process that it was forked from."""
    return [lease for lease in _held.values() if lease.process == os.getpid()]


def _beat(ending: threading.Event) -> None:
    """Touches every lease of this process, until it holds none.

    By name: the file of a lease that was taken over is gone, and its number is not given again. An
    error means nothing here, since every write looks for itself whether its lease is there.
    """
    while not ending.wait(BEAT_SECONDS):
        with _changing:
            leases = _own()
        for lease in leases:
            with suppress(OSError):
                os.utime(lease.file)


def _after_fork() -> None:
    """A forked process holds nothing, though its writes ask for the leases of the other."""
    global _changing, _ending
    _changing, _ending = threading.Lock(), None


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
