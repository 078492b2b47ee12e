"""Other machines: real processes under names of their own, whose kernel's locks reach nobody.

On a mount without locks (`nolock`) that is all that one machine sees of another one.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from interp.runs import leases, opening
from interp.runs.opening import locked
from interp.training.loop import train
from tests.planted import tiny_experiment

STEPS = 40  # of a training, with an evaluation every few
PATIENCE = 60  # seconds after which a test gives up on a process
names: Any = Path
system: Any = os


class Machine:
    """A process that does some work, and sends what becomes of it."""

    def __init__(self, name: str, work: Callable[..., Any], *arguments: Any, **facts: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        # As a sweep's workers do, whose server this is where there is one already.
        context.set_forkserver_preload(["interp.sweeps.workers"])
        self.connection, other_end = context.Pipe()
        self.process = context.Process(
            target=_work, args=(name, facts, other_end, work, arguments), daemon=True
        )
        self.process.start()
        other_end.close()

    def told(self) -> Any:
        """The next thing that it sends."""
        assert self.connection.poll(PATIENCE), "nothing was sent"
        return self.connection.recv()

    def signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait_until_stopped(self) -> None:
        """Waits until it has stopped itself."""
        deadline = time.monotonic() + PATIENCE
        while (
            Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T"
        ):
            assert time.monotonic() < deadline, "it does not stop"
            time.sleep(0.01)

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def become(name: str, *, beat: float = 0.05, lease: float = 30.0, clock: float = 0.0) -> None:
    """Makes this process another machine, with other times and a clock that is wrong."""
    now, change = time.time, setattr
    change(leases, "this_machine", lambda: (name, name))
    change(leases, "BEAT_SECONDS", beat)
    change(leases, "LEASE_SECONDS", lease)
    change(opening, "_flock", lambda file: None)
    change(time, "time", lambda: now() + clock)


def _work(
    name: str,
    facts: dict[str, float],
    connection: Connection,
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    become(name, **facts)
    try:
        connection.send(work(connection, *arguments))
    except Exception as error:  # which the test looks at
        connection.send((type(error).__name__, str(error)))


def stay(connection: Connection, folder: Path) -> str:
    """Holds a folder until told to go."""
    with locked(folder):
        connection.send("held")
        connection.recv()
    return "released"


def take_turns(connection: Connection, folder: Path, turns: int) -> int:
    """Holds a folder several times; fails where another process is inside."""
    refused = 0
    while turns:
        try:
            with locked(folder):
                (folder / "inside").touch(exist_ok=False)
                time.sleep(0.02)
                (folder / "inside").unlink()
                turns -= 1
        except leases.InUse:
            refused += 1
        time.sleep(0.01)
    return refused


def race(connection: Connection, folders: list[Path]) -> list[bool]:
    """Tries to hold folders that a dead machine has left; all processes begin each at once."""
    change = setattr
    change(leases, "is_gone", lambda lease, **_: lease.host == "dead")
    won = []
    for folder in folders:
        connection.send("ready")
        connection.recv()
        try:
            with locked(folder):
                won.append(True)
                connection.send("tried")
                connection.recv()
        except leases.InUse:
            won.append(False)
            connection.send("tried")
            connection.recv()
    return won


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def train_and_stop(connection: Connection, folder: Path, where: str) -> str:
    """Trains, and stops itself in the middle: at an evaluation, or inside of a write."""
    rename, open_file, seen = names.replace, os.fdopen, []

    def replace(path: Path, to: Path) -> Path:
        if where == f"rename {to.name}":
            stop()
        return rename(path, to)

    def fdopen(file: int, *arguments: Any, **options: Any) -> Any:
        is_metrics = names(f"/proc/self/fd/{file}").readlink().name == "metrics.jsonl"
        seen.extend([1] * is_metrics)
        if where == "append" and is_metrics and len(seen) == 3:
            stop()
        return open_file(file, *arguments, **options)

    def on_evaluate(row: dict[str, float], end: int) -> None:
        if where == "between steps" and row["step"] == 20:
            stop()

    names.replace, system.fdopen = replace, fdopen
    train(tiny_experiment(steps=STEPS), folder, device="cpu", on_evaluate=on_evaluate)
    return "trained"
