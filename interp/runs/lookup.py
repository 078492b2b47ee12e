"""Which of a run's saved results was asked for? It is given out only if it still holds."""

import inspect
import json
from collections.abc import Mapping
from typing import Any

from analyses import ANALYSES
from analyses.requirements import check_options
from analyses.result import BaseResult, SweepResult
from hooks.messages import did_you_mean, nearest_step
from interp.runs.current import RunFolder, current_results
from interp.runs.results import Saved, find_saved


def find_result(
    run: RunFolder,
    analysis: type[BaseResult] | str,
    step: int | None,
    split: str | None,
    options: Mapping[str, Any],
) -> Any:
    """A saved result of a run; see `Run.result`.

    Raises:
        ValueError: There is none, or several of other options, or it does not hold any more.
    """
    name = analysis if isinstance(analysis, str) else analysis.__name__
    cls = ANALYSES.get(name)
    if cls is None:
        there = ", ".join(ANALYSES)
        raise ValueError(f"no analysis '{name}'; there are {there}{did_you_mean(name, ANALYSES)}")
    if issubclass(cls, SweepResult):
        raise ValueError(f"{name} describes a whole sweep, and is saved in the sweep's folder")
    check_options(cls, options)
    saved = _chosen(run, name, split, options)
    if not saved.steps and step is not None:
        raise ValueError(f"{name} describes a whole run, which has no steps: leave step out")
    if saved.steps:
        step = (run.steps or saved.steps)[-1] if step is None else step
    if step is not None and step not in saved.steps:
        steps = f"{', '.join(map(str, saved.steps))}{nearest_step(step, saved.steps)}"
        raise ValueError(f"{run.path}: no saved result of {name} at step {step}; there are {steps}")
    current, faults = current_results(run, [name])
    steps_that_hold = {results.path: results.steps or (None,) for results in current}
    if step not in steps_that_hold.get(saved.path, ()):
        raise ValueError(faults)
    return saved.load(step)


def _chosen(run: RunFolder, name: str, split: str | None, options: Mapping[str, Any]) -> Saved:
    """The one folder of results with a split, by default the first, and with some options."""
    everything = find_saved(run, [name])[0]
    chosen = [saved for saved in everything if _has_options(saved, options)]
    chosen = [saved for saved in chosen if saved.split == (split or chosen[0].split)]
    if len(chosen) == 1:
        return chosen[0]
    there = "; ".join(f"split {saved.split}, options {saved.options}" for saved in everything)
    if chosen:
        raise ValueError(f"{run.path}: several results of {name}, give options of one: {there}")
    others = f"; there are: {there}" if there else ""
    raise ValueError(
        f"{run.path}: no saved result of {name}{' like this' if there else ''}; run "
        f"`interp analyze {run.path}`{others}"
    )


def _has_options(saved: Saved, options: Mapping[str, Any]) -> bool:
    """Whether results were measured with some options; those not saved have their defaults."""
    parameters = inspect.signature(saved.cls.measure).parameters
    return all(
        _plain(saved.options.get(name, parameters[name].default)) == _plain(value)
        for name, value in options.items()
    )


def _plain(value: Any) -> Any:
    """A value as it comes back from JSON, where a tuple is a list."""
    return json.loads(json.dumps(value, default=str))
