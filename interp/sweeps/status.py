"""How does a sweep stand, by its folders alone: what is done, what runs where, what is left?

A run is done once its last row and that row's checkpoint are there (whether all rows before are
sound is looked at by who trains or reads it). One that is not done is running while its lease is
touched (`interp.runs.leases`), lost once that has not been for `LEASE_SECONDS`, stopped where the
log of a job names a fault, else left. "Now" is the file system's clock, as all times in leases are.

Steps per second of a running run are counted from the first checkpoint that its process wrote to
the last row, so that starting is not in them.
"""

import os
import re
import tempfile
import textwrap
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from interp.config import Experiment
from interp.executors.job_log import failures
from interp.runs import Run, find_runs, is_done_with, last_step
from interp.runs.leases import LEASE_SECONDS, Lease, is_gone, lease_of
from interp.runs.run import STEP
from interp.sweeps.groups import duration
from interp.sweeps.sweep import SweepFolder, find_sweep

if TYPE_CHECKING:
    import pandas

State = Literal["done", "failed", "unreadable", "stopped", "running", "lost", "left"]
UNFINISHED: tuple[State, ...] = ("unreadable", "stopped", "running", "lost", "left")
WHAT_NEXT: Mapping[State, str] = {  # said after the number of runs
    "failed": "they are passed over",
    "stopped": "the same command tries them again",
    "lost": "the same command takes them over",
}
MIN_SECONDS = 1.0  # of training, from which a rate is told
MAX_LINES = 8  # reasons, or hosts, of a state that are listed
WIDTH = 80  # columns
AT_STEP = re.compile(r"\bstep (\d+)")


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How a run stands.

    Attributes:
        name: Its folder's name.
        state: done; failed (its metrics are no longer numbers: `Run.failure`); running; lost (a
            process that held it gives no sign); stopped (a job met a fault); unreadable; left.
        step: Where it stands: its last row, or, of one that nobody trains, its last checkpoint.
        steps: Those it will have in the end; with a stop rule, at most.
        reason: Why it failed, stopped or is unreadable.
        host: Where it runs, or ran when it was lost.
        process: The process's id there.
        since: When that process took it, in seconds by the file system's clock.
        silent: Seconds since that process gave a sign.
        rate: Steps per second while it has been running there; None where no row is recorded yet.
    """

    name: str
    state: State
    step: int = 0
    steps: int = 0
    reason: str = ""
    host: str = ""
    process: int = 0
    since: float = 0.0
    silent: float = 0.0
    rate: float | None = None


@dataclass(frozen=True)
class SweepStatus:
    """How a sweep stands.

    Attributes:
        path: Its folder.
        now: When it was looked at, in seconds by the file system's clock.
        runs: Its runs, in the sweep's order.
        may_end_early: Whether a stop rule may end some of the runs that are not done.
    """

    path: Path
    now: float
    runs: tuple[RunStatus, ...]
    may_end_early: bool

    @cached_property
    def counts(self) -> dict[State, int]:
        """How many runs are in each state."""
        counts = Counter(run.state for run in self.runs)
        return {state: counts[state] for state in get_args(State)}

    @cached_property
    def rate(self) -> float | None:
        """Steps per second of all running runs together; None where none has recorded a row.

        Those that have recorded no row since they began count as the mean of the others.
        """
        rates = [run.rate for run in self.runs if run.rate is not None]
        return sum(rates) / len(rates) * self.counts["running"] if rates else None

    @cached_property
    def steps_left(self) -> int:
        """Steps that all runs which are not done have yet to take, at most."""
        return sum(run.steps - run.step for run in self.runs if run.state in UNFINISHED)

    @property
    def seconds_left(self) -> float | None:
        """Seconds that `steps_left` take at today's rate; None where there is no rate."""
        return None if self.rate is None else self.steps_left / self.rate

    def in_state(self, *states: State) -> list[RunStatus]:
        """The runs in some states."""
        return [run for run in self.runs if run.state in states]

    def to_dict(self, *, runs: bool = False) -> dict[str, Any]:
        """Counts and estimates as plain data.

        Args:
            runs: Whether all runs are among them.
        """
        facts = {
            "path": str(self.path),
            "now": self.now,
            "counts": self.counts,
            "steps_per_second": self.rate,
            "steps_left": self.steps_left,
            "seconds_left": self.seconds_left,
            "may_end_early": self.may_end_early,
            "reasons": {
                state: [{"runs": count, "reason": text} for count, text in _by_reason(found)]
                for state in WHAT_NEXT
                if (found := [run.reason for run in self.in_state(state) if run.reason])
            },
            "processes": [
                {"host": host, "process": process, "state": state, "runs": len(held)}
                | {"since": held[0].since, "silent": min(run.silent for run in held)}
                for (host, process, state), held in self._holders().items()
            ],
        }
        return facts | ({"each": [asdict(run) for run in self.runs]} if runs else {})

    def to_frame(self) -> "pandas.DataFrame":
        """One row for each run, with the columns of `RunStatus`."""
        import pandas

        return pandas.DataFrame([asdict(run) for run in self.runs])

    def lines(self, *, runs: bool = False) -> list[str]:
        """The status in words, for a terminal.

        Args:
            runs: Whether each run has a line, too.
        """
        count = len(self.runs)
        lines = [f"{self.path}: {count:,} run{'' if count == 1 else 's'}"]
        for state, number in self.counts.items():
            if number:
                lines += self._lines_of(state, number)
        lines += self._lines_of_end()
        return lines + [_line_of(run) for run in self.runs] if runs else lines

    def _lines_of(self, state: State, number: int) -> list[str]:
        """How many runs are in a state, and where or why."""
        what_next = WHAT_NEXT.get(state, "")
        if state == "running" and self.rate is not None:
            what_next = f"{_number(self.rate)} steps/s in all"
        lines = [f"{number:>8,} {state}{': ' if what_next else ''}{what_next}"]
        found = self.in_state(state)
        details = [self._place(state, host) for host in self._hosts(state)]
        details += [f"{n:,}: {why}" for n, why in _by_reason(run.reason for run in found)]
        more = f"and {len(details) - MAX_LINES:,} more lines: see --json, or --runs"
        shown = details if len(details) <= MAX_LINES else [*details[:MAX_LINES], more]
        return lines + [line for detail in shown for line in _wrapped(detail)]

    def _hosts(self, state: State) -> list[str]:
        """Machines that have runs in a state, by how many."""
        counts = Counter(run.host for run in self.in_state(state) if run.host)
        return [host for host, _ in counts.most_common()]

    def _place(self, state: State, host: str) -> str:
        """What a machine has of the runs in a state, in words."""
        held = [run for run in self.in_state(state) if run.host == host]
        processes = {run.process for run in held}
        count = f"{len(held):,} run{'' if len(held) == 1 else 's'}"
        many = f"{host}: {count} in {len(processes):,} processes"
        text = many if len(processes) > 1 else f"{host}, process {held[0].process}: {count}"
        if state == "lost":
            silent = min(run.silent for run in held)
            is_killed = silent <= LEASE_SECONDS  # which only this machine's own kernel says
            told = "its process has ended" if is_killed else f"no sign for {duration(silent)}"
            return f"{text}, {told}"
        return f"{text} since {self._clock(min(run.since for run in held))}"

    def _holders(self) -> dict[tuple[str, int, State], list[RunStatus]]:
        """Runs that are held, by host, process and state."""
        holders: dict[tuple[str, int, State], list[RunStatus]] = {}
        for run in self.in_state("running", "lost"):
            holders.setdefault((run.host, run.process, run.state), []).append(run)
        return holders

    def _lines_of_end(self) -> list[str]:
        """What is left to do, and about when it will be done."""
        if not any(self.counts[state] for state in UNFINISHED):
            return []
        left = f"{self.steps_left:,} steps left"
        if not self.counts["running"]:
            return [f"{left}; nothing runs, so there is no estimate of the end"]
        if self.seconds_left is None:
            return [f"{left}; no estimate of the end until a running run records its next row"]
        end = self._clock(self.now + self.seconds_left)
        at_most = "; at most, since a stop rule may end runs earlier" if self.may_end_early else ""
        text = f"{left}: about {duration(self.seconds_left)} at this rate, until {end}{at_most}"
        return textwrap.wrap(text, WIDTH)

    def _clock(self, seconds: float) -> str:
        """A time of day, with the date if that is another than of the look."""
        there, now = time.localtime(seconds), time.localtime(self.now)
        form = "%H:%M" if there[:3] == now[:3] else "%Y-%m-%d %H:%M"
        return time.strftime(form, there)


