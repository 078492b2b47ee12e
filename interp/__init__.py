"""Train small transformers on tasks whose answer is known, keep every stage, measure.

    run = interp.load("fixtures/modular-addition")
    snapshot = run.snapshot()
    FourierSpectrum.measure(snapshot).plot()
    interp.trace(run, FourierSpectrum)
    interp.show(snapshot)
    interp.report([run], "report")

Names are looked up when first used, so that `import interp` costs nothing.
"""

# ruff: noqa: F401  # the imports are for type checkers, which take them as this package's names

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Python goes by the table below
    from interp.config import Experiment, load_experiment, mixed, warm_up
    from interp.importers.importing import import_run
    from interp.importers.language_series import language_series
    from interp.measure.analyze import analyze, trace
    from interp.measure.sweep import analyze_sweep
    from interp.pages import write_report as report
    from interp.pages import write_sweep_report
    from interp.pages.show import show
    from interp.runs import Run, Saved, construct, load
    from interp.runs import saved as results
    from interp.runs.recording import Recorder, record, save_run
    from interp.sharing.pull import pull
    from interp.sharing.push import push
    from interp.sweeps.definition import load_sweep
    from interp.sweeps.launch import train_sweep
    from interp.sweeps.status import sweep_status
    from interp.sweeps.sweep import finished_runs
    from interp.sweeps.table import sweep_table
    from interp.tasks import Task
    from interp.training.loop import train

# The names that each module gives.
_GIVEN_BY = {
    "interp.config": ("Experiment", "load_experiment", "mixed", "warm_up"),
    "interp.importers.importing": ("import_run",),
    "interp.importers.language_series": ("language_series",),
    "interp.measure.analyze": ("analyze", "trace"),
    "interp.measure.sweep": ("analyze_sweep",),
    "interp.pages": ("report", "write_sweep_report"),
    "interp.pages.show": ("show",),
    "interp.runs": ("Run", "Saved", "construct", "load", "results"),
    "interp.runs.recording": ("Recorder", "record", "save_run"),
    "interp.sharing.pull": ("pull",),
    "interp.sharing.push": ("push",),
    "interp.sweeps.definition": ("load_sweep",),
    "interp.sweeps.status": ("sweep_status",),
    "interp.sweeps.sweep": ("finished_runs",),
    "interp.sweeps.table": ("sweep_table",),
    "interp.sweeps.launch": ("train_sweep",),
    "interp.tasks": ("Task",),
    "interp.training.loop": ("train",),
}
# What some of the names are in their module.
_CALLED = {"report": "write_report", "results": "saved"}
_MODULES = {name: module for module, names in _GIVEN_BY.items() for name in names}

__all__ = sorted(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]  # it reads the imports


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'interp' has no attribute '{name}'")
    value = getattr(import_module(_MODULES[name]), _CALLED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
