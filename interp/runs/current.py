"""Which saved results of a run are current, and which of them was asked for?

A result is current if its file is undamaged and its header is the one that would be written today
(`interp.runs.basis`). Everything that reads saved results asks here, so that no number of another
checkpoint or experiment is printed. Results that are not current are passed over, and a line says
which and why.
"""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyses import ANALYSES, Analysis, BaseResult, Result, SeriesResult, SweepResult
from analyses.requirements import check_options, option_defaults
from hooks.messages import did_you_mean, nearest_step
from hooks.own_classes import is_reference
from interp.runs.basis import Basis, RunFolder, StepResults, run_result, step_results
from interp.runs.results import RUN_AGAIN, Folder, ResultFile, Saved, find_saved, own_analysis

if TYPE_CHECKING:
    import pandas

MAX_STEPS_LISTED = 6  # steps that a line names one by one


def run_analyses() -> tuple[str, ...]:
    """Names of the analyses of single runs."""
    return tuple(name for name, cls in ANALYSES.items() if not issubclass(cls, SweepResult))


def sweep_analyses() -> tuple[str, ...]:
    """Names of the analyses of whole sweeps."""
    return tuple(name for name, cls in ANALYSES.items() if issubclass(cls, SweepResult))


def current_results(run: RunFolder, names: Sequence[str] | None = None) -> tuple[list[Saved], str]:
    """Current results of a run, in the order of the analyses, and one line on the others.

    Args:
        run: The run.
        names: Analyses; by default all of which results are there.

    Returns:
        The current results, each with the steps at which it is current; and a line that says which
        results are not current, why, and what to do about it, empty where all are.
    """
    everything, faults = find_saved(run, names)
    everything = [saved for saved in everything if not issubclass(saved.cls, SweepResult)]
    if not everything and not faults:
        return [], ""
    unknown = f"{run.path}: nothing can say whether saved results hold: "
    try:
        basis = run.basis()
    except FileNotFoundError as error:  # a data file is gone
        return [], f"{unknown}{error}"
    if basis.experiment.missing:
        return [], f"{unknown}{basis.experiment.missing}"
    current, stale = current_among(everything, lambda saved, step: _file_today(saved, step, basis))
    return current, passed_over(run.path, [*faults, *stale])


def current_among(
    everything: Sequence[Saved], file_today: Callable[[Saved, int | None], ResultFile]
) -> tuple[list[Saved], list[str]]:
    """The current results among saved ones, and a line for each reason why others are not.

    Args:
        everything: Saved results.
        file_today: The file that a saved result of a step would be written to today.
    """
    current, faults = [], []
    for saved in everything:
        stale: dict[int | None, str] = {}
        for step in saved.steps or (None,):
            try:
                replace(file_today(saved, step), path=saved.file(step)).read()
            except (ValueError, FileNotFoundError) as error:
                stale[step] = stale_reason(error, saved.file(step))
        steps = tuple(step for step in saved.steps if step not in stale)
        current += [replace(saved, steps=steps)] if steps or not stale else []
        faults += lines_by_reason(saved.name, list(stale.items()))
    return current, faults


