"""Run folders and sweeps among some paths."""

from collections.abc import Sequence
from pathlib import Path

from interp.runs.run import Run, find_runs
from interp.sweeps.sweep import SweepFolder, find_sweep


def find_folders(paths: Sequence[Path]) -> list[Run | SweepFolder]:
    """The sweeps among some paths, and the runs that the others are or hold.

    Raises:
        FileNotFoundError: A path holds neither.
        ValueError: A sweep's file is wrong.
    """
    found: list[Run | SweepFolder] = []
    for path in paths:
        sweep = find_sweep(path)
        found += [sweep] if sweep else find_runs([path])
    return found
