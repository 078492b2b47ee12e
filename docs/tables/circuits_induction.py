"""Prints the tables of induction heads: which part of the circuit appears when, over seeds.

    python docs/tables/circuits_induction.py [RUNS [SEED ...]]

Trains what is missing below RUNS (runs/induction by default), one thread, about 50 seconds a run:
the preset repeated-tokens, and the same with positions added to the stream, seeds 0 to 7 unless
others are named.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyses import InductionScores, trace
from analyses.circuits.induction import OFFSETS
from analyses.statistics import median_interval, wilson_interval
from interp import load_experiment, train
from interp.config.experiment import Experiment
from interp.config.training import Steps
from interp.runs.run import Run, is_done_with
from interp.training.device import prepare_process

if TYPE_CHECKING:
    import pandas

SEEDS = tuple(range(8))
POSITIONS = ("shortformer", "standard")
KEPT = (*range(50, 801, 50), *range(1000, 1601, 200))  # steps
LEFT, HALF = 0.1, 0.5  # shares of the whole rise from the first kept step to the last
CONFIDENCE = 0.95
RISING = {"previous_token_0": "previous", "prefix_matching_1": "prefix"}


def experiment(positions: str, seed: int) -> Experiment:
    """A seed of the preset with positions of one kind, and checkpoints dense enough."""
    preset = load_experiment("repeated-tokens").with_seed(seed)
    training = preset.require_training().model_copy(update={"checkpoints": Steps(listed=KEPT)})
    model = preset.model.model_copy(update={"positional_embedding_type": positions})
    return preset.model_copy(update={"training": training, "model": model})


def trained(folder: Path, positions: str, seed: int) -> Run:
    """A run, trained where missing."""
    wanted, path = experiment(positions, seed), folder / f"{positions}-s{seed}"
    return Run(path) if is_done_with(path, wanted) else train(wanted, path, device="cpu")


def reached(frame: "pandas.DataFrame", column: str, share: float) -> float:
    """The first kept step from which on a score has covered a share of its whole change."""
    values = frame[column].to_numpy()
    covered = (values - values[0]) / (values[-1] - values[0]) >= share
    lasting = int(np.logical_and.accumulate(covered[::-1]).sum())
    return float(frame["step"].to_numpy()[len(covered) - lasting])


def births(frame: "pandas.DataFrame") -> dict[str, float]:
    """When the loss, the previous-token head and the induction head have gone how far."""
    steps = {"loss half": reached(frame, "loss", HALF)}
    for column, name in RISING.items():
        steps[f"{name} left"] = reached(frame, column, LEFT)
        steps[f"{name} half"] = reached(frame, column, HALF)
    return steps


def order(found: Sequence[Mapping[str, float]], first: str, second: str) -> None:
    """In how many seeds one comes before the other, and by how many steps."""
    ahead = np.array([each[second] - each[first] for each in found])
    before, same = int((ahead > 0).sum()), int((ahead == 0).sum())
    low, high = wilson_interval(before, len(ahead), CONFIDENCE)
    ends = median_interval(ahead[:, None], CONFIDENCE)[:, 0]
    row(f"{first} before {second}", f"{before} of {len(ahead)} ({low:.2f} to {high:.2f})",
        f"{same}", f"{np.median(ahead):.0f} ({ends[0]:.0f} to {ends[1]:.0f})")  # fmt: skip


def last_scores(run: Run, step: int) -> None:
    """Scores of both layers' heads at a step, and the farther of the two peaks of the profile."""
    found = InductionScores.measure(run.snapshot(step, count=InductionScores.count))
    others = np.nanmax(found.prefix[1], axis=0)
    others[OFFSETS.index(0)] = 0
    row(run.name, step, f"{found.loss:.2f}", f"{found.accuracy:.2f}",
        rounded(found.prefix_matching[1]), f"{others.max():.2f} at {OFFSETS[others.argmax()]}",
        rounded(found.previous_token[0]), rounded(found.copying_eigenvalues[1]),
        rounded(found.copying_logits[1]), rounded(found.loss_increase.ravel()),
        rounded(found.layer_loss_increase))  # fmt: skip


def rounded(values: np.ndarray) -> str:
    """Numbers with two digits."""
    return " ".join(f"{value:.2f}" for value in values)


def row(*cells: object) -> None:
    """One row of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def table(positions: str, runs: Sequence[Run]) -> None:
    """Everything about the runs with positions of one kind."""
    frames = [trace(run.series(), InductionScores) for run in runs]
    found = [births(frame) for frame in frames]
    row(positions, *found[0])
    for run, steps in zip(runs, found, strict=True):
        row(run.name, *(f"{step:.0f}" for step in steps.values()))
    row("order", "seeds", "same step", "median of steps between")
    order(found, "previous left", "prefix left")
    order(found, "previous half", "prefix half")
    order(found, "prefix half", "previous half")
    order(found, "loss half", "prefix half")
    row("step", "loss", "previous (best of layer 0)", "prefix (best of layer 1)", "over seeds")
    for place, step in enumerate(frames[0]["step"]):
        shown = (np.array([frame[name][place] for frame in frames]) for name in ("loss", *RISING))
        row(step, *(f"{values.min():.2f} to {values.max():.2f}" for values in shown))
    row("run", "step", "loss", "accuracy", "prefix 0 by head", "next peak", "previous 1 by head",
        "OV eigenvalues", "OV logits", "loss increase by head", "by layer")  # fmt: skip
    for run in runs:
        last_scores(run, run.steps[-1])


def main(folder: Path, seeds: Sequence[int]) -> None:
    """Trains, measures, prints."""
    for positions in POSITIONS:
        table(positions, [trained(folder, positions, seed) for seed in seeds])


if __name__ == "__main__":
    prepare_process(1)
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/induction"),
         tuple(map(int, sys.argv[2:])) or SEEDS)  # fmt: skip
