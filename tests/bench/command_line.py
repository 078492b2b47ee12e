"""Commands of which imports are most of the work, against importing transformer_lens alone.

No command imports that library. Before ours replaced its HookedTransformer, all that train, load or
measure did.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from interp.config.experiment import load_experiment
from tests.bench import Comparison

FIXTURE = Path(__file__).parents[2] / "fixtures" / "modular-addition"


def seconds(*arguments: str | Path) -> float:
    """Processor seconds of a process of its own, the least of five after one that compiles."""
    command = [sys.executable, *map(str, arguments)]
    settings = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    subprocess.run(command, check=True, capture_output=True, env=settings)
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, env=settings)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


def command(*arguments: str | Path) -> str:
    """The program that is the command `interp` with some arguments."""
    return (
        f"import sys; sys.argv = {['interp', *map(str, arguments)]!r}; "
        "from interp.cli.commands import main; main()"
    )


def compare() -> Comparison:
    """A training of one update."""
    experiment = load_experiment("modular-addition-smoke")
    training = experiment.require_training().model_copy(update={"steps": 1})
    with tempfile.TemporaryDirectory() as folder:
        short, run = Path(folder) / "short.toml", Path(folder) / "run"
        short.write_text(experiment.model_copy(update={"training": training}).to_toml())
        again = f"import shutil; shutil.rmtree({str(run)!r}, ignore_errors=True); "
        ours = seconds("-c", again + command("train", short, "--out", run))
    return Comparison("interp train, one update", seconds("-c", LENS), ours, goal=2.5)


def compare_analyze() -> Comparison:
    """An `interp analyze` with nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        run = shutil.copytree(FIXTURE, Path(folder) / "run")
        subprocess.run([sys.executable, "-c", command("analyze", run)], check=True)
        ours = seconds("-c", command("analyze", run))
    return Comparison("interp analyze, nothing to do", seconds("-c", LENS), ours, goal=2.5)


def compare_show() -> Comparison:
    """An `interp show`."""
    with tempfile.TemporaryDirectory() as folder:
        ours = seconds("-c", command("show", FIXTURE, "--out", Path(folder) / "page.html"))
    return Comparison("interp show", seconds("-c", LENS), ours, goal=2.5)


def compare_loading() -> Comparison:
    """A run loaded, and a snapshot of it run."""
    code = f"import interp; interp.load({str(FIXTURE)!r}).snapshot(count=8).logits()"
    spent = seconds("-c", LENS), seconds("-c", code)
    return Comparison("a run's logits, from nothing", *spent, goal=None)


LENS = "import transformer_lens"
