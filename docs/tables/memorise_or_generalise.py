"""Prints the tables of docs/memorise-or-generalise.md, seed by seed or over all seeds.

    python docs/tables/memorise_or_generalise.py [RUNS [PART ...]]

Trains what is missing below RUNS (runs/memorise by default) on two processes. Parts, all by default
but the last three: sweep (about ten minutes of one core), longer, parity, addition, circle,
no-decay (half a minute each), variants (five minutes), and there-and-back and open (some minutes
each).
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from analyses import GrokkingPhases, NeuronCircle, NeuronWaves, PhaseMap, PruningTrace
from interp import load_experiment
from interp.runs.run import Run
from interp.sweeps.launch import train_sweep
from interp.sweeps.sweep import Sweep, SweepFolder, load_sweep
from interp.sweeps.table import LazySeries, finished_runs, sweep_table

SEEDS = 8
OPEN = ("addition-dropout", "addition-width", "addition-decay", "addition-loss-dtype")


def trained(sweep: Sweep, folder: Path) -> SweepFolder:
    """A sweep, trained where missing."""
    return train_sweep(sweep, folder / sweep.name, workers=2)


def seeds_of(preset: str, folder: Path) -> Iterator[tuple[int, Run]]:
    """Eight seeds of a preset, trained where missing."""
    sweep = Sweep(name=preset, base=load_experiment(preset), seeds=tuple(range(SEEDS)))
    for run, experiment in finished_runs(trained(sweep, folder)).runs.items():
        yield experiment.seeds.model, run


def with_phases(folder: SweepFolder) -> tuple[pd.DataFrame, LazySeries]:
    """The table of a sweep with what GrokkingPhases says of each run, and the runs."""
    members = finished_runs(folder)
    series = LazySeries(list(members.runs))
    rows = [GrokkingPhases.measure(series[run]).summary() for run in series]
    found = pd.DataFrame(rows).add_prefix("GrokkingPhases.")
    return pd.concat([sweep_table(members, []), found], axis=1), series


def shares(folder: SweepFolder, outcome: str) -> None:
    """Counts and shares by every value of every axis, with the range over its settings."""
    table, series = with_phases(folder)
    found = PhaseMap.measure(table, series, axes=folder.sweep.axes, outcome=outcome)
    frame = found.to_frame()
    row(f"{folder.sweep.name}, {outcome}", "", *found.categories)
    for place in range(0, len(frame), len(found.categories)):
        own = frame.iloc[place : place + len(found.categories)].to_dict("records")
        told = [
            f"{e['count']}: {e['share']:.2f} ({e['lowest']:.2f} to {e['highest']:.2f})" for e in own
        ]
        row(own[0]["axis"], own[0]["value"], *told)


def sweep(folder: Path) -> None:
    """The 135 parity networks: shares by axis, and the cells that the article's statements name."""
    mini = trained(load_sweep("parity-decay-mini"), folder)
    shares(mini, "GrokkingPhases.loss_category")
    shares(mini, "GrokkingPhases.category")
    table, _ = with_phases(mini)
    names = ["training.weight_decay", "model.d_mlp", "task.train_sequences"]
    columns = [f"experiment.{name}" for name in names]
    counts = table.groupby(columns)["GrokkingPhases.loss_category"].value_counts()
    for cell, count in counts.items():
        row(*str(cell).strip("()").replace("'", "").split(", "), count)


def longer(folder: Path) -> None:
    """The cell that 8,000 updates are too few for."""
    shares(trained(load_sweep("parity-decay-longer"), folder), "GrokkingPhases.loss_category")


def parity(folder: Path) -> None:
    """When distractors are pruned, beside when accuracy arrives, by seed."""
    names = ("t_accuracy", "t_peak", "t_half", "t_pruned", "lag", "others_left", "train_loss_bump")
    row("preset", "seed", *names)
    for preset in ("parity", "parity-1200"):
        for seed, run in seeds_of(preset, folder):
            found = PruningTrace.measure(run).summary()
            row(preset, seed, *(f"{found[name]:g}" for name in names))


def addition(folder: Path) -> None:
    """Waves and circles of the small network that groks, by seed."""
    waves = (
        "groups",
        "frequency_match",
        "mean_purity",
        "mean_written_purity",
        "mean_ipr",
        "wave_fve",
    )
    circle = ("order_parameter", "input_norm_variation", "gap_variation", "frequencies")
    row("mlp-addition", "t_train", "t_test", *waves, *circle)
    for seed, run in seeds_of("mlp-addition", folder):
        phases = GrokkingPhases.measure(run)
        found = NeuronWaves.measure(run.snapshot(count=NeuronWaves.count)).summary()
        round_ = NeuronCircle.measure(run.snapshot()).summary()
        row(
            seed,
            f"{phases.t_train:g}",
            f"{phases.t_test:g}",
            *told(found, waves),
            *told(round_, circle),
        )


