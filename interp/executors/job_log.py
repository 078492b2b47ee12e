"""Logs of jobs, beside the sweep: `FOLDER/jobs/<time>-<host>-<pid>.log`, one of each process.

Plain text that grows while a process works for a sweep: where it runs, what it begins and ends,
warnings, and of what fails one line with the names of the runs, then the traceback.

    2026-12-01T01:44:52Z begins on node7, pid 4711, cuda (NVIDIA H200), Slurm job 12_3
    2026-12-01T01:44:53Z trains lr-0.1_s0-1a2b3c4d,lr-0.1_s1-5e6f7a8b
    2026-12-01T01:50:07Z failed lr-0.1_s0-1a2b3c4d,lr-0.1_s1-5e6f7a8b: 2 models do not fit ...

A log that cannot be written stops no work.
"""

import os
import re
import socket
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from interp.executors.engine import in_words
from interp.training.device import Device, pick_device

FOLDER = "jobs"  # beside the runs
# What befalls runs: a fault counts until they are trained again.
EVENT = re.compile(
    r"(?P<time>\S+Z) ((trains|ends) (?P<again>\S+)$|failed (?P<runs>\S+): (?P<message>.*))"
)
# Where engines tell a job its number; of Slurm's, that of an array first.
NUMBERS = (
    ("Slurm job", ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")),
    ("Slurm job", ("SLURM_JOB_ID",)),
    ("Ray job", ("RAY_JOB_ID",)),
)


@dataclass(frozen=True)
class JobLog:
    """A process's log.

    Attributes:
        file: Where it stands; None keeps none.
    """

    file: Path | None

    @classmethod
    def of(cls, folder: Path | None) -> "JobLog":
        """This process's log beside a sweep, or beside runs.

        Args:
            folder: The sweep's folder; None for no log.
        """
        return cls(None if folder is None else folder / FOLDER / _name(os.getpid()))

    def say(self, text: str) -> None:
        """Adds a line, with the time; text of several lines is indented from its second on."""
        if self.file is None:
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with suppress(OSError):  # a full disk, a folder that is read only
            self.file.parent.mkdir(exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(f"{now} " + text.rstrip().replace("\n", "\n    ") + "\n")

    def begins(self, device: Device) -> None:
        """Says where this process runs."""
        self.say(f"begins on {_place(device)}")

    def failed(self, runs: Sequence[str], fault: BaseException) -> None:
        """Says what stopped some runs: a line with their names, then the traceback."""
        first = (in_words(fault).splitlines() or [""])[0]
        trace = "".join(traceback.format_exception(fault))
        self.say(f"failed {','.join(runs)}: {first}\n{trace}")

    @contextmanager
    def warnings(self) -> Iterator[None]:
        """A block whose warnings are added to the log; they are shown as before, too."""
        with warnings.catch_warnings():
            shown = warnings.showwarning

            def show(message: Any, category: Any, *rest: Any, **named: Any) -> None:
                self.say(f"warning: {message}")
                shown(message, category, *rest, **named)

            warnings.showwarning = show
            yield


def failures(folder: Path) -> dict[str, str]:
    """What stopped runs of a sweep by the logs of its jobs: the latest first line, by run's name.

    A run that was trained again since is not among them.

    Args:
        folder: The sweep's folder.
    """
    latest: dict[str, tuple[str, str]] = {}  # time and message, which is empty without a fault
    for file in sorted((folder / FOLDER).glob("*.log")):
        with suppress(OSError), file.open(encoding="utf-8", errors="replace") as lines:
            for match in filter(None, map(EVENT.match, lines)):
                told = (match["time"], match["message"] or "")
                for run in (match["runs"] or match["again"]).split(","):
                    if told[0] >= latest.get(run, told)[0]:
                        latest[run] = told
    return {run: message for run, (_, message) in latest.items() if message}


def last_line(*files: Path) -> str:
    """The last line with text in it of the first of some files that has one."""
    for file in files:
        with suppress(OSError):
            text = file.read_text(encoding="utf-8", errors="replace")
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            if lines:
                return lines[-1]
    return ""


@cache
def _name(process: int) -> str:
    """The name of a process's log: the same as long as the process lives."""
    now = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    return f"{now}-{socket.gethostname()}-{process}.log"


def _place(device: Device) -> str:
    """Host, process, device, and the engine's number of the job."""
    kind = pick_device(device).type
    model = f" ({torch.cuda.get_device_name()})" if kind == "cuda" else ""
    parts = [socket.gethostname(), f"pid {os.getpid()}", kind + model]
    for engine, names in NUMBERS:
        values = [os.environ[name] for name in names if name in os.environ]
        if len(values) == len(names):
            parts.append(f"{engine} {'_'.join(values)}")
            break
    return ", ".join(parts)
