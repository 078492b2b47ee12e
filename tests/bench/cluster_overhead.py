"""What watching a cluster costs the head: 1,125 models without work, a job each, on Ray.

Two processors take the jobs. `python -m tests.bench.cluster_overhead [JOBS]` prints the head's wall
time, its own processor time, and its peak memory. The goal: under a minute of the head's time, and
memory that does not grow with the jobs that are over.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

from interp.executors.ray import Ray
from interp.sweeps.definition import Sweep
from interp.sweeps.launch import train_sweep
from interp.sweeps.progress import Progress
from tests.planted import tiny_parity

JOBS = 1125


def resident() -> float:
    """This process's memory, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def own_seconds() -> float:
    """Processor time of this process alone."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(count: int) -> None:
    """Trains models without updates, and prints what it cost this process."""
    import ray

    engine, seen = Ray(), []
    torch.set_num_threads(1)
    begin = time.perf_counter()
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False, configure_logging=False)
    print(f"Ray came up in {time.perf_counter() - begin:.1f} s")
    sweep = Sweep.model_validate({"name": "none", "base": tiny_parity(steps=1), "seeds": count})

    def look(now: Progress) -> None:
        seen.append((now.done, resident()))

    with tempfile.TemporaryDirectory() as place:
        begin, before = time.perf_counter(), own_seconds()
        train_sweep(
            sweep, Path(place) / "none", device="cpu", stack=1, executor=engine, jobs=count,
            on_progress=look,
        )  # fmt: skip
        wall, used = time.perf_counter() - begin, own_seconds() - before
    ray.shutdown()
    first = next(memory for done, memory in seen if done)
    middle = next(memory for done, memory in seen if done >= count / 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"{count} jobs: {wall:.1f} s of wall time, {used:.1f} s of the head's processor")
    print(
        f"the head's memory: {first:.0f} MB at the first that was done, {middle:.0f} MB at half, "
        f"{seen[-1][1]:.0f} MB at the last, {peak:.0f} MB at most"
    )


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else JOBS)