def circle(folder: Path) -> None:
    """The trained five neurons, by seed."""
    names = ("order_parameter", "input_norm_variation", "output_norm_variation", "gap_variation")
    row("five-neurons", "test accuracy", *names)
    for seed, run in seeds_of("five-neurons", folder):
        accuracy = run.metrics["test.accuracy"].iloc[-1]
        row(seed, f"{accuracy:.3f}", *told(NeuronCircle.measure(run.snapshot()).summary(), names))


def no_decay(folder: Path) -> None:
    """Where test loss is least and how it ends, and how periodic the weights are, by seed."""
    row(
        "addition-no-decay",
        "least test loss",
        "at step",
        "last test loss",
        "best and last test accuracy",
        "purity",
    )
    for run, experiment in finished_runs(
        trained(load_sweep("addition-no-decay"), folder)
    ).runs.items():
        metrics = run.metrics
        loss, accuracy = metrics["test.loss"], metrics["test.accuracy"]
        waves = NeuronWaves.measure(run.snapshot(count=NeuronWaves.count)).summary()
        untrained = NeuronWaves.measure(run.snapshot(0, count=NeuronWaves.count)).summary()
        row(experiment.seeds.model, f"{loss.min():.3g}", metrics["step"][loss.idxmin()],
            f"{loss.iloc[-1]:.3g}", f"{accuracy.max():.3f}, {accuracy.iloc[-1]:.3f}",
            f"{waves['mean_purity']:.2f} (untrained {untrained['mean_purity']:.2f})")  # fmt: skip


def variants(folder: Path) -> None:
    """Which architectures generalise under weight decay."""
    cells(trained(load_sweep("addition-variants-mini"), folder))


def cells(folder: SweepFolder) -> None:
    """Of the seeds of every setting, those that generalise, when, and all accuracies at the end."""
    table, _ = with_phases(folder)
    row(", ".join(folder.sweep.axes), "generalises", "t_test", "last train accuracy",
        "last test accuracy")  # fmt: skip
    for cell, own in table.groupby([f"experiment.{axis}" for axis in folder.sweep.axes]):
        reached = own["GrokkingPhases.t_test"].dropna()
        last = [own[f"metrics.{split}.accuracy"] for split in ("train", "test")]
        row(str(cell).strip("(),"), f"{len(reached)} of {len(own)}",
            f"{reached.min():g} to {reached.max():g}",
            *(f"{each.min():.2f} to {each.max():.2f}" for each in last))  # fmt: skip


def there_and_back(folder: Path) -> None:
    """Where test loss turns: before its steepest rise over its least so far, there, at the end."""
    row("addition-there-and-back", "test loss falls to", "rises to", "ends at")
    for run, experiment in finished_runs(
        trained(load_sweep("addition-there-and-back"), folder)
    ).runs.items():
        turns(experiment.seeds.model, run)


def turns(seed: int, run: Run) -> None:
    """One row of `there_and_back`."""
    metrics = run.metrics.set_index("step")
    loss, accuracy = metrics["test.loss"], metrics["test.accuracy"]
    top = (loss / loss.cummin()).idxmax()
    steps = (loss.loc[:top].idxmin(), top, loss.index[-1])
    row(seed, *(f"{loss[each]:.2g} ({accuracy[each]:.3f}) at step {each}" for each in steps))


def open_questions(folder: Path) -> None:
    """The sweeps of the article's open questions."""
    for name in OPEN:
        cells(trained(load_sweep(name), folder))


def told(summary: dict[str, float | str], names: tuple[str, ...]) -> list[str]:
    """Some entries of a summary as text."""
    chosen = [summary[name] for name in names]
    return [each if isinstance(each, str) else f"{each:.3f}" for each in chosen]


def row(*cells: object) -> None:
    """One row of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


PARTS: dict[str, Callable[[Path], None]] = {
    "sweep": sweep,
    "longer": longer,
    "parity": parity,
    "addition": addition,
    "circle": circle,
    "no-decay": no_decay,
    "variants": variants,
    "there-and-back": there_and_back,
    "open": open_questions,
}

if __name__ == "__main__":
    runs = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/memorise")
    for part in sys.argv[2:] or list(PARTS)[:-3]:
        PARTS[part](runs)
