"""Peak memory of `interp analyze` on runs of 20 and of 200 checkpoints, every analysis.

    python -m tests.bench.memory

Prints the table of docs/run-folder.md. Takes some minutes.
"""

import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from interp.config.experiment import Experiment, load_experiment
from interp.config.training import Steps
from interp.measure.analyze import analyze
from interp.runs.run import Run
from interp.training.loop import train


def kept_at_every_step(count: int) -> Experiment:
    """The smallest preset, stopped when it has so many checkpoints."""
    smoke = load_experiment("modular-addition-smoke")
    assert smoke.training is not None
    changes = {"steps": count - 1, "checkpoints": Steps(every=1), "stop": None}
    training = smoke.training.model_copy(update=changes)
    return smoke.model_copy(update={"training": training})


def peak(path: Path) -> str:
    """The largest resident set of a process that analyses a run, in MB."""
    command = [sys.executable, "-m", "tests.bench.memory", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Trains both runs, analyses each in a process of its own, prints their peaks."""
    print("| checkpoints | peak memory, MB |\n| --- | --- |")
    with TemporaryDirectory() as scratch:
        for count in (20, 200):
            run = train(kept_at_every_step(count), Path(scratch) / str(count), device="cpu")
            print(f"| {len(run.steps)} | {peak(run.path)} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        analyze(Run(Path(sys.argv[1])))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    else:
        main()
