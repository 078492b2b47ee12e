"""Processes of this machine, as an engine.

A worker that is killed breaks the pool; its jobs, which go on from what is on disk, are given to a
new one. Workers end with the process that started them: they hold the reading end of a pipe whose
writing end it alone has, and which the kernel closes in whatever way the process ends.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection

from interp.executors.engine import FuturesEngine, Job, Look, LostJob, Outcome
from interp.training.device import Device, pick_device, prepare_process

MAX_FRUITLESS_POOLS = 3  # pools in a row that end with a killed worker and no job finished
PRELOADED = ("interp.sweeps.launch",)  # modules that every worker needs
KILLED = "workers were killed, perhaps for lack of memory; the same command goes on"


class Processes:
    """An engine of worker processes.

    Args:
        workers: How many.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, jobs: Sequence[Job], look: Look) -> list[Outcome]:
        """Runs jobs and waits for all (`Engine.run`); jobs of a killed worker are tried again."""
        outcomes: dict[int, Outcome] = {}
        left, fruitless = list(range(len(jobs))), 0
        while left and fruitless < MAX_FRUITLESS_POOLS:
            with _pool(self._workers) as pool:
                new = FuturesEngine(pool, ends_here=True).run([jobs[i] for i in left], look)
            outcomes |= dict(zip(left, new, strict=True))
            killed = [i for i in left if isinstance(outcomes[i].fault, BrokenProcessPool)]
            fruitless = fruitless + 1 if killed == left else 0
            left = killed
        return [_told(outcomes[index]) for index in range(len(jobs))]


def worker_count(device: Device) -> int:
    """Processes that suit a device: one a core that this process may use, one on a GPU."""
    if pick_device(device).type == "cuda":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _told(outcome: Outcome) -> Outcome:
    """An outcome, a broken pool as advice."""
    is_killed = isinstance(outcome.fault, BrokenProcessPool)
    return Outcome(fault=LostJob(KILLED)) if is_killed else outcome


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    """Worker processes, which end with this process, and at once where it is stopped."""
    # Workers are forked from a process that holds all imports and has computed nothing. Windows
    # cannot fork: there every worker imports for itself.
    can_fork = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if can_fork else "spawn")
    if can_fork:
        context.set_forkserver_preload(list(PRELOADED))
    lifeline, own_end = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(workers, context, _prepare_worker, (lifeline,))
    with lifeline, own_end, executor as pool:
        try:
            yield pool
        except BaseException:  # Ctrl-C: what has begun ends, what has not is not begun
            own_end.close()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _prepare_worker(lifeline: Connection) -> None:
    """Makes this process a worker, which Ctrl-C ends at once, as a kill does.

    Args:
        lifeline: The reading end of a pipe; once its other end is closed, this process ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    prepare_process()


def _end_with(lifeline: Connection) -> None:
    """Ends this process when the other end of a pipe is closed."""
    lifeline.poll(None)  # nothing is ever sent: it returns when the other end is closed
    os._exit(1)
