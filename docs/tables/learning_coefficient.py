"""Prints the table of learning coefficients in docs/circuits-through-training.md, over seeds.

    python docs/tables/learning_coefficient.py RUNS [SAVED]

RUNS is the folder of a sweep of modular addition. Measures what is missing in SAVED
(RUNS/learning-coefficients by default): about three minutes of one core a run.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from analyses import LocalLearningCoefficient
from analyses.circuits.local_learning import share_fallen
from analyses.statistics import mean_interval
from interp.runs.results import read_result, write_result
from interp.runs.run import Run, find_runs

STEPS = (
    50,
    75,
    100,
    150,
    200,
    300,
    400,
    500,
    600,
    700,
    900,
    1200,
    1400,
    1600,
    2000,
)  # and the last
# By name: gammas, and the steps of a chain before its first draw and after it.
SETTINGS = {"default": ((100.0,), 200, 200), "stiffer": ((1e3, 1e4), 60, 80)}
CONFIDENCE = 0.95


def measured(run: Run, name: str, folder: Path) -> LocalLearningCoefficient:
    """A run's coefficients at a setting, measured where they are not saved."""
    file = folder / f"{run.name}-{name}.npz"
    if not file.is_file():
        gammas, burn_in, draws = SETTINGS[name]
        steps = tuple(sorted({step for step in STEPS if step in run.steps} | {run.steps[-1]}))
        result = LocalLearningCoefficient.measure(
            run, gammas=gammas, burn_in=burn_in, draws=draws, steps=steps
        )
        write_result(file, result, {"run": run.name})
    result = read_result(file, LocalLearningCoefficient)[0]
    assert isinstance(result, LocalLearningCoefficient)
    return result


def curves(run: Run, folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Steps, and the share of its fall that each quantity has done there."""
    found = {}
    for name in SETTINGS:
        result = measured(run, name, folder)
        for index, gamma in enumerate(result.gammas):
            named = {"LLC": result.estimate[index], "Gaussian noise": result.gauss[index]}
            for label, values in named.items():
                found[f"{label}, gamma {gamma:g}"] = (result.steps, share_fallen(values))
    metrics = run.metrics
    steps = metrics["step"].to_numpy()
    found["train loss"] = (steps, share_fallen(metrics["train.loss"].to_numpy()))
    logarithm = np.log(metrics["train.loss"].to_numpy())
    found["log train loss"] = (steps, share_fallen(logarithm))
    return found


def halves(run: Run) -> dict[str, float]:
    """Steps at which test accuracy passes 1/2, and test loss half its peak on its way down."""
    metrics = run.metrics
    steps, loss = metrics["step"].to_numpy(float), metrics["test.loss"].to_numpy()
    return {
        "test accuracy": first_at(steps, metrics["test.accuracy"].to_numpy(), 0.5),
        "test loss": first_at(steps, share_fallen(loss), 0.5),
    }


def first_at(steps: np.ndarray, values: np.ndarray, level: float) -> float:
    """Where values first reach a level, on the straight line between two evaluations."""
    after = int(np.argmax(np.nan_to_num(values, nan=-np.inf) >= level))
    low, high = values[after - 1], values[after]
    return float(np.interp(level, [low, high], [steps[after - 1], steps[after]]))


def told(values: list[float]) -> str:
    """A mean over seeds with its interval."""
    array = np.array(values)
    low, high = mean_interval(array, CONFIDENCE)
    return f"{array.mean():.2f} [{low:.2f}, {high:.2f}]"


def refusals(runs: list[Run], folder: Path) -> None:
    """How many steps give no coefficient, by reason."""
    for name in SETTINGS:
        results = [measured(run, name, folder) for run in runs]
        for index, gamma in enumerate(results[0].gammas):
            reasons = np.concatenate([result.reasons[index] for result in results])
            counts = {reason: int((reasons == reason).sum()) for reason in np.unique(reasons)}
            kept = counts.pop("", 0)
            without = ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "none"
            print(f"- gamma {gamma:g}: {kept} of {len(reasons)} coefficients; refused: {without}")


def peaks(runs: list[Run], folder: Path) -> None:
    """The largest and the last coefficient of each setting."""
    print("\n| setting | peak step | LLC there | LLC, last step | Gaussian noise, last step |")
    print("|---|---|---|---|---|")
    for name in SETTINGS:
        results = [measured(run, name, folder) for run in runs]
        for index, gamma in enumerate(results[0].gammas):
            values = [result.estimate[index] for result in results]
            tops = [
                int(result.steps[value.argmax()])
                for result, value in zip(results, values, strict=True)
            ]
            cells = [
                f"{min(tops)} to {max(tops)}",
                told([float(value.max()) for value in values]),
                told([float(value[-1]) for value in values]),
                told([float(result.gauss[index, -1]) for result in results]),
            ]
            print(f"| gamma {gamma:g} | {' | '.join(cells)} |")


def main() -> None:
    """Measures, prints."""
    torch.set_num_threads(1)
    source = Path(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else source / "learning-coefficients"
    folder.mkdir(parents=True, exist_ok=True)
    runs = [run for run in find_runs([source]) if run.steps]
    rows: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        found, crossings = curves(run, folder), halves(run)
        for label, (steps, shares) in found.items():
            for event, step in crossings.items():
                share = float(np.interp(step, steps, np.nan_to_num(shares)))
                rows.setdefault(label, {}).setdefault(event, []).append(share)
        print(f"{run.name}: {crossings}", file=sys.stderr, flush=True)
    print(f"Share of the fall from peak to last step that is done, {len(runs)} seeds,")
    print(f"mean and {CONFIDENCE:.0%} interval, when\n")
    print("| | test accuracy passes 1/2 | test loss passes half its peak |\n|---|---|---|")
    for label, by_event in rows.items():
        print(f"| {label} | {' | '.join(told(values) for values in by_event.values())} |")
    peaks(runs, folder)
    print()
    refusals(runs, folder)


if __name__ == "__main__":
    main()
