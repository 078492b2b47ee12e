"""An engine runs jobs somewhere, and tells what became of each.

A job is a call of a function with plain data, so that it can be sent anywhere. What a job or the
engine itself runs into is collected by job: a lost node stops no other job. What is done stands in
the run folders; an engine is asked only whether its jobs are over.
"""

import heapq
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

MAX_JOBS = 1000  # jobs that an engine is given where nothing is asked: Slurm's usual limit
FIRST_POLL, LAST_POLL = 0.01, 0.5  # seconds between looks at jobs: at first, and later

Look = Callable[[int], None]  # called every half second with how many jobs are over


@dataclass(frozen=True)
class Job:
    """A call of a function with plain data.

    Attributes:
        function: What is called; a function of a module, which a worker can import.
        arguments: Text, numbers, and lists and tables of them.
        runs: The run folders that it is about.
        is_kept: Whether all that matters of it is kept in the run folders, and nothing returned.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    runs: tuple[str, ...] = ()
    is_kept: bool = False


class LostJob(RuntimeError):  # noqa: N818  # what became of a job, as the message says
    """A job ended without a word: its worker, its node or its engine was lost."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job: what it returned, or what it ran into."""

    value: Any = None
    fault: Exception | None = None

    @classmethod
    def of(cls, call: Callable[[], Any]) -> "Outcome":
        """What a call returns or raises."""
        try:
            return cls(call())
        except Exception as error:  # of whatever kind, it stops no other job
            return cls(fault=error)


@runtime_checkable  # which checks of types in tests need
class Pending(Protocol):
    """A job that was handed to an engine: the part of a `concurrent.futures.Future` used here."""

    def done(self) -> bool:
        """Whether it is over, in whatever way."""
        ...

    def result(self) -> Any:
        """What it returned; raises what it ran into."""
        ...

    def cancel(self) -> bool:
        """Takes it back; whether that was possible."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Runs jobs somewhere."""

    def run(self, jobs: Sequence[Job], look: Look) -> list[Outcome]:
        """Runs jobs and waits for all; stopped, it cancels those that are not over.

        Args:
            jobs: What to run.
            look: Called while they run.

        Returns:
            What became of each.
        """
        ...


@runtime_checkable
class Queue(Protocol):
    """An engine whose jobs outlive the command that submits them."""

    def leave(self, jobs: Sequence[Job]) -> str:
        """Submits jobs that are not in the queue already; says what was submitted."""
        ...

    def queued(self) -> set[str]:
        """The runs of jobs of earlier commands that are queued or running."""
        ...


class FuturesEngine:
    """Any `concurrent.futures.Executor`: that of dask, of mpi4py, or one of the user's own.

    Args:
        executor: Takes the jobs.
        ends_here: Whether its workers end with this process, so that none is left at work.
    """

    def __init__(self, executor: Executor, *, ends_here: bool = False) -> None:
        self._executor = executor
        self._ends_here = ends_here

    def run(self, jobs: Sequence[Job], look: Look) -> list[Outcome]:
        """Runs jobs and waits for all (`Engine.run`)."""
        pending: list[Pending] = []
        try:
            for job in jobs:
                pending.append(self._submitted(job))
            return collected(pending, look)
        except BaseException:
            left = [future for future in pending if not future.done()]
            cancelled = [future.cancel() for future in left]
            if not self._ends_here:
                say_cancelled(sum(cancelled), len(left))
            raise

    def _submitted(self, job: Job) -> Pending:
        """A job's future; one that has failed where the executor does not take it."""
        try:
            return self._executor.submit(job.function, *job.arguments)
        except Exception as error:  # an engine's own, or a worker was killed meanwhile
            return Refused(error)


@dataclass(frozen=True)
class Refused:
    """A job that an engine did not take (`Pending`)."""

    error: Exception

    def done(self) -> bool:
        """Whether it is over: it is."""
        return True

    def result(self) -> Any:
        """Raises what the engine said."""
        raise self.error

    def cancel(self) -> bool:
        """Whether it could be taken back: there is nothing to take back."""
        return False


def collected(pending: Sequence[Pending], look: Look) -> list[Outcome]:
    """Waits for jobs, and gives what became of each."""
    left, pause = list(pending), FIRST_POLL
    while left := [job for job in left if not job.done()]:
        look(len(pending) - len(left))
        time.sleep(pause)
        pause = min(1.5 * pause, LAST_POLL)
    return [Outcome.of(job.result) for job in pending]


def say_cancelled(count: int, left: int) -> None:
    """Warns that jobs were taken back, and how many are at work still."""
    working = f"; {left - count} that had begun may be working still" if left > count else ""
    if left:
        warnings.warn(f"cancelled {count} jobs{working}", stacklevel=3)


def shared_out(costs: Sequence[float], count: int) -> list[list[int]]:
    """Numbers of pieces of work in bundles of alike cost: the dearest first, each to the cheapest.

    Args:
        costs: Of each piece.
        count: How many bundles there may be.

    Returns:
        Bundles, none of them empty, each in order; by the costs alone, so that every machine finds
        the same.

    Raises:
        ValueError: `count` is less than 1.
    """
    if count < 1:
        raise ValueError(f"at least 1 job or part is needed, got {count}")
    bundles: list[list[int]] = [[] for _ in range(min(count, len(costs)))]
    cheapest = [(0.0, number) for number in range(len(bundles))]
    for index in sorted(range(len(costs)), key=lambda index: -costs[index]):
        total, number = heapq.heappop(cheapest)
        bundles[number].append(index)
        heapq.heappush(cheapest, (total + costs[index], number))
    return [sorted(bundle) for bundle in bundles]


def as_engine(executor: Engine | Executor) -> Engine:
    """An engine as it is, or a `concurrent.futures.Executor` as one."""
    return executor if isinstance(executor, Engine) else FuturesEngine(executor)


def in_words(fault: BaseException) -> str:
    """A fault in words; those that are no advice to a user are named by their kind."""
    if isinstance(fault, ValueError | OSError | LostJob):
        return str(fault)
    return ": ".join(filter(None, (type(fault).__name__, str(fault))))