def sweep_status(folder: SweepFolder | str | Path) -> SweepStatus:
    """How a sweep stands, by its folders alone; of a run, or a folder of runs, likewise.

    Nothing is changed: a process may write to the folders meanwhile. Runs of a sweep's folder that
    are not in its `sweep.toml` are not looked at. The cost is linear in the number of runs.

    Args:
        folder: The sweep, or a path: of a sweep, of a run, or of a folder that holds runs.

    Raises:
        FileNotFoundError: The path is none of them.
        ValueError: `sweep.toml`, or a run's `experiment.toml`, is damaged.
    """
    if not isinstance(folder, SweepFolder):
        folder = find_sweep(folder) or Path(folder)
    path = folder if isinstance(folder, Path) else folder.path
    experiments = _experiments_of(path) if isinstance(folder, Path) else folder.experiments()
    now = file_system_time(path)
    faults = failures(next(iter(experiments)).parent)  # logs stand beside the runs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a line that is being written
        runs = tuple(_looked_at(each, experiments[each], faults, now) for each in experiments)
    unfinished = [
        experiment
        for run, experiment in zip(runs, experiments.values(), strict=True)
        if run.state in UNFINISHED
    ]
    may_end_early = any(each.training and each.training.stop for each in unfinished)
    return SweepStatus(path, now, runs, may_end_early)


