"""A report whose run has not changed against the same report written for the first time."""

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

from interp.pages import write_report
from interp.runs.run import load
from tests.bench import Comparison, interleaved

FIXTURE = Path(__file__).parents[2] / "fixtures" / "modular-addition"


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file of a report."""
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*.*")}


def compare() -> Comparison:
    """Both sides write the fixture's report: into a new folder, and over one that is current."""
    run = load(FIXTURE)
    with TemporaryDirectory() as scratch:
        fresh = (Path(scratch) / str(number) for number in itertools.count())
        kept = Path(scratch) / "kept"
        write_report([run], kept)
        first = write_report([run], next(fresh)).parent
        write_report([run], kept)
        assert contents(kept) == contents(first)
        plain, ours = interleaved(
            lambda: write_report([run], next(fresh)), lambda: write_report([run], kept), repeats=5
        )
    return Comparison("report of one run, written again unchanged", plain, ours, goal=10)
