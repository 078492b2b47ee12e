"""Prints the table of learning coefficients in docs/circuits-through-training.md, over seeds.

    python docs/tables/learning_coefficient.py RUNS [SAVED]

RUNS is the folder of a sweep of modular addition whose kept steps include 75, when all pairs of
the training set are known. Measures what is missing in SAVED (RUNS/learning-coefficients by
default): one chain at that step, at the last, and at the kept steps before and after each event;
about half a minute of one core a run.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from analyses import LocalLearningCoefficient
from analyses.statistics import median_interval
from interp.runs.results import read_result, write_result
from interp.runs.run import Run, find_runs

FROM = 75  # step from which on the fall counts
# By name: gammas, and the steps of a chain before its first draw and after it.
SETTINGS = {"default": ((100.0,), 200, 200), "stiffer": ((1e3, 1e4), 60, 80)}
CONFIDENCE = 0.95


def measured(run: Run, name: str, folder: Path) -> LocalLearningCoefficient:
    """A run's coefficients at a setting, measured where they are not saved."""
    file = folder / f"{run.name}-{name}.npz"
    if not file.is_file():
        gammas, burn_in, draws = SETTINGS[name]
        result = LocalLearningCoefficient.measure(
            run, gammas=gammas, chains=1, burn_in=burn_in, draws=draws, steps=chosen(run)
        )
        write_result(file, result, {"run": run.name})
    result = read_result(file, LocalLearningCoefficient)[0]
    assert isinstance(result, LocalLearningCoefficient)
    return result


def chosen(run: Run) -> tuple[int, ...]:
    """The first step that counts, the last, and the kept ones around each event."""
    kept = np.array([step for step in run.steps if step >= FROM])
    around = {FROM, run.steps[-1]}
    for step in events(run).values():
        after = int(np.searchsorted(kept, step))
        around |= {*kept[max(after - 1, 0) : after + 1].tolist()}
    return tuple(sorted(around))


def curves(run: Run, folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Steps, and the share of its fall that each quantity has done there."""
    found = {}
    for name in SETTINGS:
        result = measured(run, name, folder)
        for index, gamma in enumerate(result.gammas):
            named = {"LLC": result.estimate[index], "Gaussian noise": result.gauss[index]}
            for label, values in named.items():
                found[f"{label}, gamma {gamma:g}"] = (result.steps, share_fallen(values))
    metrics = run.metrics.query(f"step >= {FROM}")
    steps, loss = metrics["step"].to_numpy(), metrics["train.loss"].to_numpy()
    found["train loss"] = (steps, share_fallen(loss))
    found["log train loss"] = (steps, share_fallen(np.log(loss)))
    return found


def share_fallen(values: np.ndarray) -> np.ndarray:
    """How much of the fall from the first to the last value is done."""
    return (values[0] - values) / (values[0] - values[-1])


def events(run: Run) -> dict[str, float]:
    """Steps at which test accuracy passes 1/2, and test loss half its peak on its way down."""
    metrics = run.metrics
    steps, loss = metrics["step"].to_numpy(float), metrics["test.loss"].to_numpy()
    peak = int(loss.argmax())
    return {
        "test accuracy": first_at(steps, metrics["test.accuracy"].to_numpy(), 0.5),
        "test loss": first_at(steps[peak:], -loss[peak:], -loss[peak] / 2),
    }


def first_at(steps: np.ndarray, values: np.ndarray, level: float) -> float:
    """Where values first reach a level, on the straight line between two evaluations."""
    after = int((values >= level).argmax())
    return float(np.interp(level, values[after - 1 : after + 1], steps[after - 1 : after + 1]))


def told(values: list[float]) -> str:
    """A median over seeds with its interval; means would follow a seed whose loss spikes."""
    low, high = median_interval(np.array(values)[:, None], CONFIDENCE)[:, 0]
    return f"{np.median(values):.2f} [{low:.2f}, {high:.2f}]"


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


def ends(runs: list[Run], folder: Path) -> None:
    """The first and the last coefficient of each setting."""
    print(f"\n| setting | LLC, step {FROM} | noise, step {FROM} | LLC, last step | noise, last |")
    print("|---|---|---|---|---|")
    for name in SETTINGS:
        results = [measured(run, name, folder) for run in runs]
        for index, gamma in enumerate(results[0].gammas):
            cells = [
                told([float(getattr(result, field)[index, place]) for result in results])
                for place in (0, -1)
                for field in ("estimate", "gauss")
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
        found, crossings = curves(run, folder), events(run)
        for label, (steps, shares) in found.items():
            for event, step in crossings.items():
                share = float(np.interp(step, steps, shares))
                rows.setdefault(label, {}).setdefault(event, []).append(share)
        print(f"{run.name}: {crossings}", file=sys.stderr, flush=True)
    print(f"Share of the fall from step {FROM} to the last that is done, {len(runs)} seeds,")
    print(f"median and {CONFIDENCE:.0%} interval, when\n")
    print("| | test accuracy passes 1/2 | test loss passes half its peak |\n|---|---|---|")
    for label, by_event in rows.items():
        print(f"| {label} | {' | '.join(told(values) for values in by_event.values())} |")
    ends(runs, folder)
    print()
    refusals(runs, folder)


if __name__ == "__main__":
    main()
