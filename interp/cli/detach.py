"""A command that returns at once while its work goes on: in a queue, or in the background."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from interp.executors import Queue
from interp.executors.job_log import FOLDER
from interp.sweeps.launch import begun, leave_sweep
from interp.sweeps.sweep import Sweep, SweepFolder


def detached(
    sweep: Sweep, out: Path, engine: Any, *, jobs: int | None = None, **settings: Any
) -> str:
    """Submits a sweep to an engine that has a queue, or starts this command in the background.

    Args:
        sweep: What to train.
        out: Its folder.
        engine: Where it runs; None is this machine.
        jobs: How many jobs an engine is given, at most.
        settings: As for `train_sweep`.

    Returns:
        What goes on, and how to watch it, in words.

    Raises:
        ValueError: The sweep cannot be trained so; nothing was started.
    """
    watch = f"watch it with: interp status {out}"
    if isinstance(engine, Queue):
        given = {} if jobs is None else {"jobs": jobs}
        return f"{leave_sweep(sweep, out, engine, **given, **settings)}; {watch}"
    begun(SweepFolder(out, sweep), is_here=engine is None, **settings)
    process, log = in_background([each for each in sys.argv[1:] if each != "--detach"], out)
    return f"process {process} goes on, and writes {log}; {watch}; end it with: kill -INT {process}"


def in_background(arguments: list[str], out: Path) -> tuple[int, Path]:
    """Starts a command in a session of its own, which outlives the terminal.

    Args:
        arguments: Of `interp`.
        out: The sweep's folder, which holds the log of what the command says.

    Returns:
        The process's id, and the log.
    """
    log = out / FOLDER / f"head-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # A shell's background job ignores Ctrl-C, and so would what it starts.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "interp", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    signal.signal(signal.SIGINT, before)
    process.returncode = 0  # it is let go of: nobody waits for it here
    return process.pid, log
