"""Prints the tables of docs/structural-grokking.md of one preset: over seeds, then every seed.

    python docs/tables/structural_grokking.py [RUNS [PRESET [SEED ...]]]

Trains what is missing below RUNS (runs/structural by default), one seed after another on one
thread: 11 minutes each of question-formation-small, the default, whose seeds are 10 to 14 unless
others are named, and 37 minutes each of question-formation-faithful. Trees take
half a minute a seed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analyses import Generalization, InternalMeasures, MeasureCorrelations, TreeProjection
from analyses.dynamics.internal_measures import GENERALIZATION, MEASURES
from analyses.statistics import wilson_interval
from interp import analyze, load_experiment, train
from interp.runs.results import saved
from interp.runs.run import Run, is_done_with
from interp.sweeps.table import LazySeries
from interp.training.device import prepare_process

PRESET = "question-formation-small"
SEEDS = tuple(range(10, 15))  # the preset's settings were chosen on seeds 0 to 2
STEPS = ("t_ever", "t_sustained", "first_maximum_step", "least_loss_step")
SCORES = (
    "at_first_maximum", "at_least_loss", "least_later", "best", "last",
    "last_SRC_i", "last_SRC_t", "last_ORC",
)  # fmt: skip
TREES = (
    "tscore", "f1_greedy", "f1_cky", "f1_cky_centred",
    "f1_right_branching", "f1_balanced", "f1_random",
)  # fmt: skip
SINCE = 2000  # step by which validation accuracy has come near its maximum
Summary = dict[str, float | str]


def trained(folder: Path, preset: str, seed: int) -> Run:
    """A seed of a preset, trained where missing."""
    experiment = load_experiment(preset).with_seed(seed)
    path = folder / f"{preset}-s{seed}"
    return Run(path) if is_done_with(path, experiment) else train(experiment, path)


def rates(found: Sequence[Summary]) -> None:
    """How many seeds are above 80 % ever, in three successive evaluations, and at the end."""
    row("claim", "seeds", "share and its 95 % interval")
    for claim in ("ever", "sustained", "final"):
        count = sum(int(each[claim]) for each in found)
        low, high = wilson_interval(count, len(found), 0.95)
        row(
            claim, f"{count} of {len(found)}", f"{count / len(found):.2f} ({low:.2f} to {high:.2f})"
        )
    for name in ("at_first_maximum", "at_least_loss", "last"):
        values = np.array([each[name] for each in found], dtype=np.float64)
        spread = f"{values.mean():.2f}" + (f" (sd {values.std(ddof=1):.2f})" if found[1:] else "")
        row(f"mean {name.replace('_', ' ')}", "", spread)


def by_seed(seeds: Sequence[int], found: Sequence[Summary]) -> None:
    """Steps and accuracies of every seed, a column each."""
    row("seed", *seeds)
    for name in STEPS:
        row(name, *(f"{each[name]:.0f}".replace("nan", "never") for each in found))
    row("share_above", *(f"{each['share_above']:.2f}" for each in found))
    for name in SCORES:
        row(name, *(f"{each[name]:.3f}" for each in found))


def any_word(runs: Sequence[Run]) -> None:
    """Last accuracy where the best of all words has to be right, not that of four auxiliaries."""
    metrics = [run.metrics["generalization.first_word_accuracy"] for run in runs]
    row("last, best of all words", *(f"{each.iloc[-1]:.3f}" for each in metrics))


def trees(seeds: Sequence[int], runs: Sequence[Run]) -> None:
    """Scores of projected trees at the first and the last step, of every seed, by split."""
    row("split", "seed", "step", "tscore_random_tree", *TREES)
    for split in ("train_questions", "generalization"):
        for seed, run in zip(seeds, runs, strict=True):
            for step in (run.steps[0], run.steps[-1]):
                found = tree_scores(run, split, step)
                row(split, seed, step, *(f"{each:.3f}" for each in found))


def tree_scores(run: Run, split: str, step: int) -> list[float]:
    """The tscore against random trees, as the paper's text has it, then those of `TREES`."""
    places = {each.split: each for each in saved(run, ["TreeProjection"])}
    found = places[split].load(step).summary()
    snapshot = run.snapshot(step, split, TreeProjection.count)
    against = TreeProjection.measure(snapshot, against="random_tree")
    return [against.tscore, *(float(found[name]) for name in TREES)]


def over_time(seeds: Sequence[int], runs: Sequence[Run]) -> None:
    """Rank correlations of internal measures with generalization over kept steps, of every seed."""
    names = ("tscore", "tparseval", "sparsity", "norm")
    row("seed", *names)
    for seed, run in zip(seeds, runs, strict=True):
        found = InternalMeasures.measure(run, since=SINCE).summary()
        row(seed, *(f"{found[f'{name}_over_time']:+.2f}" for name in names))


def across_seeds(runs: Sequence[Run]) -> None:
    """Rank correlations of last internal measures with last generalization over the runs."""
    last = [InternalMeasures.measure(run).to_frame().iloc[-1] for run in runs]
    columns: dict[str, object] = {
        "run": [run.name for run in runs],
        "failure": "",
        "experiment.model.n_layers": [run.config.n_layers for run in runs],
        f"metrics.{GENERALIZATION}": [each["generalization"] for each in last],
    }
    columns |= {scalar: [each[name] for each in last] for scalar, name in MEASURES.items()}
    found = MeasureCorrelations.measure(
        pd.DataFrame(columns), LazySeries(runs), axes=(), since=SINCE
    )
    row("measure", "across seeds", "p", "over time, mean", "95 % interval (Student)")
    for _, each in found.to_frame().iterrows():
        across = f"{each['across_seeds']:+.2f} | {each['across_p']:.2f}"
        ends = f"{each['over_time_low']:+.2f} to {each['over_time_high']:+.2f}"
        row(each["measure"], across, f"{each['over_time']:+.2f} | {ends}")


def row(*cells: object) -> None:
    """One row of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    """Trains, measures, prints."""
    prepare_process(1)
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/structural")
    preset = sys.argv[2] if len(sys.argv) > 2 else PRESET
    seeds = tuple(map(int, sys.argv[3:])) or SEEDS
    runs = [trained(folder, preset, seed) for seed in seeds]
    print(f"## {preset}")
    found = [Generalization.measure(run).summary() for run in runs]
    rates(found)
    by_seed(seeds, found)
    any_word(runs)
    for run in runs:
        analyze(run, InternalMeasures.reads)
    trees(seeds, runs)
    over_time(seeds, runs)
    across_seeds(runs)


if __name__ == "__main__":
    main()