def saved_scalars(run: RunFolder, name: str) -> "pandas.DataFrame":
    """Saved summaries of an analysis by step (column `step`); empty where nothing is saved.

    They are those of the options that the experiment has today, on the first of the analysis'
    splits. The frame's `attrs` hold `split`, `options` and `checkpoints`, hashes by step. A warning
    names the steps whose result is not current.

    Raises:
        ValueError: There are results, but of other options, or none of them is current.
    """
    import pandas

    if name not in ANALYSES:
        find_saved(run, [name])  # knows an analysis of the user's own by its results
    cls = find_analysis(name)
    name = cls.__name__
    if not issubclass(cls, Result):
        raise ValueError(f"{name} is of a whole run or sweep, and has no scalars by step")
    if find_saved(run, [name]) == ([], []):
        return pandas.DataFrame()
    basis = run.basis()
    results = step_results(basis, cls, name)[0]
    rows: list[dict[str, float | str]] = []
    stale: dict[int | None, str] = {}
    for step in basis.hashes:
        file = results.file(step)
        try:
            rows.append({"step": step} | file.read().summary())
        except ValueError as error:
            stale[step] = stale_reason(error, file.path)
    reasons = "; ".join(lines_by_reason(name, list(stale.items())))
    if not rows:
        options = f" with the experiment's options {results.options}" if results.options else ""
        raise ValueError(
            f"{run.path}: no saved result of {name}{options} is current; {reasons}; "
            f"run `interp analyze {run.path}`"
        )
    if stale:
        warnings.warn(f"{run.path}: passed over {reasons}", stacklevel=3)
    frame = pandas.DataFrame(rows)
    frame.attrs = {
        "split": results.split_name,
        "options": dict(results.options),
        "checkpoints": {step: basis.hashes[step] for step in basis.hashes if step not in stale},
    }
    return frame


def last_result(basis: Basis, name: str) -> BaseResult | None:
    """The result of a whole run, or of its last step on the first split, with today's options.

    None where nothing is saved.

    Raises:
        ValueError: What is saved is not current.
    """
    cls, steps = ANALYSES[name], tuple(basis.hashes)
    if issubclass(cls, SeriesResult):
        file = run_result(basis, cls, name)
    elif issubclass(cls, Result) and steps:
        file = step_results(basis, cls, name)[0].file(steps[-1])
    else:
        return None
    return file.read() if file.path.is_file() else None


def find_analysis(name: str) -> Analysis:
    """A result class by name, or one of the user's own by where it is (`margin.py:AnswerMargin`).

    Raises:
        ValueError: There is none; the message lists those there are, or says what is wrong.
    """
    if is_reference(name):
        return own_analysis(name, Path.cwd())
    if name not in ANALYSES:
        raise ValueError(
            f"no analysis '{name}'; there are {', '.join(ANALYSES)}{did_you_mean(name, ANALYSES)}"
        )
    return ANALYSES[name]


def find_result(
    run: RunFolder,
    analysis: Any,
    step: int | None,
    split: str | None,
    options: Mapping[str, Any],
) -> Any:
    """A saved result of a run; see `Run.result`.

    Raises:
        ValueError: There is none, or several of other options, or it is not current.
    """
    name = checked_name(analysis, options)
    if issubclass(ANALYSES[name], SweepResult):
        raise ValueError(f"{name} describes a whole sweep, and is saved in the sweep's folder")
    saved = chosen_folder(run, name, options, lambda: [run.basis().options(name)], split)
    if not saved.steps and step is not None:
        raise ValueError(f"{name} describes a whole run, which has no steps: leave step out")
    if saved.steps:
        step = (run.steps or saved.steps)[-1] if step is None else step
    if step is not None and step not in saved.steps:
        raise ValueError(
            f"{run.path}: no saved result of {name} at step {step}; there are "
            f"{', '.join(map(str, saved.steps))}{nearest_step(step, saved.steps)}"
        )
    current, faults = current_results(run, [name])
    if not any(now.path == saved.path and step in (now.steps or (None,)) for now in current):
        raise ValueError(faults)
    return saved.load(step)


def checked_name(analysis: Any, options: Mapping[str, Any]) -> str:
    """The name of an analysis, which takes the options.

    Args:
        analysis: A class of results, or its name.
        options: Options of its `measure`.

    Raises:
        ValueError: There is no such analysis, or an option is unknown or wrong.
        TypeError: `analysis` is neither a class nor a name.
    """
    if not isinstance(analysis, str | type):
        raise TypeError(f"result takes a class of results or its name; got {analysis!r}")
    cls = analysis if isinstance(analysis, type) else find_analysis(analysis)
    check_options(find_analysis(cls.__name__), options)
    return cls.__name__


