"""How a sweep's head and `interp status` grow with the number of runs; nothing is trained.

    .venv/bin/python -m tests.bench.sweep_scale 1125 10000 100000

Folders are faked with the smallest files that are looked at: metrics of 21 rows, two checkpoints
and a lease. One size after the other has a process of its own, which prints seconds, those of the
processor alone, and the most memory that it held beyond what its imports take. Give --distinct for
sweeps of one seed, all of whose runs are combinations of their own.
"""

import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from interp.config import Experiment
from interp.executors import MAX_JOBS, FuturesEngine
from interp.runs.leases import Lease
from interp.sweeps.definition import Sweep, load_sweep
from interp.sweeps.groups import Part, Worker, bundled, grouped, part_of
from interp.sweeps.launch import How, groups_for, job_of
from interp.sweeps.progress import Watcher
from interp.sweeps.status import sweep_status
from interp.sweeps.sweep import SweepFolder

GPU = Worker("cuda", 80 * 10**9)
SHAPES = {1125: (5, 5, 5, 9), 10_000: (10, 10, 10, 10), 100_000: (20, 10, 10, 50)}
STEPS = 20_000


def sweep_of(count: int, *, is_distinct: bool) -> Sweep:
    """A sweep of small networks: weight decays, widths, sizes of data and seeds."""
    decays, widths, sizes, seeds = SHAPES[count]
    if is_distinct:
        decays, seeds = decays * seeds, 1
    vary = {
        "training.weight_decay": [round(1e-4 * 1.001**n, 9) for n in range(decays)],
        "model.d_mlp": [16 + 16 * n for n in range(widths)],
        "task.train_sequences": [500 + 100 * n for n in range(sizes)],
    }
    base = Experiment.model_validate(load_sweep("parity-decay").base.model_dump(mode="json"))
    return Sweep.model_validate({"name": "scale", "base": base, "vary": vary, "seeds": seeds})


class AtOnce(Executor):
    """An engine whose jobs are over as soon as they are handed over."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[None]:
        future: Future[None] = Future()
        future.set_result(None)
        return future


def write(path: str, content: bytes) -> None:
    """Writes a small file, quickly."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(file, content)
    os.close(file)


def fake(paths: Sequence[Path], state: str) -> None:
    """Folders of runs that are finished, running elsewhere, or failed."""
    last = STEPS if state == "finished" else STEPS // 2
    rows = [
        {"step": step, "train.loss": 0.6931471805599453, "test.accuracy": 0.5123456789}
        for step in range(0, last + 1, STEPS // 20)
    ]
    metrics = "".join(json.dumps(row) + "\n" for row in rows).encode()
    began = time.time() - 100
    for path in paths:
        (path / "checkpoints").mkdir(parents=True, exist_ok=True)
        is_held = state == "running"
        lease = Lease(path, 1, "0" * 16, "node07", "m", 4711, began, is_held)
        write(f"{path}/metrics.jsonl", metrics)
        write(f"{path}/checkpoints/0.safetensors", b"\0")
        os.utime(f"{path}/checkpoints/0.safetensors", (began - 1, began - 1))
        write(f"{path}/.lease.1", lease.content())
        if state == "finished":
            write(f"{path}/checkpoints/{STEPS}.safetensors", b"\0")
        if state == "failed":
            write(f"{path}/failure.json", b'{"step": 300, "reason": "not numbers at step 300"}')


class Table:
    """Prints a line for each thing that is measured."""

    def __init__(self) -> None:
        self._before = self._memory()

    @staticmethod
    def _memory() -> float:
        """The most memory that this process has held, in MB."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000

    def time(self, name: str, call: Callable[[], Any]) -> Any:
        """What a call gives."""
        start, begin = time.perf_counter(), time.process_time()
        value = call()
        seconds, busy = time.perf_counter() - start, time.process_time() - begin
        memory = self._memory() - self._before
        print(f"| {name} | {seconds:.2f} | {busy:.2f} | {memory:.0f} |", flush=True)
        return value


def measure(count: int, *, is_distinct: bool) -> None:
    """Prints the table of a sweep."""
    sweep = sweep_of(count, is_distinct=is_distinct)
    table = Table()
    kind = "distinct runs" if is_distinct else "runs"
    print(f"\n| {count:,} {kind} | seconds | of the processor | memory so far, MB |")
    print("| --- | --- | --- | --- |")
    with TemporaryDirectory() as scratch:
        folder = SweepFolder(Path(scratch), sweep)
        (folder.path / "sweep.toml").write_text(sweep.to_toml())
        experiments = table.time("experiments()", folder.experiments)
        table.time("load_sweep", lambda: load_sweep(folder.path / "sweep.toml"))
        cpu = table.time("grouped, CPU", lambda: grouped(experiments, Worker()))
        gpu = table.time("grouped, GPU", lambda: grouped(experiments, GPU))
        print(f"| ({len(cpu):,} stacks of a CPU, {len(gpu):,} of a GPU) | | | |")
        table.time("part_of 3/16", lambda: part_of(cpu, Part(3, 16)))
        jobs = table.time("jobs", lambda: jobs_of(bundled(cpu, MAX_JOBS), folder.path))
        engine = FuturesEngine(AtOnce())
        table.time("head, jobs without work", lambda: engine.run(jobs, lambda over: None))
        measure_folders("untouched", folder, experiments, table)
        paths = list(experiments)
        half = count // 2
        fake(paths[:half], "finished")
        fake(paths[half : half + half // 10], "running")
        fake(paths[-half // 100 :], "failed")
        measure_folders("half finished", folder, experiments, table)
        fake(paths[half : -half // 100], "finished")
        measure_folders("finished", folder, experiments, table)


def jobs_of(groups: Sequence[Mapping[Path, Experiment]], folder: Path) -> list[Any]:
    """What an engine is handed."""
    return [job_of(group, folder, How("cpu", None, ())) for group in groups]


def measure_folders(
    state: str, folder: SweepFolder, experiments: Mapping[Path, Experiment], table: Table
) -> None:
    """Times what looks at run folders."""
    watcher = Watcher(experiments, lambda progress: None)
    table.time(f"{state}: groups_for", lambda: groups_for(folder, is_here=False))
    table.time(f"{state}: failed()", folder.failed)
    table.time(f"{state}: first look of the bar", watcher.look_now)
    table.time(f"{state}: next look of the bar", watcher.look_now)
    lines = table.time(f"{state}: interp status", lambda: sweep_status(folder.path).lines())
    assert len(lines) < 30


if __name__ == "__main__":
    sizes = [int(text) for text in sys.argv[1:] if text.isdecimal()]
    distinct = "--distinct" in sys.argv
    if len(sizes) == 1:
        measure(sizes[0], is_distinct=distinct)
    else:
        assert all(math.prod(SHAPES[size]) == size for size in SHAPES)
        for size in sizes or SHAPES:
            rest = ["--distinct"] if distinct else []
            subprocess.run([sys.executable, "-m", __spec__.name, str(size), *rest], check=True)
