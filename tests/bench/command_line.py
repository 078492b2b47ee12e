"""Commands of which imports are most of the work, against importing transformer_lens alone.

No command imports that library. Before ours replaced its HookedTransformer, all that train, load or
measure did.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from interp.config.experiment import load_experiment
from tests.bench import Comparison

FIXTURE = Path(__file__).parents[2] / "fixtures" / "modular-addition"


def seconds(*arguments: str | Path) -> float:
    """Processor seconds of a process of its own, the least of five."""
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *map(str, arguments)], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


def compare() -> Comparison:
    """A training of one update."""
    experiment = load_experiment("modular-addition-smoke")
    training = experiment.require_training().model_copy(update={"steps": 1})
    with tempfile.TemporaryDirectory() as folder:
        short = Path(folder) / "short.toml"
        short.write_text(experiment.model_copy(update={"training": training}).to_toml())
        code = (
            "import shutil, sys; from interp.cli.commands import main; "
            f"shutil.rmtree({folder + '/run'!r}, ignore_errors=True); "
            f"sys.argv = ['interp', 'train', {str(short)!r}, '--out', {folder + '/run'!r}]; main()"
        )
        ours = seconds("-c", code)
    return Comparison("interp train, one update", seconds("-c", LENS), ours, goal=None)


def compare_loading() -> Comparison:
    """A run loaded, and a snapshot of it run."""
    code = f"import interp; interp.load({str(FIXTURE)!r}).snapshot(count=8).logits()"
    spent = seconds("-c", LENS), seconds("-c", code)
    return Comparison("a run's logits, from nothing", *spent, goal=None)


LENS = "import transformer_lens"
