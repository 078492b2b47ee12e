"""Slurm, as an engine: all jobs are one job array, submitted by submitit.

Whether a job is over is asked of `squeue`, once for all jobs. What it returned or ran into stands
in a JSON file of the job's own in `FOLDER/jobs/`, beside its logs: nothing is unpickled here. A job
that leaves the queue without such a file is lost; its runs go on from their checkpoints.

A job that meets its time limit or is preempted is requeued under its id, and goes on. Jobs that an
earlier command submitted, and that are still queued, are not submitted again but waited for.
"""

import json
import os
import shutil
import subprocess
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from interp.executors.engine import Job, Look, LostJob, Outcome, in_words
from interp.executors.job_log import FOLDER, last_line
from interp.runs import as_table, write_whole

POLL_SECONDS = 5.0  # seconds between two calls of squeue
LOOK_SECONDS = 0.5  # seconds between two looks at the runs
# Looks at which a job must be gone before it is given up: on NFS a file of another machine is seen
# late, and a job that is requeued may be missing for a moment.
MAX_LOOKS = 4
# submitit's own defaults are five minutes, three requeues after a time limit, and 256 at work.
DEFAULTS = {"timeout_min": 60, "name": "interp", "slurm_array_parallelism": 1000}
MAX_TIMEOUTS = 100  # how often a job may meet its time limit and go on
ONE_PROCESS = ("nodes", "tasks_per_node", "ntasks_per_node", "num_gpus")  # a job is one process
OVER = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "REVOKED", "TIMEOUT",
)  # fmt: skip