def file_system_time(folder: Path) -> float:
    """Seconds by the clock of the file system that holds a folder, else by this machine's."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # nothing can be written here
        return time.time()


def _experiments_of(path: Path) -> dict[Path, Experiment]:
    """The experiments of a run, or of a folder's runs."""
    try:
        return {run.path: run.experiment for run in find_runs([path.absolute()])}
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} is no sweep (a folder with sweep.toml), and holds no run (a folder with "
            "experiment.toml)"
        ) from None


def _looked_at(
    path: Path, experiment: Experiment, faults: Mapping[str, str], now: float
) -> RunStatus:
    """How a run stands."""
    try:
        return _status_of(path, experiment, faults.get(path.name, ""), now)
    except OSError as error:
        steps = experiment.training.steps if experiment.training else 0
        reason = f"{path}: {error.strerror or error}"
        return RunStatus(path.name, "unreadable", steps=steps, reason=reason)


def _status_of(path: Path, experiment: Experiment, fault: str, now: float) -> RunStatus:
    """How a run stands.

    Raises:
        OSError: Its folder cannot be read.
    """
    name, training = path.name, experiment.training
    if training is None:  # imported, or made by hand
        return RunStatus(name, "done")
    try:
        files = os.listdir(path)  # noqa: PTH208  # names alone, at a fifth of the time
    except FileNotFoundError:
        return RunStatus(name, "stopped" if fault else "left", 0, training.steps, fault)
    if "failure.json" in files and (failure := Run(path).failure):
        return RunStatus(name, "failed", reason=failure)
    last = _last_step_of(path, files)
    if is_finished(path, experiment, last):
        return RunStatus(name, "done", last, last)
    lease = lease_of(path) if any(file.startswith(".lease.") for file in files) else None
    if lease is None or not lease.is_held:
        last = _last_step_of(path, files)  # it may have been finished since it was looked at
        if is_finished(path, experiment, last):
            return RunStatus(name, "done", last, last)
        step = max(_checkpoints(path), default=0)
        return RunStatus(name, "stopped" if fault else "left", step, training.steps, fault)
    return _held(path, training.steps, last, lease, now, fault)


