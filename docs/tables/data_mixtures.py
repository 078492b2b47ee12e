"""Prints the tables of docs/data-mixtures.md: models of one class and of both on the same prompts.

    python docs/tables/data_mixtures.py [RUNS [PART ...]]

Trains what is missing below RUNS (runs/mixtures by default), one thread. Parts, all by default:
in-context-linear (the stored run, seconds), the sweeps function-mixture and linear-and-sine (nine
models each, of 30,000 and 20,000 updates; `interp sweep NAME --dry-run` estimates the time), and
longer, seed 0 of the former's mixture for 60,000.
"""

import sys
from pathlib import Path

import numpy as np

import interp
from analyses import InContextCurve, ModelSelection
from interp import load_experiment, train
from interp.runs.run import Run, is_done_with
from interp.sweeps.launch import train_sweep
from interp.sweeps.sweep import SweepFolder, load_sweep
from interp.sweeps.table import LazySeries, finished_runs, sweep_table
from interp.training.device import prepare_process

LINEAR, LONGER = "in-context-linear", "longer"
SWEEPS = {"function-mixture": (1, 2, 3, 4, 8), "linear-and-sine": (2, 4, 8, 13)}
STEPS = 60000  # of `longer`
QUOTED = {"function-mixture": 2, "linear-and-sine": 13}  # examples, for distances and extremes


def stored() -> None:
    """The stored run beside baselines, by number of examples."""
    run = interp.load(Path(__file__).parents[2] / "fixtures" / LINEAR)
    found = InContextCurve.measure(run.snapshot())
    row(LINEAR, *(f"k = {k}" for k in range(found.errors.shape[2])))
    for name in found.curves:
        row(name, *(f"{each:.3f}" for each in found.error(name)))


def longer(root: Path) -> None:
    """Errors of the mixture of dense and sparse, seed 0, trained for twice as long."""
    name = "function-mixture"
    base = load_experiment(name)
    training = base.require_training().model_copy(update={"steps": STEPS})
    experiment = base.model_copy(update={"training": training})
    run = Run(root) if is_done_with(root, experiment) else train(experiment, root)
    found = InContextCurve.measure(run.snapshot(), baselines=())
    row("prompts", f"k = {QUOTED[name]}")
    for group, curve in zip(found.groups, found.errors[:, 0], strict=True):
        row(group, f"{curve[QUOTED[name]]:.3f}")


def measured(folder: SweepFolder, at: int) -> ModelSelection:
    """All finished members on the same prompts."""
    members = finished_runs(folder)
    series, table = LazySeries(list(members.runs)), sweep_table(members, [])
    return ModelSelection.measure(table, series, axes=folder.sweep.axes, at=at)


def curves(found: ModelSelection, examples: tuple[int, ...]) -> None:
    """Errors within the classes by setting or reference, and number of examples."""
    row("prompts", "model", *(f"k = {k}" for k in examples))
    for place in inside(found):
        for name, curve in zip(found.curves, found.curve_errors[place], strict=True):
            row(found.groups[place], name, *(f"{curve[k]:.3f}" for k in examples))


def everywhere(found: ModelSelection, at: int) -> None:
    """Errors by kind of prompts, of every setting and reference, after so many examples."""
    row("split", "prompts", *found.curves, f"(k = {at})")
    errors = found.curve_errors[..., at]
    for split, group, cells in zip(found.splits, found.groups, errors, strict=True):
        row(split, group, *(f"{each:.3f}" for each in cells))


def ratios(found: ModelSelection, at: int) -> None:
    """Errors over those of ridge on the features of all classes, inside and on combinations."""
    row("split", "prompts", *found.names, f"(k = {at})")
    told = zip(found.splits, found.groups, found.ratios[..., at], strict=True)
    for split, group, cells in told:
        if split in ("test", "combination"):
            row(split, group, *(f"{each:,.2f}" for each in cells[: len(found.names)]))


def inside(found: ModelSelection) -> list[int]:
    """The groups of prompts that are like training data."""
    return [place for place, split in enumerate(found.splits) if split == "test"]


def by_seed(found: ModelSelection, at: int) -> None:
    """Errors of every run within the classes, after so many examples."""
    row("run", *(found.groups[place] for place in inside(found)), f"(k = {at})")
    for index, run in enumerate(found.runs):
        row(run, *(f"{found.errors[place, index, at]:.3f}" for place in inside(found)))


def distances(found: ModelSelection, at: int) -> None:
    """How far the mixture's predictions lie from all others', and from its own of other seeds."""
    row("split", "prompts", *found.curves)
    apart = found.curve_distances[:, found.mixture, :, at]
    for split, group, cells in zip(found.splits, found.groups, apart, strict=True):
        told = ("one seed" if np.isnan(each) else f"{each:.3f}" for each in cells)
        row(split, group, *told)


def row(*cells: object) -> None:
    """One row of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    """Trains, measures, prints."""
    prepare_process(1)
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/mixtures")
    for name in sys.argv[2:] or (LINEAR, *SWEEPS, LONGER):
        if name == LINEAR:
            stored()
            continue
        if name == LONGER:
            longer(root / name)
            continue
        found = measured(train_sweep(load_sweep(name), root / name), QUOTED[name])
        curves(found, SWEEPS[name])
        everywhere(found, QUOTED[name])
        ratios(found, QUOTED[name])
        by_seed(found, QUOTED[name])
        distances(found, QUOTED[name])


if __name__ == "__main__":
    main()
