"""How far many runs have come, told from their folders alone."""

import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from interp.config import Experiment
from interp.runs import Run, is_done_with, last_step

LOOK_SECONDS = 0.5  # seconds between looks at the run folders, at the least
LOOKING_SHARE = 0.1  # of the time may go into looking


@dataclass(frozen=True)
class Progress:
    """How far many runs have come.

    Attributes:
        done: How many runs are finished or failed.
        runs: How many there are.
        steps: Updates made by all together, by their metrics so far.
    """

    done: int
    runs: int
    steps: int


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Sight:
    """What the watcher saw when it last looked at a run.

    Attributes:
        size: Bytes of its metrics.
        step: The step of their last row.
        is_kept: Whether that step's checkpoint was there.
        is_done: Whether the run was finished or failed.
    """

    size: int = -1
    step: int = 0
    is_kept: bool = False
    is_done: bool = False


UNSEEN = Sight()


class Watcher:
    """Looks at run folders: nothing else says how far runs on another machine have come.

    Args:
        experiments: What the runs are trained by, by folder.
        on_progress: Called after each look.
    """

    def __init__(self, experiments: Mapping[Path, Experiment], on_progress: Watch) -> None:
        self._experiments = experiments
        self._on_progress = on_progress
        self._sights: dict[Path, Sight] = {}  # the latest of each run
        self._next = 0.0  # seconds: when runs are looked at again

    def look(self) -> None:
        """Reports how far the runs are, unless it did so a moment ago."""
        if time.monotonic() >= self._next:
            self.look_now()

    def look_now(self) -> None:
        """Reports how far the runs are."""
        begin = time.monotonic()
        for path, experiment in self._experiments.items():
            self._look_at(path, experiment)
        end = time.monotonic()
        self._next = end + max(LOOK_SECONDS, (end - begin) / LOOKING_SHARE)
        self._on_progress(
            Progress(
                done=sum(sight.is_done for sight in self._sights.values()),
                runs=len(self._experiments),
                steps=sum(sight.step for sight in self._sights.values()),
            )
        )

    def _look_at(self, path: Path, experiment: Experiment) -> None:
        before = self._sights.get(path, UNSEEN)
        if before.is_done:
            return
        try:
            size = os.stat(f"{path}/metrics.jsonl").st_size  # noqa: PTH116  # a fifth of the time
        except OSError:
            return  # not begun: prepared, a folder has metrics, if of no bytes
        step = before.step if size == before.size else last_step(path / "metrics.jsonl") or 0
        # The checkpoint comes after the row: a run may be done though its metrics are as before.
        is_kept = (path / "checkpoints" / f"{step}.safetensors").is_file()
        has_failed = bool(Run(path).failure)
        if (size, is_kept) == (before.size, before.is_kept) and not has_failed:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a line that is being written
            is_done = has_failed or (is_kept and is_done_with(path, experiment))
        self._sights[path] = Sight(size, step, is_kept, is_done)
