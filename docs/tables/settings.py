"""Prints the tables of other settings in docs/models.md, over the seeds of each.

    python docs/tables/settings.py [RUNS [PART ...]]

Trains what is missing below RUNS (runs/settings by default), one thread. Parts, both by default:
parity (about three minutes of one core), addition (about six).
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from analyses import FourierSpectrum, NeuronWaves
from hooks import InputFacts
from interp import load_experiment
from interp.runs.run import Run
from interp.sweeps.launch import train_sweep
from interp.sweeps.sweep import Sweep
from interp.sweeps.table import finished_runs

Setting = tuple[str, str, int, dict[str, Any]]  # name, preset, seeds, fields that differ

KEPT = {"every": 100}
DECAY = {"training.l1": 0.0, "training.optimizer": "adamw", "training.steps": 6000}
WIDE = {"model.d_mlp": 64, "training.checkpoints": KEPT}
PARITY: tuple[Setting, ...] = (
    ("as it is", "parity", 8, {}),
    ("as it is", "parity-1200", 8, {}),
    ("lr 1e-3", "parity-1200", 8,
     {"training.lr": 1e-3, "training.steps": 6000, "training.checkpoints": KEPT}),
    ("L1 3e-4, lr 1e-3", "parity-1200", 8,
     {"training.lr": 1e-3, "training.l1": 3e-4, "training.steps": 5000,
      "training.checkpoints": KEPT}),
    ("decay 0.1", "parity-1200", 8,
     DECAY | {"training.weight_decay": 0.1, "training.checkpoints": KEPT}),
    *((f"64 neurons, L1 {l1:g}", "parity-1200", 8, WIDE | {"training.l1": l1})
      for l1 in (1e-6, 1e-5, 1e-4)),
    *((f"64 neurons, decay {decay:g}", "parity-1200", 4,
       WIDE | DECAY | {"training.weight_decay": decay}) for decay in (0.03, 0.1, 0.3, 1.0)),
    ("250 sequences, L1 3e-4", "parity-1200", 8,
     {"task.train_sequences": 250, "training.l1": 3e-4, "training.steps": 5000,
      "training.checkpoints": KEPT}),
    ("300 sequences, 128 neurons, L1 1e-4", "parity-1200", 8,
     {"task.train_sequences": 300, "model.d_mlp": 128, "training.l1": 1e-4,
      "training.steps": 5000, "training.checkpoints": KEPT}),
)  # fmt: skip
ADDITION: tuple[Setting, ...] = (
    ("as it is", "mlp-addition-24", 3, {}),
    ("lr 5e-3", "mlp-addition-24", 3, {"training.lr": 5e-3, "training.steps": 12000}),
)


def runs_of(setting: Setting, folder: Path) -> list[Run]:
    """The seeds of a setting, trained where missing."""
    name, preset, seeds, fields = setting
    vary = {field: (value,) for field, value in fields.items()}
    sweep = Sweep(
        name="setting", base=load_experiment(preset), vary=vary, seeds=tuple(range(seeds))
    )
    place = f"{preset}-{name}".replace(" ", "-").replace(",", "")
    return list(finished_runs(train_sweep(sweep, folder / place)).runs)


def first(run: Run, split: str) -> int | None:
    """The first evaluated step at 99 %."""
    metrics = run.metrics
    reached = metrics.loc[metrics[f"{split}.accuracy"] >= 0.99, "step"].tolist()
    return reached[0] if reached else None


def pruned(run: Run) -> int | None:
    """The kept step from which on no weight of a distractor exceeds 0.05."""
    weights, inputs = run.weights("blocks.0.mlp.W_in").abs(), run.facts(InputFacts)
    rows = [
        not is_relevant and place != inputs.bias_input
        for place, is_relevant in enumerate(inputs.relevant)
    ]
    left = (weights[:, torch.tensor(rows)] > 0.05).sum((1, 2)).tolist()
    return next((step for i, step in enumerate(run.steps) if not any(left[i:])), None)


def told(steps: Sequence[int | None]) -> str:
    """The range of some steps, and how many seeds did not get there."""
    there = sorted(step for step in steps if step is not None)
    if not there:
        return "never"
    within = f"{there[0]:,} to {there[-1]:,}" if there[0] < there[-1] else f"{there[0]:,}"
    return within if len(there) == len(steps) else f"{within} in {len(there)} of {len(steps)}"


def parity(folder: Path) -> None:
    """When networks of the parity task memorise, generalise and lose their distractors."""
    row("setting", "generalises", "t_train", "t_test", "t_test / t_train",
        "test accuracy at t_train", "all distractors below 0.05")  # fmt: skip
    for setting in PARITY:
        runs = runs_of(setting, folder)
        tested = [first(run, "test") for run in runs]
        row(f"{setting[1]}, {setting[0]}",
            f"{sum(each is not None for each in tested)} of {len(runs)}",
            told([first(run, "train") for run in runs]), told(tested), *at_fit(runs),
            told([pruned(run) for run in runs]))  # fmt: skip


def addition(folder: Path) -> None:
    """The article's 24 neurons, seed by seed: accuracy, norm of all weights, waves at the end."""
    row("mlp-addition-24", "seed", "t_train", "t_test", "last test accuracy",
        "norm at 0, 1,000 and the end", "frequencies", "top 5 share of W_E", "mean purity",
        "reads what it writes")  # fmt: skip
    for setting in ADDITION:
        for run in runs_of(setting, folder):
            waves = NeuronWaves.measure(run.snapshot(count=NeuronWaves.count)).summary()
            spectrum = FourierSpectrum.measure(run.snapshot()).summary()
            accuracy = run.metrics["test.accuracy"].iloc[-1]
            norms = ", ".join(f"{norm(run, step):.1f}" for step in (0, 1000, run.steps[-1]))
            row(setting[0], run.experiment.seeds.model, first(run, "train"), first(run, "test"),
                f"{accuracy:.3f}", norms, spectrum["key_frequencies"],
                f"{spectrum['top_5_share_W_E']:.3f}", f"{waves['mean_purity']:.3f}",
                f"{waves['frequency_match']:.2f}")  # fmt: skip


def norm(run: Run, step: int) -> float:
    """L2 norm of all weights."""
    return sum(float(each.double().square().sum()) for each in run.parameters(step).values()) ** 0.5


def at_fit(runs: Sequence[Run]) -> tuple[str, ...]:
    """The ratio of the two steps, and test accuracy at the first, least and largest."""
    ratios, found = [], []
    for run in runs:
        accuracy = run.metrics.set_index("step")["test.accuracy"]
        fitted, tested = first(run, "train"), first(run, "test")
        found += [] if fitted is None else [accuracy[fitted]]
        ratios += [] if not fitted or tested is None else [tested / fitted]
    return tuple(f"{min(each):.2f} to {max(each):.2f}" for each in (ratios, found))


def row(*cells: object) -> None:
    """One row of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


PARTS: dict[str, Callable[[Path], None]] = {"parity": parity, "addition": addition}

if __name__ == "__main__":
    torch.set_num_threads(1)
    runs = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/settings")
    for part in sys.argv[2:] or PARTS:
        PARTS[part](runs)
