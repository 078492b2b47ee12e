"""Where a command's work runs: what its options ask for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

UNITS = {"MB": 10**6, "GB": 10**9, "MIB": 2**20, "GIB": 2**30}  # bytes


@dataclass(frozen=True)
class Placement:
    """Options of commands whose work may run elsewhere, as they are given.

    Attributes:
        executor: A name, or none: processes of this machine.
        options: NAME=VALUE of the executor.
        jobs: How many jobs it is given, at most; None where nothing is said.
        device: Of a worker.
        memory: Of a worker's GPU, as text.
        part: K/N, or none.
        detach: Whether the command returns at once, and the work goes on.
    """

    executor: str | None = None
    options: Sequence[str] = ()
    jobs: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    memory: str | None = None
    part: str | None = None
    detach: bool = False

    def engine(self, folder: Path) -> Any:
        """The executor's engine, or none.

        Raises:
            ValueError: There is no such executor or option, or options stand without an executor.
        """
        from interp.executors.named import find_engine, parsed_options

        if self.executor is None:
            if self.options or self.jobs:
                given = "--option" if self.options else "--jobs"
                raise ValueError(f"{given} is of an executor: give --executor too")
            return None
        return find_engine(self.executor, parsed_options(self.options), folder)

    def settings(self) -> dict[str, Any]:
        """How jobs and parts are cut: arguments of `train_sweep`."""
        from interp.sweeps.groups import Part, Worker

        worker = Worker(self.device, _bytes(self.memory) if self.memory else 0)
        if (self.device == "cuda") != bool(self.memory):
            raise ValueError("--worker-device cuda and --worker-memory, such as 80GB, go together")
        chosen: dict[str, Any] = {"worker": worker}
        if self.jobs:
            chosen["jobs"] = self.jobs
        if self.part:
            chosen["part"] = Part.parse(self.part)
        return chosen


def _bytes(text: str) -> int:
    """Bytes that a text such as 80GB names."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]I?B)", text.upper())
    if not match or match[2] not in UNITS or float(match[1]) == 0:
        raise ValueError(f"--worker-memory {text}: give a size such as 80GB or 40GiB")
    return int(float(match[1]) * UNITS[match[2]])