class Slurm:
    """An engine of a Slurm cluster.

    Args:
        folder: A folder that all machines share; pickles and logs go into its `jobs/`.
        options: Those of submitit's `AutoExecutor`; Slurm's own with or without `slurm_`.
        poll_seconds: Seconds between two calls of squeue.

    Raises:
        ValueError: submitit is not installed, there is no Slurm here, or an option is unknown.
    """

    def __init__(
        self,
        folder: Path,
        options: Mapping[str, Any] | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._folder = folder.resolve() / FOLDER
        self._executor = _executor(self._folder, options or {})
        self._poll_seconds = poll_seconds

    def run(self, jobs: Sequence[Job], look: Look) -> list[Outcome]:
        """Runs jobs and waits for all (`Engine.run`)."""
        if not jobs:
            return []
        live = self._live()
        ids = [_adopted(job, live) for job in jobs]
        new = [number for number, found in enumerate(ids) if not found]
        try:
            for number, own in zip(new, self._submitted([jobs[i] for i in new]), strict=True):
                ids[number] = (own,)
            return self._collected(ids, look)
        except BaseException:
            self._cancel(sorted({own for each in ids for own in each}))
            raise

    def leave(self, jobs: Sequence[Job]) -> str:
        """Submits jobs that are not in the queue already, and returns at once.

        Returns:
            What was submitted, in words.
        """
        live = self._live()
        new = [job for job in jobs if not _adopted(job, live)]
        ids = self._submitted(new)
        queued = (
            f"; {len(jobs) - len(new)} are in the queue already" if len(new) < len(jobs) else ""
        )
        if not ids:
            return f"no job was submitted{queued}"
        array = ids[0].partition("_")[0]
        return f"submitted {len(ids)} jobs to Slurm as {array}{queued}"

    def queued(self) -> set[str]:
        """The runs of jobs of earlier commands that are queued or running."""
        return {run for each in self._live() for run in each.runs if each.is_kept}

    def _submitted(self, jobs: Sequence[Job]) -> list[str]:
        """The ids of jobs that Slurm has taken; written down for the next command."""
        if not jobs:
            return []
        self._folder.mkdir(parents=True, exist_ok=True)
        calls = [Call(job, str(self._folder)) for job in jobs]
        try:
            submitted = self._executor.submit_array(calls)
        except (RuntimeError, OSError) as error:  # among them submitit's, with sbatch's own words
            raise ValueError(f"Slurm did not take the jobs: {error}") from None
        ids = [job.job_id for job in submitted]
        record = [_Submitted.of(job, own).table() for job, own in zip(jobs, ids, strict=True)]
        array = ids[0].partition("_")[0]
        write_whole(self._folder / f"slurm-{array}.json", json.dumps(record).encode())
        return ids

    def _collected(self, ids: Sequence[tuple[str, ...]], look: Look) -> list[Outcome]:
        """Waits until jobs are over, and gives what became of each.

        Args:
            ids: Of each job, or of the jobs of earlier commands that do its work.
            look: Called every half second with how many are over.
        """
        outcomes: dict[str, Outcome] = {}
        missed = {own: 0 for each in ids for own in each}  # looks at which a job was over
        while True:
            self._look(missed, outcomes)
            over = sum(outcomes.keys() >= set(each) for each in ids)
            if over == len(ids):
                look(over)
                return [_together([outcomes[own] for own in each]) for each in ids]
            end = time.monotonic() + self._poll_seconds
            while time.monotonic() < end:
                look(over)
                time.sleep(min(LOOK_SECONDS, self._poll_seconds))

    def _look(self, missed: dict[str, int], outcomes: dict[str, Outcome]) -> None:
        """Asks Slurm once which jobs are over, and notes what became of those.

        Args:
            missed: Looks in a row at which a job was over, by id.
            outcomes: What became of jobs, by id.
        """
        states = _states(self._folder)
        if states is None:  # the controller is busy or starts anew: nothing is known
            return
        os.scandir(self._folder).close()  # has NFS look anew for files of other machines
        for own in missed.keys() - outcomes.keys():
            if own in states and states[own] not in OVER:
                missed[own] = 0
                continue
            missed[own] += 1
            outcome = self._outcome(own)
            if outcome is None and missed[own] >= MAX_LOOKS:
                outcome = self._lost(own, states.get(own, ""))
            if outcome is not None:
                outcomes[own] = outcome

    def _outcome(self, own: str) -> Outcome | None:
        """What a job wrote down at its end, if anything."""
        file = self._folder / _outcome_name(own)
        table = as_table(file.read_bytes()) if file.is_file() else None
        if table is None:
            return None
        return Outcome(table["value"], ValueError(table["fault"]) if table["fault"] else None)

    def _lost(self, own: str, state: str) -> Outcome:
        """The fault of a job that ended without a word: Slurm's state, and its log's last line."""
        line = last_line(*(self._folder / f"{own}_0_log.{kind}" for kind in ("err", "out")))
        told = f"its log ends with: {line}" if line else f"it left no log in {self._folder}"
        seen = f" ({state})" if state else ""
        return Outcome(fault=LostJob(f"Slurm job {own} is lost{seen}; {told}"))

    def _live(self) -> list["_Submitted"]:
        """Jobs of earlier commands that are queued or running."""
        records = sorted(self._folder.glob("slurm-*.json"))
        before = [each for file in records for each in _Submitted.read(file)]
        if not before:
            return []
        states = _states(self._folder)
        if states is None:
            raise ValueError(
                "squeue does not answer, so that jobs of an earlier command may be running still; "
                "try again later"
            )
        return [each for each in before if states.get(each.id, "COMPLETED") not in OVER]

    def _cancel(self, ids: Sequence[str]) -> None:
        """Takes jobs back, and says so."""
        if not ids:
            return
        done = subprocess.run(["scancel", *ids], capture_output=True, text=True)
        what = f"cancelled {len(ids)} jobs on Slurm"
        if done.returncode:
            what = f"scancel failed ({done.stderr.strip()}): jobs on Slurm may be running still"
        warnings.warn(f"{what}; the same command goes on", stacklevel=2)


@dataclass(frozen=True)
class Call:
    """What submitit calls on a node: a job, whose outcome is written down as JSON.

    Attributes:
        job: What is called.
        folder: Where its outcome is written.
    """

    job: Job
    folder: str

    def __call__(self) -> None:
        """Runs the job; what it raises is raised again, so that Slurm too says it failed."""
        outcome = Outcome.of(lambda: self.job.function(*self.job.arguments))
        fault = "" if outcome.fault is None else in_words(outcome.fault)
        content = json.dumps({"value": outcome.value, "fault": fault})
        write_whole(Path(self.folder, _outcome_name(_own_id())), content.encode())
        if outcome.fault is not None:
            raise outcome.fault

    def checkpoint(self) -> Any:
        """What is called after a time limit or a preemption: the same, from the checkpoints."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass(frozen=True)
class _Submitted:
    """A job that a command submitted.

    Attributes:
        id: Slurm's.
        runs: The run folders that it is about.
        function: The name of what it calls.
        is_kept: Whether all that it does is kept in the run folders.
        digest: Of the call: two jobs of one digest do the same.
    """

    id: str
    runs: tuple[str, ...]
    function: str
    is_kept: bool
    digest: str

    @classmethod
    def of(cls, job: Job, own: str = "") -> "_Submitted":
        """A job as it is written down."""
        name = f"{job.function.__module__}:{job.function.__qualname__}"
        digest = sha256(json.dumps([name, job.arguments]).encode()).hexdigest()
        return cls(own, job.runs, name, job.is_kept, digest)

    @classmethod
    def read(cls, file: Path) -> list["_Submitted"]:
        """The jobs of a submission; none where the file is not of them."""
        try:
            tables = json.loads(file.read_bytes())
            return [cls(**table | {"runs": tuple(table["runs"])}) for table in tables]
        except (OSError, ValueError, TypeError, KeyError):
            return []

    def table(self) -> dict[str, Any]:
        """As plain data."""
        return {**vars(self), "runs": list(self.runs)}


def _executor(folder: Path, options: Mapping[str, Any]) -> Any:
    """An executor of submitit with some options; nothing is written yet.

    Raises:
        ValueError: submitit is not installed, there is no Slurm here, or an option is unknown.
    """
    try:
        from submitit import AutoExecutor, SlurmExecutor
    except ImportError:
        raise ValueError(
            "executor slurm needs submitit: .venv/bin/pip install -e '.[slurm]'"
        ) from None
    if not shutil.which("sbatch") or not shutil.which("srun"):
        raise ValueError("executor slurm: there is no sbatch and srun here; use a login node")
    if "%" in str(folder):
        raise ValueError(f"{folder}: Slurm would read the % in this path; choose another --out")
    general = AutoExecutor._valid_parameters() - set(ONE_PROCESS)
    own = SlurmExecutor._valid_parameters() - set(ONE_PROCESS)
    chosen = dict(DEFAULTS)
    for name, value in options.items():
        bare = name.removeprefix("slurm_")
        if name not in general and bare not in own:
            known = ", ".join(sorted(general | own))
            raise ValueError(f"executor slurm has no option {name}; there are {known}")
        chosen[name if name in general else f"slurm_{bare}"] = value
    executor = AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=MAX_TIMEOUTS)
    try:
        executor.update_parameters(**chosen)
    except (AssertionError, TypeError, ValueError) as error:  # a value of the wrong kind
        raise ValueError(f"executor slurm: {error}") from None
    return executor


def _states(folder: Path) -> dict[str, str] | None:
    """The state of all jobs that Slurm remembers, by id; None where it is silent.

    Args:
        folder: That of the jobs' scripts. Jobs of other scripts are left out: where a cluster was
            set up anew, they may have the ids of older jobs.
    """
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T|%o"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    if done.returncode:
        return None
    rows = [line.split("|", 2) for line in done.stdout.splitlines()]
    return {row[0]: row[1] for row in rows if len(row) == 3 and Path(row[2]).parent == folder}


def _adopted(job: Job, live: Sequence[_Submitted]) -> tuple[str, ...]:
    """The jobs of earlier commands, still queued, that do a job's work; none where some is left."""
    asked = _Submitted.of(job)
    for each in live:
        if each.digest == asked.digest:
            return (each.id,)
    if not job.is_kept:  # what it returns is wanted, and another call returns something else
        return ()
    alike = [each for each in live if each.is_kept and each.function == asked.function]
    holders = {run: each.id for each in alike for run in each.runs}
    if not job.runs or not holders.keys() >= set(job.runs):
        return ()
    return tuple(sorted({holders[run] for run in job.runs}))


def _together(outcomes: Iterable[Outcome]) -> Outcome:
    """What became of a job by what became of those that did its work: the first fault, if any."""
    outcomes = list(outcomes)
    return next((each for each in outcomes if each.fault is not None), outcomes[0])


def _own_id() -> str:
    """The id of the job that this process is."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ["SLURM_JOB_ID"]


def _outcome_name(own: str) -> str:
    """The name of the file in which a job writes down what it returned or ran into."""
    return f"{own}-outcome.json"