def chosen_folder(
    folder: Folder,
    name: str,
    options: Mapping[str, Any],
    options_today: Callable[[], Sequence[Mapping[str, Any]]],
    split: str | None = None,
) -> Saved:
    """The one folder of results of an analysis with some options.

    Args:
        folder: The run's folder, or the sweep's.
        name: The analysis.
        options: Options that it was measured with, among others.
        options_today: The options that it is measured with today, which choose among several
            folders where no options are given.
        split: The split it was measured on; by default the first.

    Raises:
        ValueError: There is no such folder, or there are several.
    """
    everything, _ = find_saved(folder, [name])
    chosen = [saved for saved in everything if _has_options(saved, options)]
    chosen = [saved for saved in chosen if saved.split == (split or chosen[0].split)]
    if len(chosen) > 1 and not options:
        today = [_plain(options) for options in options_today()]
        chosen = [saved for saved in chosen if _plain(saved.options) in today] or chosen
    if len(chosen) == 1:
        return chosen[0]
    choices = "; ".join(f"split {saved.split}, options {saved.options}" for saved in everything)
    if chosen:
        raise ValueError(
            f"{folder.path}: several results of {name}, give options of one: {choices}"
        )
    raise ValueError(
        f"{folder.path}: no saved result of {name}{' like this' if choices else ''}; run "
        f"`interp analyze {folder.path}`{'; there are: ' if choices else ''}{choices}"
    )


def _has_options(saved: Saved, options: Mapping[str, Any]) -> bool:
    """Whether results were measured with some options; those not saved have their defaults."""
    measured_with = option_defaults(saved.cls) | saved.options
    return all(_plain(measured_with[name]) == _plain(value) for name, value in options.items())


def _plain(value: Any) -> Any:
    """A value as it comes back from JSON, where a tuple is a list."""
    return json.loads(json.dumps(value, default=str))


def _file_today(saved: Saved, step: int | None, basis: Basis) -> ResultFile:
    """The file that a saved result would be written to today, with its header.

    Raises:
        ValueError: It is of a step without a checkpoint, or a file of another kind of result.
    """
    if issubclass(saved.cls, SeriesResult) and step is None:
        return run_result(basis, saved.cls, saved.name, saved.options)
    if step is None or not issubclass(saved.cls, Result):
        raise ValueError(f"{saved.path} holds no results of {saved.name}")
    if step not in basis.hashes:
        raise ValueError(f"{saved.file(step)} is of a step without a checkpoint")
    return StepResults(basis, saved.cls, saved.name, saved.split, saved.options).file(step)


def stale_reason(error: Exception, path: Path) -> str:
    """Why a file is not current, in few words."""
    return str(error).replace(RUN_AGAIN, "").replace(str(path), "").removeprefix(" is ").strip()


def passed_over(place: Path, faults: Sequence[str]) -> str:
    """One line on saved results of a folder that are not current; empty where there are none."""
    if not faults:
        return ""
    return (
        f"{place}: saved results that are not current are passed over: {'; '.join(faults)}. "
        f"Run `interp analyze {place}`, and delete what is named here after that"
    )


def lines_by_reason(name: str, reasons: Sequence[tuple[int | None, str]]) -> list[str]:
    """For each reason, the steps of an analysis: `FourierSpectrum at steps 0, 10: damaged`."""
    lines = []
    for reason in dict.fromkeys(reason for _, reason in reasons):
        steps = [step for step, other in reasons if other == reason and step is not None]
        lines.append(f"{name}{' at ' if steps else ''}{steps_in_words(steps)}: {reason}")
    return lines


def steps_in_words(steps: Sequence[int]) -> str:
    """Steps as a reader names them: all of a few, the ends of many."""
    steps = sorted(steps)
    if len(steps) > MAX_STEPS_LISTED:
        return f"{len(steps)} steps from {steps[0]} to {steps[-1]}"
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(map(str, steps))}" if steps else ""


def error_message(error: Exception) -> str:
    """An error's message, and its kind where that is no refusal but a mistake."""
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