def _held(path: Path, steps: int, last: int, lease: Lease, now: float, fault: str) -> RunStatus:
    """How a run stands that a process holds, or held to its end.

    Args:
        path: Its folder.
        steps: Those it will have.
        last: That of its last row.
        lease: Who holds it.
        now: By the file system's clock.
        fault: What a job ran into, or nothing.
    """
    silent = max(0.0, now - lease.beat / 1e9)
    owner = {
        "host": lease.host,
        "process": lease.process,
        "since": lease.began or lease.beat / 1e9,
        "silent": silent,
    }
    if silent > LEASE_SECONDS or is_gone(lease, is_locked=False):
        step = max(_checkpoints(path), default=0)
        return RunStatus(path.name, "lost", step, steps, fault, **owner)
    rate = _rate(path, last, owner["since"])
    return RunStatus(path.name, "running", last, steps, rate=rate, **owner)


def is_finished(path: Path, experiment: Experiment, last: int) -> bool:
    """Whether a run's training has come to its end, by its last row and checkpoint.

    Args:
        path: The run's folder.
        experiment: What it is trained by.
        last: The step of its last row.
    """
    training = experiment.require_training()
    if last == training.steps:
        return (path / "checkpoints" / f"{last}.safetensors").is_file()
    return training.stop is not None and is_done_with(path, experiment)


def _last_step_of(path: Path, files: Sequence[str]) -> int:
    """The step of a run's last row; 0 where there is none."""
    return (last_step(path / "metrics.jsonl") or 0) if "metrics.jsonl" in files else 0


def _rate(path: Path, last: int, began: float) -> float | None:
    """Steps per second of a run since a process took it; None where it has recorded no row yet.

    What a process writes first is the checkpoint of the step that it begins at, even if that is
    there already. Its steps are counted from there to the last row.
    """
    written = {step: at for step, at in _checkpoints(path).items() if at > began}
    first = min(written, default=last)
    if last <= first:
        return None
    seconds = (path / "metrics.jsonl").stat().st_mtime - written[first]
    return (last - first) / seconds if seconds >= MIN_SECONDS else None


def _checkpoints(path: Path) -> dict[int, float]:
    """When each checkpoint was written, by its step."""
    times: dict[int, float] = {}
    with suppress(FileNotFoundError), os.scandir(path / "checkpoints") as entries:
        for entry in entries:
            step, _, ending = entry.name.partition(".")
            if ending == "safetensors" and STEP.fullmatch(step):
                times[int(step)] = entry.stat().st_mtime
    return times


def _by_reason(reasons: Iterable[str]) -> list[tuple[int, str]]:
    """How many runs have each reason, the most frequent first; steps in it may differ."""
    groups: dict[str, list[str]] = {}
    for reason in filter(None, reasons):
        groups.setdefault(AT_STEP.sub("step", reason), []).append(reason)
    found = [(len(group), _over_steps(group)) for group in groups.values()]
    return sorted(found, key=lambda counted: -counted[0])


def _over_steps(reasons: Sequence[str]) -> str:
    """A reason in which the steps of all are named."""
    steps = [int(step) for reason in reasons for step in AT_STEP.findall(reason)]
    if len(set(reasons)) == 1 or not steps:
        return reasons[0]
    return AT_STEP.sub(f"steps {min(steps)} to {max(steps)}", reasons[0])


def _line_of(run: RunStatus) -> str:
    """A run in a line."""
    place = f" on {run.host}, process {run.process}" if run.host else ""
    steps = f", step {run.step:,} of {run.steps:,}" if run.steps else ""
    return f"{run.name}: {run.state}{place}{steps}{': ' if run.reason else ''}{run.reason}"


def _number(rate: float) -> str:
    """Steps per second, to about three digits."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _wrapped(text: str) -> list[str]:
    """A detail below a count, in lines of the terminal's width."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=10 * " ", subsequent_indent=14 * " ", break_on_hyphens=False
    )
