"""Train small transformers on tasks whose answer is known, keep every stage, measure.

    run = interp.load("fixtures/modular-addition")
    snapshot = run.snapshot()
    FourierSpectrum.measure(snapshot).plot()
    interp.trace(run, FourierSpectrum)
    interp.show(snapshot)
    interp.report([run], "report")

Names are looked up when first used, so that `import interp` costs nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.config.experiment import Experiment, load_experiment
    from interp.importers.pythia import language_series
    from interp.measure.analyze import analyze, trace
    from interp.pages import write_report as report
    from interp.pages.show import show
    from interp.runs.run import Run, load
    from interp.runs.writing import construct
    from interp.training.loop import train

_PLACES = {
    "Experiment": ("interp.config.experiment", "Experiment"),
    "Run": ("interp.runs.run", "Run"),
    "analyze": ("interp.measure.analyze", "analyze"),
    "construct": ("interp.runs.writing", "construct"),
    "language_series": ("interp.importers.pythia", "language_series"),
    "load": ("interp.runs.run", "load"),
    "load_experiment": ("interp.config.experiment", "load_experiment"),
    "report": ("interp.pages", "write_report"),
    "show": ("interp.pages.show", "show"),
    "trace": ("interp.measure.analyze", "trace"),
    "train": ("interp.training.loop", "train"),
}

__all__ = [
    "Experiment",
    "Run",
    "analyze",
    "construct",
    "language_series",
    "load",
    "load_experiment",
    "report",
    "show",
    "trace",
    "train",
]


class _Package(ModuleType):
    """This package: the import system may not put submodule `train` in the place of `train`."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _PLACES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'interp' has no attribute '{name}'")
    module, attribute = _PLACES[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value
