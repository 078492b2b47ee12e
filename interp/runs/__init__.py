"""Runs on disk: a folder with an experiment, metrics, checkpoints and saved results."""

from interp.runs.basis import Basis, StepResults, run_result, step_results
from interp.runs.checkpoint_files import Checkpoint, pack
from interp.runs.current import (
    RUN_ANALYSES,
    checked_name,
    chosen_folder,
    current_results,
    error_message,
    find_analysis,
    last_result,
    lines_by_reason,
    passed_over,
    stale_reason,
    steps_in_words,
)
from interp.runs.opening import construct, locked, writing
from interp.runs.results import ResultFile, Saved, find_saved, make_header, result_folder, saved
from interp.runs.run import Run, check_run, find_runs, is_done_with, load, read_metrics
from interp.runs.safe_files import (
    append_whole,
    as_table,
    is_temporary,
    move_folder,
    sync,
    write_whole,
)

__all__ = [
    "RUN_ANALYSES",
    "Basis",
    "Checkpoint",
    "ResultFile",
    "Run",
    "Saved",
    "StepResults",
    "append_whole",
    "as_table",
    "check_run",
    "checked_name",
    "chosen_folder",
    "construct",
    "current_results",
    "error_message",
    "find_analysis",
    "find_runs",
    "find_saved",
    "is_done_with",
    "is_temporary",
    "last_result",
    "lines_by_reason",
    "load",
    "locked",
    "make_header",
    "move_folder",
    "pack",
    "passed_over",
    "read_metrics",
    "result_folder",
    "run_result",
    "saved",
    "stale_reason",
    "step_results",
    "steps_in_words",
    "sync",
    "write_whole",
    "writing",
]
